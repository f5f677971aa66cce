"""The collector frees what nobody needs, keeps what anybody does, and says which is which."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from release.errors import ConfigError
from release.plan import Known, explain
from release.recall import known
from release.store import Store, gc, verify
from release.store.gc import Collected, Kind
from release.store.waiting import Note
from tests.unit.hub.release_trees import manifest
from tests.unit.store.results import IMAGE, objects, release, result, source


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def collect(store: Store, *, keep: int | None = None, dry_run: bool = False) -> Collected:
    return gc.collect(store, keep=keep, dry_run=dry_run)


def files(store: Store) -> list[Path]:
    return sorted(p for p in store.root.rglob("*") if p.is_file() and p.parent.name != "locks")


def pieces(found: Collected, kind: Kind) -> list[str]:
    return [item.what for item in found.garbage if item.kind is kind]


def test_the_last_run_of_each_step_of_each_line_stays(store: Store) -> None:
    other = result(store, "a", nonce="2", line="other", x="3")
    kept = [result(store, "a", x="1"), result(store, "b", x="2"), other]
    collect(store)
    assert [store.tree_of(one.key) for one in kept] == [one.tree for one in kept]
    assert objects(store) == {"1", "2", "3"}
    assert not list(verify.structure(store))


def test_what_was_superseded_goes_with_all_that_only_it_had(store: Store) -> None:
    old = result(store, "a", nonce="1", x="old", shared="both")
    new = result(store, "a", nonce="2", x="new", shared="both")
    shown = [store.folder(one.tree, "a") for one in (old, new)]
    found = collect(store)
    assert objects(store) == {"new", "both"}
    assert not shown[0].exists()
    assert (shown[1] / "x.txt").read_text() == "new"
    assert pieces(found, Kind.RESULT) == ["a"]
    assert {path.name for path in store.logs.folder.glob("*.log")} == {f"{new.key[:8]}-a.log"}
    assert not list((store.root / "trees").glob(f"{old.tree}*"))
    assert not (store.root / "garbage").exists()


def test_releases_stay_and_with_keep_only_the_newest(store: Store) -> None:
    versions = ["0.9.0", "0.10.0", "1.0.0-rc.1", "1.0.0"]
    for version in versions:
        release(store, version, result(store, "a", nonce=version, x=version))
    result(store, "a", nonce="later", x="later")
    collect(store)
    assert objects(store) == {*versions, "later"}
    found = collect(store, keep=2)
    assert objects(store) == {"1.0.0-rc.1", "1.0.0", "later"}
    assert store.roots.versions("tiny") == ("1.0.0-rc.1", "1.0.0")
    assert pieces(found, Kind.RELEASE) == ["tiny 0.9.0", "tiny 0.10.0"]
    collect(store, keep=0)
    assert objects(store) == {"later"}


def test_what_waits_to_be_promoted_stays_until_its_version_goes(store: Store, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        made = result(store, "a", nonce=version, x=version)
        folder = tmp_path / version
        folder.mkdir()
        (folder / "model.sig").write_text(f"signature of {version}")
        signed = manifest(folder)
        store.ingest(folder, signed)
        store.waiting.put("tiny", version, Note(trees={"owner/name": signed.digest}))
        collect(store)
        assert store.tree(signed.digest), "noted before the release is recorded"
        release(store, version, made)
    collect(store, keep=2)
    assert objects(store) == {"1.0.0", "1.1.0", "signature of 1.0.0", "signature of 1.1.0"}
    collect(store, keep=1)
    assert objects(store) == {"1.1.0", "signature of 1.1.0"}


def test_a_locked_source_stays_and_one_that_was_locked_before_goes(store: Store, tmp_path: Path) -> None:
    old = source(store, tmp_path, "base", "old base")
    result(store, "a", {"in": old}, x="made of old")
    new = source(store, tmp_path, "base", "new base")
    source(store, tmp_path, "base", "of another line", line="other")
    result(store, "a", {"in": new}, nonce="2", x="made of new")
    collect(store)
    assert objects(store) == {"new base", "of another line", "made of new"}
    assert store.tree(new)


def test_a_question_can_still_name_the_files_of_what_the_last_run_read(store: Store, tmp_path: Path) -> None:
    old = source(store, tmp_path, "rows", "old rows")
    (store.root / "work").mkdir()
    made = result(store, "a", {"rows": old}, x="1")
    source(store, tmp_path, "rows", "new rows")
    shared = store.tree(old)
    assert shared is not None
    collect(store)
    assert store.manifest(old) is not None
    assert store.tree_of(made.key) == made.tree, "its result took the old rows and is kept whole"


def test_a_dry_run_removes_nothing_and_says_what_the_real_run_frees(store: Store) -> None:
    result(store, "a", nonce="1", x="o" * 10000)
    result(store, "a", nonce="2", x="n")
    before = files(store)
    said = collect(store, dry_run=True)
    assert files(store) == before
    done = collect(store)
    assert [item.path for item in said.garbage] == [item.path for item in done.garbage]
    assert said.bytes == done.bytes
    assert done.bytes[Kind.OBJECT] >= 10000
    assert not collect(store).garbage


def test_what_is_linked_from_elsewhere_frees_nothing(store: Store, tmp_path: Path) -> None:
    old = result(store, "a", nonce="1", x="o" * 10000)
    (tmp_path / "published").hardlink_to(store.folder(old.tree, "a") / "x.txt")
    result(store, "a", nonce="2", x="n")
    assert collect(store).bytes[Kind.OBJECT] == 0


def test_environments_of_kept_results_stay(store: Store) -> None:
    result(store, "a", x="1")
    for name in (IMAGE[:32], "2" * 32, f"{IMAGE[:32]}.partial"):
        (store.root / "envs" / name).mkdir(parents=True)
    collect(store)
    assert [path.name for path in (store.root / "envs").iterdir()] == [IMAGE[:32]]


def test_environments_of_another_store_are_not_touched(store: Store, tmp_path: Path) -> None:
    (tmp_path / "envs" / ("2" * 32)).mkdir(parents=True)
    store.root.mkdir()
    (store.root / "envs").symlink_to(tmp_path / "envs")
    collect(store)
    assert (tmp_path / "envs" / ("2" * 32)).is_dir()


def test_unfinished_work_goes_unless_a_release_holds_it(store: Store) -> None:
    for name in ("held", "left"):
        (store.scratch(name) / "state").mkdir(parents=True)
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root), "held"], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert held.stdout is not None
    held.stdout.readline()
    found = collect(store)
    assert pieces(found, Kind.SCRATCH) == ["left"]
    assert store.scratch("held").is_dir()
    held.communicate()
    collect(store)
    assert not store.scratch("held").exists()


def test_a_later_miss_says_when_it_was_collected(store: Store) -> None:
    old = result(store, "a", nonce="1", x="old")
    release(store, "0.1.0", old)
    result(store, "a", nonce="2", x="new")
    collect(store, keep=0)
    gone = store.gone(old.key)
    assert gone is not None
    assert gone.startswith("collected by gc on 20")
    knows: Known = known(store, "tiny", dict)
    assert explain(True, (), knows.gone(old.key)) == gone
    (file,) = store.tombstones.folder.glob("*.jsonl")
    stones = [json.loads(line) for line in file.read_text().splitlines()]
    assert {"release record", "result", "tree", "object", "log"} <= {stone["kind"] for stone in stones}
    assert next(s for s in stones if s["kind"] == "object")["size"] == 3


def test_a_release_keeps_its_trees_when_a_result_of_it_no_longer_reads(store: Store) -> None:
    old = result(store, "a", nonce="1", x="old")
    release(store, "0.1.0", old)
    result(store, "a", nonce="2", x="new")
    store.realizations.path(old.key).write_text("{")
    collect(Store(store.root))
    assert objects(store) == {"old", "new"}


@pytest.mark.parametrize("record", ["roots/tiny/0.1.0", "sources/tiny.json"])
def test_a_record_that_does_not_read_stops_the_collector(store: Store, tmp_path: Path, record: str) -> None:
    source(store, tmp_path, "base", "base")
    release(store, "0.1.0", result(store, "a", nonce="1", x="old"))
    result(store, "a", nonce="2", x="new")
    (store.root / record).write_text("[")
    with pytest.raises(ConfigError, match=f"{record} does not read"):
        collect(store)
    assert objects(store) == {"base", "old", "new"}
    assert any(record in flaw.what for flaw in verify.structure(Store(store.root)))


def test_a_damaged_object_that_was_buried_goes_and_its_tombstone_stays(store: Store) -> None:
    made = result(store, "a", x="bytes")
    path = next(store.objects.folder.glob("[0-9a-f][0-9a-f]/*"))
    path.chmod(0o644)
    path.write_text("bytez")
    list(verify.contents(store, lambda done, total: None))
    found = collect(store)
    assert found.bytes[Kind.DAMAGED] > 0
    assert not (store.tombstones.folder / path.name).exists()
    assert (store.gone(made.key) or "").startswith("found damaged by store.verify")


def test_leftovers_of_killed_writers_go(store: Store) -> None:
    result(store, "a", x="1")
    left = [
        store.objects.folder / ".abc.part",
        store.root / "trees" / ".x.json.99",
        store.realizations.folder / "last" / "tiny" / ".a.99",
        store.logs.folder / "last" / "tiny" / ".a.99",
        store.root / "out" / ".y.part",
    ]
    left[-1].mkdir(parents=True)
    for path in left[:-1]:
        path.write_text("half")
    collect(store)
    assert not any(path.exists() for path in left)


def test_a_kill_at_any_point_leaves_a_store_that_is_right(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    fill(Store(whole))
    run(whole, GRAFTSMITH_TRACE=str(tmp_path / "trace"))
    trace = (tmp_path / "trace").read_text().splitlines()
    kills = [line.split(" ", 1)[0] for line in trace if "/trees/" not in line]
    assert len(kills) > 10
    for number in kills:
        root = tmp_path / number
        fill(Store(root))
        killed = run(root, GRAFTSMITH_TRACE=str(tmp_path / "again"), GRAFTSMITH_KILL_AT=number)
        assert killed.returncode == -9
        assert not list(verify.structure(Store(root))), trace[int(number) - 1]
        assert run(root).returncode == 0
        assert objects(Store(root)) == {"new", "kept"}
        assert not (root / "garbage").exists()


def fill(store: Store) -> None:
    first = result(store, "a", nonce="1", x="old")
    result(store, "b", {"in": first.tree}, nonce="1", y="old too")
    second = result(store, "a", nonce="2", x="new")
    result(store, "b", {"in": second.tree}, nonce="2", y="kept")
    store.folder(first.tree, "a")


def run(root: Path, **env: str) -> "subprocess.CompletedProcess[bytes]":
    code = (
        "import sys; from pathlib import Path; from release.store import Store, gc\n"
        "gc.collect(Store(Path(sys.argv[1])), keep=None, dry_run=False)"
    )
    return subprocess.run([sys.executable, "-c", code, str(root)], env={**os.environ, **env}, check=False)


HOLD = """
import sys
from pathlib import Path
from release.store import Store
with Store(Path(sys.argv[1])).lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""
