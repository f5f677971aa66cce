"""A release, once, as data: which step, where it runs, what it reads.

Read ``graph`` top-down and you have read a release. Steps with an image run in it;
those without are host functions. ``release.line`` opens a release line and walks this.
"""

from collections.abc import Mapping
from dataclasses import asdict

from release.derivation import Source, Step
from release.digest import Json
from release.images import Image
from release.lock import UNRESOLVED, Lock
from release.plan import Graph
from release.recipe import CHECKS, Recipe
from release.signer import words

IMAGES = ("quantize", "serve")
KINDS = ("nvfp4", "master")
CPU_VARIANT = "cpu"
SERVES = "smoke"
"""What a step does that starts a model server, and runs under the memory guard."""


def graph(
    wanted: Recipe, lock: Lock, images: Mapping[str, Image], version: str, machine: Mapping[str, str]
) -> Graph:
    """Return the steps of one release in the order they run.

    ``machine`` is what the card says the figures were measured on.

    The BF16 master's tree is served with the same drive as the quantized one: it is the
    baseline of every relative gate.
    """
    return Graph(
        sources=tuple(Source(name=name, digest=tree) for name, tree in lock.trees.items()),
        unresolved=tuple(lock.unresolved_sources),
        steps=(
            _calibrate(wanted),
            _quantize(wanted),
            _graft("nvfp4", body="quantize"),
            _graft("master", body="master"),
            _configure("nvfp4", wanted, quantized=True),
            _configure("master", wanted, quantized=False),
            _prove(wanted),
            _smoke("nvfp4", wanted.serve_nvfp4, wanted),
            _smoke("master", wanted.serve_master, wanted),
            _gate(wanted),
            *(_card(kind, wanted, lock, version, machine) for kind in KINDS),
            *(_sbom(kind, wanted, images, version) for kind in KINDS),
            _report(wanted, lock, version, machine),
            *(_assemble(kind, wanted, lock, version) for kind in KINDS),
        ),
    )


def _calibrate(wanted: Recipe) -> Step:
    return Step(
        name="calibrate",
        does="calibrate",
        image="quantize",
        inputs={"master": "master", "rows": "calibration", "chat_template": "chat_template"},
        params={**wanted.calibrate, **_precision(wanted)},
        measures=True,
    )


def _quantize(wanted: Recipe) -> Step:
    return Step(
        name="quantize",
        does="quantize",
        image="quantize",
        inputs={"master": "master", "calibration": "calibrate"},
        params={
            **_precision(wanted),
            "exporter": wanted.exporter,
            "max_shard_size": wanted.max_shard_size,
            "gpu": wanted.variant != CPU_VARIANT,
        },
    )


def _prove(wanted: Recipe) -> Step:
    return Step(
        name="prove",
        does="prove",
        image="quantize",
        inputs={
            "nvfp4": "configure-nvfp4",
            "release_master": "configure-master",
            "base": "base",
            "master": "master",
            "calibration": "calibrate",
            "chat_template": "chat_template",
        },
        params=_precision(wanted),
        check="proofs",
    )


def _gate(wanted: Recipe) -> Step:
    return Step(
        name="gate",
        does="gate",
        inputs={name: name for name in ("prove", "smoke-nvfp4", "smoke-master")},
        params={"gates": [dict(row) for row in wanted.gates]},
        check="gates",
    )


def _precision(wanted: Recipe) -> dict[str, Json]:
    return {key: str(value) for key, value in asdict(wanted.precision).items()}


def _graft(kind: str, body: str) -> Step:
    return Step(name=f"graft-{kind}", does="graft", image="quantize", inputs={"body": body, "head": "base"})


def _configure(kind: str, wanted: Recipe, *, quantized: bool) -> Step:
    return Step(
        name=f"configure-{kind}",
        does="configure",
        image="quantize",
        inputs={
            "tree": f"graft-{kind}",
            "master": "master",
            "chat_template": "chat_template",
            "templates": "templates",
        },
        params={"quantized": quantized, "sampling": dict(wanted.sampling)},
    )


def _smoke(kind: str, serve: Mapping[str, Json], wanted: Recipe) -> Step:
    return Step(
        name=f"smoke-{kind}",
        does=SERVES,
        image="serve",
        inputs={
            "tree": f"configure-{kind}",
            "prompts": "prompts",
            **({CHECKS: CHECKS} if CHECKS in wanted.sources else {}),
        },
        params={
            "serve": dict(serve),
            "sampling": {
                **wanted.sampling,
                "max_tokens": wanted.smoke.max_tokens,
                "seed": wanted.smoke.seed,
            },
            "drives": dict(wanted.smoke.drives),
            "startup_timeout_s": wanted.smoke.startup_timeout_s,
            "request_timeout_s": wanted.smoke.request_timeout_s,
        },
        measures=True,
        timeout_s=1800,
    )


def _card(kind: str, wanted: Recipe, lock: Lock, version: str, machine: Mapping[str, str]) -> Step:
    return Step(
        name=f"card-{kind}",
        does="card",
        inputs={
            "tree": f"configure-{kind}",
            "sibling": f"configure-{_other(kind)}",
            "templates": "templates",
            **{name: name for name in ("calibrate", "prove", "gate", "smoke-nvfp4", "smoke-master")},
        },
        params={
            **_names(kind, wanted, version),
            "card": dict(wanted.card),
            "lock": lock.digest,
            "images": {name: digest or UNRESOLVED for name, digest in lock.images.items()},
            "sources": {name: source.tree or UNRESOLVED for name, source in lock.sources.items()},
            "recipe": wanted.name,
            "machine": dict(machine),
            **({"signing": words(wanted.signing, version)} if wanted.signing else {}),
        },
    )


def _report(wanted: Recipe, lock: Lock, version: str, machine: Mapping[str, str]) -> Step:
    return Step(
        name="report",
        does="report",
        inputs={
            "templates": "templates",
            **{name: name for name in ("prove", "gate", "smoke-nvfp4", "smoke-master")},
        },
        params={
            "title": wanted.repos.nvfp4,
            "version": version,
            "provenance": {
                "lock": lock.digest,
                "source": {name: source.tree for name, source in lock.sources.items()},
                "image": dict(lock.images),
                "machine": dict(machine),
            },
        },
    )


def _sbom(kind: str, wanted: Recipe, images: Mapping[str, Image], version: str) -> Step:
    return Step(
        name=f"sbom-{kind}",
        does="sbom",
        params={
            "repo": _names(kind, wanted, version)["repo"],
            "version": version,
            "base": wanted.base,
            "images": {f"{name}/{image.variant}": image.bill() for name, image in images.items()},
        },
    )


def _assemble(kind: str, wanted: Recipe, lock: Lock, version: str) -> Step:
    return Step(
        name=f"assemble-{kind}",
        does="assemble",
        inputs={
            "tree": f"configure-{kind}",
            "sibling": f"configure-{_other(kind)}",
            "card": f"card-{kind}",
            "sbom": f"sbom-{kind}",
            "report": "report",
            **{name: name for name in ("calibrate", "prove", "gate", "smoke-nvfp4", "smoke-master")},
        },
        params={**_names(kind, wanted, version), "recipe": wanted.name, "lock": lock.digest},
    )


def _names(kind: str, wanted: Recipe, version: str) -> dict[str, Json]:
    repos = {"nvfp4": wanted.repos.nvfp4, "master": wanted.repos.master}
    return {"kind": kind, "version": version, "repo": repos[kind], "sibling_repo": repos[_other(kind)]}


def _other(kind: str) -> str:
    return "master" if kind == "nvfp4" else "nvfp4"
