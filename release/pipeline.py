"""A release, once, as data: which step, where it runs, what it reads.

Read ``graph`` top-down and you have read a release. Steps with an image run in it;
those without are host functions. ``release.line`` opens a release line and walks this.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace

from release.derivation import Source, Step
from release.digest import Json
from release.images import Image
from release.lock import UNRESOLVED, Lock
from release.plan import Graph
from release.recipe import CHECKS, FIDELITY, SANITY, TEXTS, Recipe
from release.signer import words

KINDS = ("nvfp4", "master")
CPU_VARIANT = "cpu"
SMOKE, SOAK = "smoke", "soak"
SERVES = (SMOKE, SOAK, SANITY)
"""What steps do that start a model server, and run under the memory guard.

A release has the soak only when it is asked for; gates of its figures are judged beside it.
"""


def graph(
    wanted: Recipe,
    lock: Lock,
    images: Mapping[str, Image],
    version: str,
    machine: Mapping[str, str],
    soak: int = 0,
) -> Graph:
    """Return the steps of one release in the order they run.

    ``machine`` is what the card says the figures were measured on. With ``soak``, in minutes, the
    quantized tree is served for so long besides; no other step has another key for it.

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
            *_fidelity(wanted),
            *_sanity(wanted),
            _gate(wanted),
            *(_card(kind, wanted, lock, version, machine) for kind in KINDS),
            *(_sbom(kind, wanted, lock, images, version) for kind in KINDS),
            _report(wanted, lock, version, machine),
            *(_assemble(kind, wanted, lock, version) for kind in KINDS),
            *(_soak(wanted, soak) if soak else ()),
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
        inputs=_same("prove", *measured(wanted)),
        params={"gates": [dict(row) for row in wanted.gates]},
        check="gates",
    )


def measured(wanted: Recipe) -> tuple[str, ...]:
    """Return the steps whose evidence is measured, and held against gates."""
    others = (*_fidelity(wanted), *_sanity(wanted))
    return ("smoke-nvfp4", "smoke-master", *(step.name for step in others))


def _same(*names: str) -> dict[str, str]:
    """Return inputs that are called as the steps that they come from."""
    return {name: name for name in names}


def _fidelity(wanted: Recipe) -> tuple[Step, ...]:
    """Return the step that holds the release against its master, nothing where the recipe has no texts."""
    if wanted.fidelity is None:
        return ()
    inputs = {"master": "configure-master", "nvfp4": "configure-nvfp4", "rows": TEXTS}
    step = Step(
        name=FIDELITY,
        does=FIDELITY,
        image="quantize",
        inputs=inputs,
        params=dict(wanted.fidelity),
        measures=True,
    )
    return (step,)


def _soak(wanted: Recipe, minutes: int) -> tuple[Step, Step]:
    smoke = _smoke("nvfp4", wanted.serve_nvfp4, wanted)
    inputs = {name: made_by for name, made_by in smoke.inputs.items() if name != CHECKS}
    soak = replace(
        smoke,
        name=SOAK,
        does=SOAK,
        inputs=inputs,
        params={**smoke.params, "minutes": minutes},
        timeout_s=smoke.timeout_s + 60 * minutes,
    )
    gate = Step(
        name=f"gate-{SOAK}",
        does="gate",
        inputs={SOAK: SOAK, "prove": "prove"},
        params={"gates": [dict(row) for row in wanted.soak_gates]},
        check="gates",
    )
    return soak, gate


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
        does=SMOKE,
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


def _sanity(wanted: Recipe) -> tuple[Step, ...]:
    """Return the steps that ask both trees, none where the recipe asks nothing."""
    serves = {"nvfp4": wanted.serve_nvfp4, "master": wanted.serve_master}
    return tuple(
        Step(
            name=f"{SANITY}-{kind}",
            does=SANITY,
            image="serve",
            inputs={"tree": f"configure-{kind}", SANITY: SANITY},
            params={
                "serve": dict(serves[kind]),
                "sampling": dict(wanted.sampling),
                SANITY: dict(wanted.sanity),
                "startup_timeout_s": wanted.smoke.startup_timeout_s,
                "request_timeout_s": wanted.smoke.request_timeout_s,
            },
            measures=True,
            timeout_s=1800,
        )
        for kind in (KINDS if wanted.sanity else ())
    )


def _card(kind: str, wanted: Recipe, lock: Lock, version: str, machine: Mapping[str, str]) -> Step:
    return Step(
        name=f"card-{kind}",
        does="card",
        inputs={
            "tree": f"configure-{kind}",
            "sibling": f"configure-{_other(kind)}",
            "templates": "templates",
            **_same("calibrate", "prove", "gate", *measured(wanted)),
        },
        params={
            **_names(kind, wanted, version),
            "card": dict(wanted.card),
            "lock": lock.digest,
            "images": {name: digest or UNRESOLVED for name, digest in lock.images.items()},
            "sources": {name: source.tree or UNRESOLVED for name, source in lock.sources.items()},
            "recipe": wanted.name,
            "machine": dict(machine),
            "floors": dict(asdict(wanted.smoke.floors)),
            "gpu": wanted.variant != CPU_VARIANT,
            **({"signing": words(wanted.signing, version)} if wanted.signing else {}),
        },
    )


def _report(wanted: Recipe, lock: Lock, version: str, machine: Mapping[str, str]) -> Step:
    return Step(
        name="report",
        does="report",
        inputs={
            "templates": "templates",
            **_same("prove", "gate", *measured(wanted)),
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


def _sbom(kind: str, wanted: Recipe, lock: Lock, images: Mapping[str, Image], version: str) -> Step:
    return Step(
        name=f"sbom-{kind}",
        does="sbom",
        inputs={
            "tree": f"configure-{kind}",
            "sibling": f"configure-{_other(kind)}",
            "smoke": f"smoke-{kind}",
        },
        params={
            **_names(kind, wanted, version),
            "card": dict(wanted.card),
            "base": lock.sources["base"].tree or UNRESOLVED,
            "precision": _precision(wanted),
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
            **_same("calibrate", "prove", "gate", *measured(wanted)),
        },
        params={**_names(kind, wanted, version), "recipe": wanted.name, "lock": lock.digest},
    )


def _names(kind: str, wanted: Recipe, version: str) -> dict[str, Json]:
    repos = {"nvfp4": wanted.repos.nvfp4, "master": wanted.repos.master}
    return {"kind": kind, "version": version, "repo": repos[kind], "sibling_repo": repos[_other(kind)]}


def _other(kind: str) -> str:
    return "master" if kind == "nvfp4" else "nvfp4"
