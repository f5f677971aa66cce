"""What a cache gives is the same as what is built; what it gives wrongly costs a warning."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from release.cache.entry import dump, dump_manifest, entry_name, judge
from release.cache.place import Place, UnreachableError
from release.cache.signing import Signer
from release.digest import File, Tree, sha256_bytes
from release.plan import Status
from release.store import Store, gc
from release.store.arrivals import Arrivals
from tests.unit.cache.builders import BODY, FIRST, Builder, renamed, signer, trust

OTHER_SIZE = b"short"
OTHER_BYTES = bytes(len(BODY))


@pytest.fixture
def writer(tmp_path: Path) -> Builder:
    """Return a builder that has filled the cache."""
    own = signer()
    builder = Builder(root=tmp_path / "one", folder=tmp_path / "cache", trusted=trust(own), writes_as=own)
    builder.build()
    assert (builder.built, builder.warnings) == (["first", "second"], [])
    return builder


@pytest.fixture
def reader(writer: Builder, tmp_path: Path) -> Builder:
    return renamed(writer, tmp_path / "two")


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of each file of a cache."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def object_of(folder: Path, data: bytes) -> Path:
    name = sha256_bytes(data)
    return folder / "v1" / "objects" / name[:2] / name


def entry_of(builder: Builder, step: str) -> Path:
    key = next(found.key for found in builder.store.realizations.all() if found.name == step)
    return next((builder.folder / "v1" / "realizations" / key).iterdir())


def rewritten(path: Path, own: Signer, **other: object) -> None:
    """Sign an entry anew with other fields: what only a signer can do."""
    entry = judge(path.read_bytes(), path.parent.name, lambda *_: True, isolated=False)
    path.write_bytes(dump(replace(entry, **other), own.sign))  # type: ignore[arg-type]


def test_what_one_machine_built_another_does_not(writer: Builder, reader: Builder) -> None:
    one, two = writer.build(), reader.build()
    assert reader.built == []
    assert {name: done.tree for name, done in one.items()} == {name: done.tree for name, done in two.items()}
    assert [done.how for done in two.values()] == ["cached", "cached"]
    assert [done.pulled for done in two.values()] == [len(BODY) + 1, len(b"head")]
    assert [done.how for done in reader.build().values()] == ["hit", "hit"]
    folder = reader.store.folder(two["second"].tree, "second")
    assert (folder / "body.bin").read_bytes() == BODY
    assert not list((reader.store.root / "scratch").iterdir())


def test_the_plan_counts_each_byte_to_download_once(writer: Builder, reader: Builder) -> None:
    first, second = reader.plan()
    assert (first.status, first.why, first.download) == (Status.CACHED, "in the cache", len(BODY) + 1)
    assert (second.status, second.download) == (Status.CACHED, len(b"head"))
    assert not (reader.store.root / "realizations").exists(), "a plan changes nothing"


def test_progress_counts_the_bytes_that_come(reader: Builder) -> None:
    reader.build()
    whole = [update for update in reader.ear.updates if update.done == update.total]
    assert [(update.at, update.total) for update in whole] == [
        ("downloading", len(BODY) + 1),
        ("downloading", len(b"head")),
    ]


def test_a_pulled_result_says_who_signed_it(writer: Builder, reader: Builder) -> None:
    done = reader.build()["first"]
    found = reader.store.realizations.get(done.key)
    assert found is not None
    assert (found.signed_by, found.engine) == (next(iter(reader.trusted.keys)), "host")


def test_nothing_is_pushed_twice_and_no_input_at_all(writer: Builder) -> None:
    before = files(writer.folder)
    writer.build()
    assert files(writer.folder) == before
    sent = {path.name for path in (writer.folder / "v1" / "objects").glob("*/*")}
    assert sent == {sha256_bytes(data) for data in (BODY, b"a", b"head")}, "a source was sent"
    assert not list((writer.folder / "v1" / "incoming").iterdir())


def test_what_was_built_before_is_pushed_by_the_next_command(tmp_path: Path) -> None:
    own = signer()
    builder = Builder(root=tmp_path / "one", folder=tmp_path / "cache", trusted=trust(own))
    builder.folder.mkdir()
    builder.build()
    assert not list(builder.folder.iterdir()), "a cache is read until it is asked to be pushed to"
    builder.writes_as = own
    builder.build()
    assert builder.built == ["first", "second"]
    two = renamed(builder, tmp_path / "two")
    two.build()
    assert two.built == []


def test_what_was_pulled_is_not_signed_by_who_pulled_it(reader: Builder, writer: Builder) -> None:
    reader.writes_as = signer()
    before = files(reader.folder)
    reader.build()
    assert files(reader.folder) == before


def test_an_entry_of_somebody_not_trusted_is_not_looked_at(reader: Builder) -> None:
    reader.trusted = trust(signer())
    reader.build()
    assert (reader.built, reader.warnings) == (["first", "second"], [])


def test_a_wrong_entry_of_one_signer_leaves_that_of_another(writer: Builder, reader: Builder) -> None:
    other = signer()
    second = replace(writer, root=writer.root.with_name("three"), trusted=trust(other), writes_as=other)
    second.build()
    entry_of(writer, "first").with_name(next(iter(writer.trusted.keys))).write_bytes(b"poison")
    reader.trusted = trust(*(each for each in (writer.writes_as, other) if each))
    reader.build()
    assert reader.built == []
    assert [text for text in reader.warnings if "not signed" in text]


Poison = Callable[[Builder], None]


def unsigned(builder: Builder) -> None:
    path = entry_of(builder, "first")
    path.write_bytes(path.read_bytes().partition(b"\n")[2])


def signed_by_another(builder: Builder) -> None:
    rewritten(entry_of(builder, "first"), signer())


def swapped_entries(builder: Builder) -> None:
    shutil.copyfile(entry_of(builder, "second"), entry_of(builder, "first"))


def truncated_object(builder: Builder) -> None:
    object_of(builder.folder, BODY).write_bytes(BODY[:-1])


def longer_object(builder: Builder) -> None:
    object_of(builder.folder, BODY).write_bytes(BODY + b"x")


def other_object(builder: Builder) -> None:
    object_of(builder.folder, BODY).write_bytes(OTHER_BYTES)


def swapped_objects(builder: Builder) -> None:
    shutil.copyfile(object_of(builder.folder, b"head"), object_of(builder.folder, BODY))


def missing_object(builder: Builder) -> None:
    object_of(builder.folder, BODY).unlink()


def endless_object(builder: Builder) -> None:
    path = object_of(builder.folder, BODY)
    path.unlink()
    os.mkfifo(path)


def missing_manifest(builder: Builder) -> None:
    for path in (builder.folder / "v1" / "trees").iterdir():
        path.unlink()


def lying_sizes(builder: Builder) -> None:
    for path in (builder.folder / "v1" / "trees").iterdir():
        tree = json.loads(path.read_text())
        path.write_text(json.dumps({name: {**file, "size": 1} for name, file in tree.items()}))


def lying_sizes_signed(builder: Builder) -> None:
    """Sign a manifest whose digests are right and whose sizes are not."""
    path, own = entry_of(builder, "first"), builder.writes_as
    assert own is not None
    entry = judge(path.read_bytes(), path.parent.name, lambda *_: True, isolated=False)
    manifest = builder.folder / "v1" / "trees" / f"{entry.tree}.json"
    tree = Tree.from_json(json.loads(manifest.read_text()))
    wrong = dump_manifest(Tree({name: File(file.sha256, file.size + 1) for name, file in tree.files.items()}))
    manifest.write_bytes(wrong)
    rewritten(path, own, manifest=sha256_bytes(wrong))


def traversal_signed(builder: Builder) -> None:
    path, own = entry_of(builder, "first"), builder.writes_as
    assert own is not None
    data = json.dumps({"../../../escaped": {"sha256": sha256_bytes(BODY), "size": len(BODY)}}).encode()
    digest = sha256_bytes(f"{sha256_bytes(BODY)}  ../../../escaped\n".encode())
    (builder.folder / "v1" / "trees" / f"{digest}.json").write_bytes(data)
    rewritten(path, own, manifest=sha256_bytes(data), tree=digest)


def tree_name_signed(builder: Builder) -> None:
    own = builder.writes_as
    assert own is not None
    rewritten(entry_of(builder, "first"), own, tree="../../realizations/x")


@pytest.mark.parametrize(
    "poison",
    [
        unsigned,
        signed_by_another,
        swapped_entries,
        truncated_object,
        longer_object,
        other_object,
        swapped_objects,
        missing_object,
        endless_object,
        missing_manifest,
        lying_sizes,
        lying_sizes_signed,
        traversal_signed,
        tree_name_signed,
    ],
)
def test_a_poisoned_entry_is_refused_by_name_and_the_step_is_built(
    writer: Builder, reader: Builder, poison: Poison, tmp_path: Path
) -> None:
    expected = {name: done.tree for name, done in writer.build().items()}
    key = entry_of(writer, "first").parent.name
    poison(writer)
    done = reader.build()
    assert {name: step.tree for name, step in done.items()} == expected
    assert reader.built[0] == "first"
    assert key in reader.warnings[0]
    assert "refused" in reader.warnings[0]
    assert not list(tmp_path.rglob("escaped"))
    assert (reader.store.folder(done["second"].tree, "second") / "body.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    "poison", [unsigned, truncated_object, other_object, missing_object, missing_manifest, lying_sizes]
)
def test_whoever_signs_there_mends_what_was_refused(
    writer: Builder, reader: Builder, poison: Poison, tmp_path: Path
) -> None:
    poison(writer)
    mender = replace(renamed(writer, tmp_path / "mender"), writes_as=writer.writes_as)
    mender.build()
    assert mender.warnings
    reader.build()
    assert (reader.built, reader.warnings) == ([], [])


def test_another_tree_for_promised_bytes_is_said_and_the_cache_left(writer: Builder, tmp_path: Path) -> None:
    before = files(writer.folder)
    other = replace(renamed(writer, tmp_path / "two"), trusted=trust(signer()), differs=b"!")
    other.build()
    other.writes_as = writer.writes_as
    other.build()
    assert "gave another tree here" in other.warnings[0]
    name = entry_of(writer, "first").relative_to(writer.folder).as_posix()
    assert files(writer.folder)[name] == before[name]


class Broken(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A server that answers ``left`` more times and then hangs up."""

    left = 0

    def info(self, path: str, **kwargs: object) -> dict[str, object]:
        self._answer()
        found: dict[str, object] = super().info(path, **kwargs)
        return found

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
        self._answer()
        super().pipe_file(path, value, mode, **kwargs)

    def put_file(self, lpath: str, rpath: str, **kwargs: object) -> None:
        self._answer()
        super().put_file(lpath, rpath, **kwargs)

    def _answer(self) -> None:
        if self.left <= 0:
            raise ConnectionResetError(104, "Connection reset by peer")
        self.left -= 1


@pytest.fixture
def memory() -> Iterator[Place]:
    files = Broken(skip_instance_cache=True)
    yield Place(files, "/bucket")
    MemoryFileSystem.store.clear()


def test_a_cache_that_is_down_costs_one_warning(memory: Place, tmp_path: Path) -> None:
    own = signer()
    builder = Builder(root=tmp_path / "one", folder=tmp_path, trusted=trust(own), writes_as=own)
    builder.build(builder.cache(memory))
    assert builder.built == ["first", "second"]
    assert len(builder.warnings) == 1
    assert "does not answer (Connection reset by peer)" in builder.warnings[0]


def test_a_cache_may_go_away_at_any_moment_of_push_and_pull(memory: Place, tmp_path: Path) -> None:
    own = signer()
    whole = Builder(root=tmp_path / "whole", folder=tmp_path, trusted=trust(own))
    expected = {name: done.tree for name, done in whole.build().items()}
    for left in range(40):
        memory.files.left = left
        one = Builder(root=tmp_path / f"one-{left}", folder=tmp_path, trusted=trust(own), writes_as=own)
        assert {name: done.tree for name, done in one.build(one.cache(memory)).items()} == expected
        memory.files.left = 1000
        two = Builder(root=tmp_path / f"two-{left}", folder=tmp_path, trusted=trust(own))
        assert {name: done.tree for name, done in two.build(two.cache(memory)).items()} == expected
        assert not two.warnings, f"after {left} answers a reader saw something half done"
        if not one.warnings:
            break
        if left % 2:  # from nothing, and on what the one before had sent
            MemoryFileSystem.store.clear()
    assert not one.warnings
    assert two.built == []


def test_what_a_stopped_pull_brought_is_not_brought_again(writer: Builder, reader: Builder) -> None:
    broken = object_of(writer.folder, b"a")
    broken.rename(broken.with_name("away"))
    cache = reader.cache()
    graph = reader.graph()
    derivation = next(i.derivation for i in reader.plan() if i.derivation is not None)
    assert cache.pull(FIRST, derivation, lambda _: None) is None
    store: Store = reader.store
    arrivals = Arrivals(store.scratch(derivation.key) / "arrived")
    inode = arrivals.path(File(sha256_bytes(BODY), len(BODY))).stat().st_ino
    broken.with_name("away").rename(broken)
    assert graph.steps
    assert reader.plan()[0].download == 1
    assert reader.build()["first"].pulled == 1
    assert store.objects.path(sha256_bytes(BODY)).stat().st_ino == inode


def test_the_collector_takes_no_arrivals_of_a_pull_at_work(writer: Builder, reader: Builder) -> None:
    cache, seen = reader.cache(), []

    def collect(_: object) -> None:
        with reader.store.lock("other"):
            seen.append(gc.collect(reader.store, keep=None, dry_run=False))

    derivation = next(i.derivation for i in reader.plan() if i.derivation is not None)
    reader.graph()
    with cache.reader.store.running(), cache.reader.store.lock(derivation.key):
        cache.reader.store.pins.add(*derivation.inputs.values())
        assert cache.pull(FIRST, derivation, collect) == len(BODY) + 1
    assert seen
    assert reader.store.tree_of(derivation.key) is not None


def test_what_the_client_says_wrong_is_one_error(memory: Place) -> None:
    with pytest.raises(UnreachableError, match="reset"):
        memory.size(entry_name("k", "s"))


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path: Path) -> None:
    own = signer()
    (tmp_path / "file").touch()
    builder = Builder(root=tmp_path / "one", folder=tmp_path / "file", trusted=trust(own), writes_as=own)
    builder.build()
    assert builder.built == ["first", "second"]
    assert len(builder.warnings) == 1
    assert "does not answer" in builder.warnings[0]
