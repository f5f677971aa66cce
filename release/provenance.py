"""The provenance of an assembled tree: everything that went in, by digest, and where each step ran.

Materials are the sources, recipe and lock, each image and its lock of wheels, the code of each step
and of the host, and uv. A folder's digest is the sha256 of its SHA256SUMS text.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from release import line as lines
from release.attesting.statement import Material, Provenance, Ran
from release.digest import HEX, File, Tree, sha256_file
from release.engines.environment import uv_record, uv_version
from release.line import PROJECT, Line
from release.lock import LOCK_FILE, LockedSource
from release.plan import Graph
from release.realize import Done
from release.recipe import RECIPE_FILE
from release.source import HubSource, parse_source

HOST = ("release", "recipes/formats")
LOCKED = "uv.lock"
"""What runs on the host: its code, and the lock of what it imports."""


def of_tree(line: Line, steps: Graph, version: str, done: Mapping[str, Done], kind: str) -> Provenance:
    """Return the provenance of one repo's assembled tree, which is whole in the store."""
    tree = line.store.tree(done[f"assemble-{kind}"].tree)
    assert tree is not None, "realized a moment ago"
    repos = {"master": line.recipe.repos.master, "nvfp4": line.recipe.repos.nvfp4}
    other = "master" if kind == "nvfp4" else "nvfp4"
    return Provenance(
        subjects={path: file.sha256 for path, file in tree.files.items()},
        release={
            "recipe": line.recipe.name,
            "version": version,
            "kind": kind,
            "repo": repos[kind],
            "sibling": repos[other],
        },
        lock=line.locked().digest,
        engine=line.engine,
        tool=_version(),
        materials=tuple(_materials(line, steps)),
        steps=tuple(_ran(line, steps, done)),
    )


def _materials(line: Line, steps: Graph) -> Iterator[Material]:
    for name, source in sorted(line.locked().sources.items()):
        yield _source(name, source)
    for name in (RECIPE_FILE, LOCK_FILE):
        yield Material(name=name, digest={"sha256": sha256_file(line.recipe.folder / name)})
    for name, image in sorted(line.images.items()):
        wheels = image.lock.relative_to(image.folder).as_posix()
        yield Material(name=f"images/{name}/{image.variant}", digest={"sha256": image.context.digest})
        yield Material(name=f"images/{name}/{wheels}", digest={"sha256": sha256_file(image.lock)})
    code = lines.code_of(line, steps)
    for name, tree in sorted(code.items()):
        yield Material(name=f"code of {name}", digest={"sha256": tree.digest})
    for name, built in sorted(lines.site(line, code).containers.items()):
        if HEX.fullmatch(built.removeprefix("sha256:")):
            yield Material(name=f"container of {name}", digest={"sha256": built.removeprefix("sha256:")})
    yield from _host()


def _source(name: str, source: LockedSource) -> Material:
    digest = {"sha256": source.tree or ""}
    if source.pinned is None:
        return Material(name=name, uri=source.source, digest=digest)
    found = parse_source(source.source)
    assert isinstance(found, HubSource), "only a Hub's source is pinned"
    return Material(
        name=name,
        uri=f"pkg:huggingface/{found.repo}@{source.pinned.commit}",
        digest={**digest, "gitCommit": source.pinned.commit},
    )


def _host() -> Iterator[Material]:
    for name in HOST:
        yield Material(name=name, digest={"sha256": _python(PROJECT / name).digest})
    yield Material(name=LOCKED, digest={"sha256": sha256_file(PROJECT / LOCKED)})
    yield Material(name="uv", uri=f"pkg:pypi/uv@{uv_version()}", digest={"sha256": sha256_file(uv_record())})


def _python(folder: Path) -> Tree:
    files = sorted(folder.rglob("*.py"))
    return Tree(
        {path.relative_to(folder).as_posix(): File(sha256_file(path), path.stat().st_size) for path in files}
    )


def _ran(line: Line, steps: Graph, done: Mapping[str, Done]) -> Iterator[Ran]:
    for step in steps.steps:
        made = done[step.name]
        found = line.store.realizations.get(made.key)
        engine = found.engine if found is not None else line.engine
        yield Ran(name=step.name, key=made.key, tree=made.tree, engine=engine, isolation=made.isolation)


def _version() -> str:
    return str(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"])
