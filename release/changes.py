"""What changed between two released versions: derivations, files, figures (pure)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipes.formats.evidence import Evidence
from release.differences import Difference, ManifestOf, differences
from release.digest import Tree

Derivations = Mapping[str, Mapping[str, object]]
"""Step → derivation, as its realization records it."""

UNKNOWN = "its derivation is no longer in the store"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """A step whose derivations differ; ``note`` stands where there are not two to compare."""

    step: str
    differences: tuple[Difference, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file of a published tree: its size in bytes before and after, None where there is none."""

    path: str
    before: int | None
    after: int | None

    @property
    def verb(self) -> str:
        """Whether the file was added, removed or changed."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureChange:
    """A measured figure before and after; None where it was not measured."""

    step: str
    name: str
    unit: str
    before: float | None
    after: float | None

    @property
    def relative(self) -> float | None:
        """The change as a share of the figure before, where there is one."""
        if self.before is None or self.after is None or self.before == 0:
            return None
        return self.after / self.before - 1


def step_changes(old: Derivations, new: Derivations, manifest_of: ManifestOf) -> Iterator[StepChange]:
    """Yield each step that two releases did not make alike, in the order given."""
    for step in dict.fromkeys((*old, *new)):
        if step not in old or step not in new:
            yield StepChange(step=step, note="added" if step not in old else "removed")
        elif not old[step] or not new[step]:
            yield StepChange(step=step, note=UNKNOWN)
        elif found := differences(old[step], new[step], manifest_of):
            yield StepChange(step=step, differences=found)


def file_changes(old: Tree, new: Tree) -> Iterator[FileChange]:
    """Yield each file that two trees do not have in common, sorted by path."""
    for path in sorted({*old.files, *new.files}):
        before, after = old.files.get(path), new.files.get(path)
        if before != after:
            yield FileChange(
                path=path, before=before.size if before else None, after=after.size if after else None
            )


def figure_changes(old: Mapping[str, Evidence], new: Mapping[str, Evidence]) -> Iterator[FigureChange]:
    """Yield each measured figure that differs, step by step."""
    for step in dict.fromkeys((*old, *new)):
        before, after = ({m.name: m for m in e[step].measurements} if step in e else {} for e in (old, new))
        for name in dict.fromkeys((*before, *after)):
            a, b = before.get(name), after.get(name)
            values = [figure.value if figure else None for figure in (a, b)]
            if values[0] != values[1]:
                known = b or a
                assert known is not None
                yield FigureChange(step=step, name=name, unit=known.unit, before=values[0], after=values[1])
