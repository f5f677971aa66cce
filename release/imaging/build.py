"""``invoke build-image``, top-down: find or build, look into it, record, push."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from release import sbom
from release.digest import canonical_json
from release.engines.daemon import Daemon, connect, explained, in_words
from release.errors import BuildError
from release.images import this_platform
from release.imaging import buildx, checks, layout, look, stage
from release.imaging.layout import Layout
from release.imaging.recipe import Build
from release.store import Store, durable
from release.store import built as builts
from release.store.built import BuiltImage

LONG_S = 3600
"""Seconds that an engine may be silent while it unpacks an image of 20 GB."""

SHOWN = 40
"""Paths that are named when two builds differ."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished image: whether it was built now, and where another build of it differs."""

    image: BuiltImage
    built: bool
    differences: tuple[str, ...] = ()


def build_image(build: Build, store: Store, tell: Tell) -> Outcome:
    """Return the built image of ``build``, building it where the engine or the store lacks it."""
    daemon, images = connect(), builts.folder(store.root)
    known = images.get(build.inputs)
    if known is not None and known.base == build.base_name and _has(daemon, known):
        return Outcome(image=known, built=False)
    with store.lock(f"image-{build.inputs}", lambda: tell("another build of it runs; waiting")):
        known = images.get(build.inputs)
        if known is not None and known.base == build.base_name and _has(daemon, known):
            return Outcome(image=known, built=False)
        made = _build(build, store, daemon, tell, cache=True)
        images.put(made)
    return Outcome(image=made, built=True)


def rebuild_image(build: Build, store: Store, tell: Tell) -> Outcome:
    """Build an image again without any cache, and compare it with the one that is there.

    The recorded image stays the recorded one. Raises BuildError that names the files when
    the two differ.
    """
    first = build_image(build, store, tell)
    daemon, again = connect(), replace(build, again=True)
    with store.lock(f"image-{build.inputs}"):
        second = _build(again, store, daemon, tell, cache=False)
    try:
        if second.digest == first.image.digest:
            return replace(first, built=True)
        tell("the digests differ; comparing the files")
        raise _different(build, first.image, second, _differences(daemon, first.image, second))
    finally:
        with in_words(f"removing {second.tag}"):
            daemon.client.api.remove_image(second.tag)


def _differences(daemon: Daemon, first: BuiltImage, second: BuiltImage) -> list[str]:
    if first.diff_ids == second.diff_ids:
        return ["no file differs: only how layers are packed, or the configuration"]
    before, after = (look.files(daemon, _id(daemon, image)) for image in (first, second))
    return look.different(before, after)


def _different(build: Build, first: BuiltImage, second: BuiltImage, lines: list[str]) -> BuildError:
    more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    shown = "\n  ".join([*lines[:SHOWN], *more])
    return BuildError(
        f"image {build.name} is not reproducible: {first.digest} and {second.digest}\n  {shown}",
        why=f"It was built by {first.builder}, and again by {second.builder}.",
        hint="the same builder must give the same bytes; another one may pack layers in another way",
    )


def push(image: BuiltImage, registry: str) -> str:
    """Push an image to ``registry`` under its own tag; return its name there, by digest.

    Raises NetworkError or BuildError with what the registry said.
    """
    daemon = connect()
    repository, tag = f"{registry}/{image.tag.partition(':')[0]}", image.tag.partition(":")[2]
    what = f"pushing {image.tag} to {registry}"
    api = daemon.client.api
    with in_words(what):
        api.tag(_id(daemon, image), repository, tag)
        for said in api.push(repository, tag, stream=True, decode=True):
            if "error" in said:
                raise explained(what, str(said["error"]))
        found = str(daemon.client.images.get_registry_data(f"{repository}:{tag}").id)
    if found not in (image.digest, image.config):
        raise BuildError(f"{repository}:{tag} is {found} in the registry, and {image.digest} here")
    return f"{repository}@{found}"


def _build(build: Build, store: Store, daemon: Daemon, tell: Tell, *, cache: bool) -> BuiltImage:
    """Build, load, look into and describe an image; nothing is recorded."""
    version = buildx.require()
    builder = buildx.builder(daemon, tell)
    folder = builts.folder(store.root).folder
    durable.make_folder(folder)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f".building-{build.inputs}-", dir=folder) as scratch:
        context, archive = Path(scratch) / "context", Path(scratch) / "image.oci.tar"
        stage.lay(build.image, context)
        log = folder / f"{build.inputs}.{'again' if build.again else 'log'}.txt"
        buildx.build(build, context, archive, with_builder=builder, cache=cache, log=log, tell=tell)
        found = layout.read(archive)
        checks.require(build, checks.of_layout(build, found))
        tell(f"loading {found.digest[:19]}")
        _load(daemon, archive, build)
    seen = _describe(build, found, f"{daemon.name}, buildx {version}, builder {builder}")
    seen = replace(seen, checks=_looked_into(build, seen, daemon, tell), seconds=_since(began))
    bill = sbom.image_document(build.name, build.image.bill())
    durable.write(folder / f"{build.inputs}.cdx.json", canonical_json(bill))
    return seen


def _load(daemon: Daemon, archive: Path, build: Build) -> None:
    api, usual = daemon.client.api, daemon.client.api.timeout
    api.timeout = LONG_S
    what = f"loading {build.name}"
    try:
        with in_words(what), archive.open("rb") as file:
            for said in api.load_image(file):  # type: ignore[no-untyped-call]
                if "error" in said:
                    raise explained(what, str(said["error"]))
    finally:
        api.timeout = usual


def _looked_into(build: Build, image: BuiltImage, daemon: Daemon, tell: Tell) -> dict[str, str]:
    """Check the loaded image and return what was found true of it."""
    compiled = _kernels(build, image, daemon, tell)
    if build.platform != this_platform():
        not_run = f"this machine is {this_platform()}"
        return {"architecture": build.platform, "not run": not_run, **compiled}
    tell(f"looking into it: {', '.join(build.image.required_container().imports)}")
    probe = look.probe(daemon, _id(daemon, image), build)
    checks.require(build, checks.of_probe(build, probe))
    return {
        "architecture": build.platform,
        "python": probe.python,
        "packages": f"{len(probe.packages)} as locked",
        "imports": ", ".join(probe.imports),
        "secrets": "none found",
        "user": str(probe.uid),
        **compiled,
    }


def _kernels(build: Build, image: BuiltImage, daemon: Daemon, tell: Tell) -> dict[str, str]:
    """Check the kernels for the GPU that image.toml names, and return which there are."""
    wanted = build.image.required_container().compiled
    if wanted is None:
        return {}
    tell(f"looking for kernels for {wanted.gpu}")
    found = look.compiled(daemon, _id(daemon, image), build)
    checks.require(build, checks.of_kernels(wanted, found))
    held = (f"{library} ({', '.join(one.runs_on(wanted.gpu))})" for library, one in found.items() if one)
    return {f"kernels for {wanted.gpu}": ", ".join(held)}


def _describe(build: Build, found: Layout, builder: str) -> BuiltImage:
    return BuiltImage(
        inputs=build.inputs,
        name=build.image.name,
        variant=build.image.variant,
        platform=build.platform,
        tag=build.tag,
        digest=found.digest,
        config=found.config,
        diff_ids=found.diff_ids,
        size=found.size,
        base=build.base_name,
        builder=builder,
        seconds=0.0,
    )


def _has(daemon: Daemon, image: BuiltImage) -> bool:
    with in_words(f"looking for {image.tag}"):
        return daemon.image(image.digest, image.config) is not None


def _id(daemon: Daemon, image: BuiltImage) -> str:
    found = daemon.image(image.digest, image.config)
    if found is None:
        raise BuildError(f"the engine has no image {image.digest} any more", hint="build it again")
    return found.id


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)
