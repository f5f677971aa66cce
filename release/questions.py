"""Questions about a plan: why a step will run, what that comes from and what follows (pure).

Example::

    answer = why("card-nvfp4", planned, last={...}, releases={"0.1.0": {...}})
    answer.causes        # smoke-nvfp4, because inputs.prompts changed
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from release.digest import Json
from release.errors import UsageError
from release.plan import Planned, Status
from release.store.roots import Rooted

Releases = Mapping[str, Mapping[str, Rooted]]
"""The releases of a line, oldest first: version → step → result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Why a step will run, or will not.

    ``last`` is the key of the step's last run and ``released`` the versions, oldest first,
    in which that result stands. ``causes`` are the steps to be built that it waits for,
    ``follows`` those that wait for it.
    """

    planned: Planned
    last: str | None
    released: tuple[str, ...]
    causes: tuple[Planned, ...]
    follows: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the answer as plain JSON values."""
        return {
            **step_json(self.planned),
            "last": self.last,
            "released": list(self.released),
            "causes": [step_json(cause) for cause in self.causes],
            "follows": list(self.follows),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """How many steps of a plan are in the store or in the cache, will be built, or wait for those.

    ``download`` counts the bytes that the cached ones bring.
    """

    hit: int
    build: int
    wait: int
    cached: int = 0
    download: int = 0

    def __str__(self) -> str:
        steps = f"{self.hit + self.cached + self.build + self.wait} steps"
        if not self.build and not self.cached:
            return f"{steps}: all in the store, nothing to build"
        cached = f", {self.cached} in the cache" if self.cached else ""
        waiting = f", {self.wait} after that" if self.wait else ""
        return f"{steps}: {self.hit} in the store{cached}, {self.build} to build{waiting}"

    def to_json(self) -> dict[str, Json]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in ("hit", "cached", "build", "wait", "download")}


def why(step: str, planned: Sequence[Planned], last: Mapping[str, str], releases: Releases) -> Answer:
    """Return why ``step`` will run, or will not.

    ``last`` gives the key of each step's last run. Raises UsageError for a step that the
    line does not have.
    """
    item = find(step, planned)
    before, after = _upstream(item, planned), _downstream(item, planned)
    key = item.derivation.key if item.status is Status.HIT and item.derivation else last.get(step)
    return Answer(
        planned=item,
        last=key,
        released=tuple(
            version for version, made in releases.items() if step in made and made[step].key == key
        ),
        causes=tuple(other for other in before if other.status is Status.BUILD),
        follows=tuple(other.step.name for other in after if item.status in (Status.BUILD, Status.WAIT)),
    )


def find(step: str, planned: Sequence[Planned]) -> Planned:
    """Return the plan of ``step``. Raises UsageError that lists the steps there are."""
    for item in planned:
        if item.step.name == step:
            return item
    names = ", ".join(item.step.name for item in planned)
    raise UsageError(f"there is no step {step!r}", hint=f"use one of: {names}")


def summary(planned: Sequence[Planned]) -> Summary:
    """Count the steps of a plan."""
    count = [item.status for item in planned].count
    return Summary(
        hit=count(Status.HIT),
        build=count(Status.BUILD),
        wait=count(Status.WAIT),
        cached=count(Status.CACHED),
        download=sum(item.download for item in planned),
    )


def step_json(item: Planned) -> dict[str, Json]:
    """Return one step of a plan as plain JSON values."""
    return {
        "step": item.step.name,
        "status": item.status.value,
        "key": item.derivation.key if item.derivation else None,
        "why": item.why,
        "waits_for": list(item.waits_for),
        "gone": item.gone,
        "download": item.download,
        "differences": [difference.to_json() for difference in item.differences],
    }


def _upstream(item: Planned, planned: Sequence[Planned]) -> tuple[Planned, ...]:
    wanted = set(item.step.inputs.values())
    found = []
    for other in reversed(planned):
        if other.step.name in wanted:
            wanted.update(other.step.inputs.values())
            found.append(other)
    return tuple(reversed(found))


def _downstream(item: Planned, planned: Sequence[Planned]) -> tuple[Planned, ...]:
    fed = {item.step.name}
    found = []
    for other in planned:
        if fed & set(other.step.inputs.values()):
            fed.add(other.step.name)
            found.append(other)
    return tuple(found)
