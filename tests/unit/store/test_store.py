"""The store: committed whole or not at all, links instead of copies, sources untouched."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from recipes.formats.step import Workdir
from release.digest import File, Tree, sha256_bytes
from release.errors import BuildError, ConfigError, MachineError
from release.store import Realization, Store
from release.store.objects import Objects


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep/b.txt").write_text("bb")
    return folder


def ingest(store: Store, source: Path) -> str:
    return store.ingest(source, store.stat_cache.tree(source))


def commit(store: Store, tmp_path: Path, inputs: Mapping[str, str], **new: str) -> str:
    work = Workdir(tmp_path / "work")
    (work.root / "out").mkdir(parents=True)
    for name, text in new.items():
        work.new(f"{name}.txt").write_text(text)
    for name in inputs:
        work.take(name, "a.txt", f"from-{name}.txt")
    work.finish()
    return store.commit(work.root / "out", inputs)


def test_a_source_is_left_as_it_was(store: Store, source: Path) -> None:
    before = {path: path.stat() for path in source.rglob("*")}
    ingest(store, source)
    after = {path: path.stat() for path in source.rglob("*")}
    for path, stat in before.items():
        assert (stat.st_ino, stat.st_mode, stat.st_mtime_ns, stat.st_nlink) == (
            after[path].st_ino,
            after[path].st_mode,
            after[path].st_mtime_ns,
            after[path].st_nlink,
        )


def test_a_taken_file_is_the_same_file(store: Store, source: Path, tmp_path: Path) -> None:
    body = ingest(store, source)
    tree = commit(store, tmp_path, {"body": body}, fresh="new")
    shown = store.folder(tree, "result")
    assert (shown / "from-body.txt").samefile(store.folder(body, "body") / "a.txt")
    assert (shown / "fresh.txt").read_text() == "new"
    assert (shown / "fresh.txt").stat().st_mode & 0o777 == 0o444


def test_equal_bytes_give_the_equal_tree(store: Store, tmp_path: Path) -> None:
    first = commit(store, tmp_path / "1", {}, x="same")
    assert commit(store, tmp_path / "2", {}, x="same") == first


@pytest.mark.parametrize(
    ("tree_json", "files", "message"),
    [
        (None, {}, "does not read"),
        ({"format": 9, "files": {}}, {}, "expected format"),
        ({"format": 1, "files": {"../x": None}}, {}, "plain relative path"),
        ({"format": 1, "files": {"x": None}}, {}, "did not write"),
        ({"format": 1, "files": {}}, {"stray": "x"}, "does not name"),
        ({"format": 1, "files": {"x": {"input": "body", "path": "a"}}}, {}, "no input of it"),
    ],
)
def test_a_result_that_lies_is_refused(
    store: Store, tmp_path: Path, tree_json: object, files: dict[str, str], message: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    if tree_json is not None:
        (out / "tree.json").write_text(json.dumps(tree_json))
    with pytest.raises(BuildError, match=message):
        store.commit(out, {})


def test_a_step_may_not_write_links(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "x").symlink_to("/etc/passwd")
    (out / "tree.json").write_text('{"format": 1, "files": {"x": null}}')
    with pytest.raises(BuildError, match="not links"):
        store.commit(out, {})


def test_a_source_that_changes_while_it_is_read_is_refused(store: Store, source: Path) -> None:
    tree = store.stat_cache.tree(source)
    (source / "a.txt").write_text("b")
    with pytest.raises(BuildError, match="changed while it was read"):
        store.ingest(source, tree)
    assert store.tree(tree.digest) is None


def test_a_source_with_a_link_is_refused(store: Store, source: Path) -> None:
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="plain files"):
        store.stat_cache.tree(source)


def test_a_second_look_reads_no_bytes(store: Store, source: Path) -> None:
    store.stat_cache.tree(source)
    store.stat_cache.save()
    again = Store(store.root).stat_cache
    again.tree(source)
    assert again.read == 0
    (source / "a.txt").write_text("A longer text")
    again.tree(source)
    assert again.read == len("A longer text")


def test_a_key_is_a_hit_only_while_its_tree_is_whole(store: Store, tmp_path: Path) -> None:
    tree = commit(store, tmp_path, {}, x="bytes")
    done = Realization(key="k" * 64, name="step", tree=tree, derivation={}, seconds=1, engine="test")
    store.record(done, "line")
    assert store.tree_of(done.key) == tree
    assert store.realizations.last("line", "step") == done
    store.objects.path(sha256_bytes(b"bytes")).unlink()
    assert Store(store.root).tree_of(done.key) is None


def test_a_realization_cut_short_is_no_hit(store: Store, tmp_path: Path) -> None:
    tree = commit(store, tmp_path, {}, x="bytes")
    done = Realization(key="k" * 64, name="step", tree=tree, derivation={}, seconds=1, engine="test")
    store.record(done, "line")
    path = store.root / "realizations" / f"{done.key}.json"
    path.write_bytes(path.read_bytes()[:20])
    assert store.tree_of(done.key) is None


def test_a_realization_with_fields_of_another_format_is_no_hit(store: Store, tmp_path: Path) -> None:
    tree = commit(store, tmp_path, {}, x="bytes")
    done = Realization(key="k" * 64, name="step", tree=tree, derivation={}, seconds=1, engine="test")
    store.record(done, "line")
    path = store.root / "realizations" / f"{done.key}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    assert store.tree_of(done.key) is None


def test_a_shown_folder_that_lost_a_file_is_made_again(store: Store, source: Path) -> None:
    digest = ingest(store, source)
    (store.folder(digest, "source") / "a.txt").unlink()
    assert (store.folder(digest, "source") / "a.txt").read_text() == "a"


def test_a_replaced_file_in_a_shown_folder_is_put_right(store: Store, source: Path) -> None:
    digest = ingest(store, source)
    shown = store.folder(digest, "source") / "a.txt"
    shown.unlink()
    shown.write_text("forged")
    assert (store.folder(digest, "source") / "a.txt").read_text() == "a"


def test_too_little_space_is_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(MachineError, match="bytes free"):
        store.need(10**18)


def test_an_object_is_stored_once(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")
        assert objects.adopt(tmp_path / name) == File(sha256_bytes(b"same"), 4)
    assert len([p for p in (tmp_path / "objects").rglob("*") if p.is_file()]) == 1


def test_a_manifest_without_its_objects_is_not_recorded(store: Store) -> None:
    with pytest.raises(BuildError, match="lacks"):
        store.put_tree(Tree({"a": File("0" * 64, 1)}))
