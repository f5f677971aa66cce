"""A seal stands while nothing has changed, and for nothing else."""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from release import machine, seal
from release.seal import Question


class Place:
    """Inputs, results and the seal of one finished release."""

    def __init__(self, root: Path) -> None:
        self.store = root / "store"
        self.inputs = root / "inputs"
        self.results = root / "results"
        for path in ("inputs/deep/weights", "inputs/recipe.toml", "results/release.json", "results/object"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(path)
            os.utime(root / path, ns=(10**18, 10**18))
        self.question = Question(
            project=root, recipe="tiny", version="1.0.0", engine="local", hub=root / "results"
        )

    def seal(self) -> None:
        """Seal the release as it stands."""
        inputs = [self.inputs]
        file = self.question.file(self.store)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(seal.dump(inputs, seal.look(inputs), [self.results], "nothing changed\n"))

    @property
    def said(self) -> str | None:
        """What a release says at once, if anything."""
        return seal.standing(self.question, self.store)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.seal()
    return place


def test_what_stands_as_it_was_is_said_again(place: Place) -> None:
    assert place.said == "nothing changed\n"


def test_a_release_to_another_owner_is_another_release(place: Place) -> None:
    place.question = dataclasses.replace(place.question, namespace="somebody")
    assert place.said is None


def rewrite(path: Path) -> None:
    path.write_text("x" * path.stat().st_size)


def replace(path: Path) -> None:
    """Put another file of the same size and time in its place."""
    other = path.with_name("other")
    other.write_text("x" * path.stat().st_size)
    os.utime(other, ns=(10**18, 10**18))
    other.replace(path)


CHANGES: dict[str, Callable[[Place], object]] = {
    "an input is written": lambda place: rewrite(place.inputs / "recipe.toml"),
    "an input is replaced, size and time kept": lambda place: replace(place.inputs / "deep" / "weights"),
    "an input is touched": lambda place: (place.inputs / "recipe.toml").touch(),
    "an input is added": lambda place: (place.inputs / "deep" / "more").write_text(""),
    "an input is removed": lambda place: (place.inputs / "deep" / "weights").unlink(),
    "a result is written": lambda place: rewrite(place.results / "object"),
    "a result is removed": lambda place: (place.results / "release.json").unlink(),
    "the seal is cut short": lambda place: place.question.file(place.store).write_text('{"format": 1'),
    "the seal has another format": lambda place: place.question.file(place.store).write_text('{"format": 2}'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_breaks_it(place: Place, change: Callable[[Place], object]) -> None:
    change(place)
    assert place.said is None


def test_bytecode_that_python_writes_does_not_break_it(place: Place) -> None:
    (place.inputs / "__pycache__").mkdir()
    (place.inputs / "__pycache__" / "x.pyc").write_text("")
    assert place.said is not None


def test_another_machine_or_boot_breaks_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "mark", lambda: "another boot")
    assert place.said is None


@pytest.mark.parametrize("name", ["prefix", "version"])
def test_another_interpreter_has_another_seal(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, name, "another")
    assert place.said is None


@pytest.mark.parametrize(
    "other",
    [{"version": "1.0.1"}, {"hub": Path("/elsewhere")}, {"recipe": "flagship"}, {"engine": "docker"}],
)
def test_another_question_has_another_seal(place: Place, other: dict[str, object]) -> None:
    asked = dataclasses.replace(place.question, **other)  # type: ignore[arg-type]
    assert seal.standing(asked, place.store) is None


def test_a_file_written_this_instant_is_not_settled(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("x")
    stamps = seal.look([tmp_path])
    written = (tmp_path / "new").stat().st_mtime_ns
    assert not seal.settled(stamps, written + 1)
    assert seal.settled(stamps, written + 10**9)
