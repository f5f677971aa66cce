"""``store.verify`` finds what is wrong, says who uses it, and takes what is damaged out of use."""

import json
from pathlib import Path

import pytest

from release.digest import sha256_bytes
from release.store import Store, verify
from release.store.verify import Flaw
from tests.unit.store.results import release, result, source


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def flip(store: Store, text: str) -> Path:
    """Flip one bit of the object whose bytes are ``text``."""
    path = store.objects.path(sha256_bytes(text.encode()))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(len(text) // 2)
        byte = file.read(1)[0]
        file.seek(len(text) // 2)
        file.write(bytes([byte ^ 1]))
    path.chmod(0o444)
    return path


def contents(store: Store) -> list[Flaw]:
    return list(verify.contents(store, lambda done, total: None))


def structure(store: Store) -> list[Flaw]:
    return list(verify.structure(Store(store.root)))


def test_a_store_that_is_right_has_no_flaws(store: Store, tmp_path: Path) -> None:
    first = result(store, "a", {"in": source(store, tmp_path, "base", "base")}, x="1")
    second = result(store, "b", {"in": first.tree}, y="2")
    release(store, "0.1.0", first, second)
    store.folder(second.tree, "b")
    assert structure(store) == []
    assert contents(store) == []


def test_a_flipped_bit_names_file_step_release_and_the_command(store: Store) -> None:
    quantize = result(store, "quantize", model="weights of the body")
    graft = result(store, "graft", {"body": quantize.tree}, head="head")
    release(store, "0.1.0", quantize, graft)
    path = flip(store, "weights of the body")
    (flaw,) = contents(store)
    assert path.name[:12] in flaw.what
    assert {str(use) for use in flaw.uses} == {
        "tiny 0.1.0: quantize/model.txt",
        "tiny 0.1.0: graft/model.txt",
        "tiny (last run): quantize/model.txt",
        "tiny (last run): graft/model.txt",
    }
    assert flaw.hint == "type: invoke build --recipe tiny --step quantize"


def test_a_damaged_object_is_used_no_more_and_comes_back_by_a_rebuild(store: Store) -> None:
    made = result(store, "a", x="some bytes")
    shown = store.folder(made.tree, "a") / "x.txt"
    path = flip(store, "some bytes")
    contents(store)
    assert not path.exists()
    assert (store.root / "tombstones" / path.name).is_file()
    assert not shown.exists(), "the link in out/ is the damaged file"
    assert store.tree_of(made.key) is None
    gone = store.gone(made.key)
    assert gone is not None
    assert gone.startswith("found damaged by store.verify on 20")
    assert result(store, "a", x="some bytes") == made
    assert (store.folder(made.tree, "a") / "x.txt").read_text() == "some bytes"
    assert contents(store) == []


def test_a_published_link_of_a_damaged_object_is_told(store: Store, tmp_path: Path) -> None:
    result(store, "a", x="some bytes")
    (tmp_path / "published").hardlink_to(flip(store, "some bytes"))
    (flaw,) = contents(store)
    assert "1 links of it stand elsewhere" in flaw.what


def test_a_damaged_source_is_brought_in_again(store: Store, tmp_path: Path) -> None:
    base = source(store, tmp_path, "base", "the base")
    result(store, "a", {"in": base}, x="1")
    flip(store, "the base")
    (flaw,) = contents(store)
    assert flaw.hint == "it is base.txt of source base: type: invoke build --recipe tiny"


def test_the_command_for_a_result_of_an_old_release_asks_for_its_recipe(store: Store) -> None:
    release(store, "0.1.0", result(store, "a", nonce="1", x="old bytes", measures=True))
    result(store, "a", nonce="2", x="new")
    flip(store, "old bytes")
    (flaw,) = contents(store)
    assert flaw.hint.startswith("with the recipe as it was released in 0.1.0, type: invoke release")
    assert "its figures will be new" in flaw.hint


@pytest.mark.parametrize("broken", ["object", "short", "manifest", "writable"])
def test_a_result_that_is_not_whole_is_found_without_reading(store: Store, broken: str) -> None:
    made = result(store, "a", x="some bytes")
    path = store.objects.path(sha256_bytes(b"some bytes"))
    path.chmod(0o644)
    match broken:
        case "object":
            path.unlink()
        case "short":
            path.write_text("some")
            path.chmod(0o444)
        case "manifest":
            path.chmod(0o444)
            manifest = store.root / "trees" / f"{made.tree}.json"
            manifest.write_text(manifest.read_text().replace("x.txt", "z.txt"))
    (flaw,) = structure(store)
    assert f"result {made.key[:8]} of a" in flaw.what
    assert {use.step for use in flaw.uses} == {"a"}


def test_a_replaced_file_in_a_shown_folder_is_found(store: Store) -> None:
    shown = store.folder(result(store, "a", x="1").tree, "a")
    (shown / "x.txt").unlink()
    (shown / "x.txt").write_text("forged")
    (flaw,) = structure(store)
    assert "does not show its tree" in flaw.what


def test_a_realization_of_another_derivation_is_found(store: Store) -> None:
    made = result(store, "a", x="1")
    path = store.realizations.folder / f"{made.key}.json"
    data = json.loads(path.read_text())
    data["derivation"]["params"]["nonce"] = "forged"
    path.write_text(json.dumps(data))
    (flaw,) = structure(store)
    assert "its key is not that of its derivation" in flaw.what


def test_a_release_that_lost_a_result_is_found(store: Store) -> None:
    made = result(store, "a", nonce="1", x="1")
    release(store, "0.1.0", made)
    result(store, "a", nonce="2", x="2")
    (store.realizations.folder / f"{made.key}.json").unlink()
    (flaw,) = structure(store)
    assert flaw.what == "release 0.1.0 of tiny has lost its result of a"
    assert flaw.hint == "type: invoke release --recipe tiny --version 0.1.0"


def test_progress_tells_the_bytes_of_all_objects(store: Store) -> None:
    result(store, "a", x="1" * 1000, y="2" * 500)
    told: list[tuple[int, int]] = []
    list(verify.contents(store, lambda done, total: told.append((done, total))))
    assert told[-1] == (1500, 1500)
