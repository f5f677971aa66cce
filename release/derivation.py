"""Derivations and keys: everything that a step's result depends on, and nothing else.

The key is the sha256 of the derivation's canonical JSON with *resolved* input digests,
so a rebuild that gives equal bytes stops there (early cut-off).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from release.digest import Json, canonical_json, sha256_bytes

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a release as the pipeline declares it.

    ``does`` names a package of ``recipes/steps`` (with an image) or a host function
    (without). ``inputs`` maps an input name to the step or source that makes it.
    A step that ``measures`` is keyed on the machine as well.
    ``check`` names what must hold of the result before the release goes on.
    """

    name: str
    does: str
    image: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)
    measures: bool = False
    timeout_s: int = 3600
    check: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A tree known by its digest before anything runs (a locked input)."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What steps are keyed on beside their own declaration.

    ``code`` maps ``does`` to a digest (a closure's tree, or a host function's revision);
    ``images`` maps an image to its input hash; ``machine`` holds the facts that figures
    depend on; ``containers`` maps an image to what its container was built from, where
    steps run in one: figures depend on that as well.
    """

    code: Mapping[str, str]
    images: Mapping[str, str]
    platform: str
    machine: Mapping[str, str]
    containers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """The whole input of one run of a step."""

    step: str
    code: str
    image: str | None
    params: Mapping[str, Json]
    inputs: Mapping[str, str]
    platform: str | None
    machine: Mapping[str, str] | None
    format: int = FORMAT

    @property
    def key(self) -> str:
        """The hex sha256 of the canonical JSON of all fields."""
        return sha256_bytes(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, object]:
        """Return all fields as plain JSON values."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def derive(step: Step, inputs: Mapping[str, str], site: Site) -> Derivation:
    """Return the derivation of ``step`` on resolved ``inputs`` (input name → tree digest).

    A host step runs the same everywhere, so it has no platform in its key.
    """
    return Derivation(
        step=step.does,
        code=site.code[step.does],
        image=site.images[step.image] if step.image else None,
        params=step.params,
        inputs=dict(inputs),
        platform=site.platform if step.image else None,
        machine=_machine(step, site) if step.measures else None,
    )


def _machine(step: Step, site: Site) -> Mapping[str, str]:
    held = site.containers.get(step.image or "")
    return {**site.machine, "container": held} if held else site.machine
