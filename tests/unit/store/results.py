"""Results for tests of the store: recorded through its own doors, without running anything."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from recipes.formats.step import Workdir
from release.derivation import Derivation
from release.digest import File, Tree, sha256_bytes
from release.store import Realization, Store
from release.store.roots import Rooted

IMAGE = "1" * 64


def derivation(
    step: str, inputs: Mapping[str, str], *, nonce: str, machine: Mapping[str, str] | None = None
) -> Derivation:
    return Derivation(
        step=step,
        code="c" * 64,
        image=IMAGE,
        params={"nonce": nonce},
        inputs=inputs,
        platform="linux/amd64",
        machine=machine,
    )


def result(
    store: Store,
    step: str,
    inputs: Mapping[str, str] | None = None,
    *,
    nonce: str = "1",
    line: str = "tiny",
    measures: bool = False,
    machine: Mapping[str, str] | None = None,
    **new: str,
) -> Realization:
    """Commit and record a step that takes every file of its inputs and writes ``new``."""
    inputs = inputs or {}
    made = derivation(step, inputs, nonce=nonce, machine=machine or ({"cpu": "x"} if measures else None))
    work = Workdir(store.scratch(made.key))
    (work.root / "out").mkdir(parents=True)
    for name, text in new.items():
        work.new(f"{name}.txt").write_text(text)
    for name, digest in inputs.items():
        tree = store.tree(digest)
        assert tree is not None
        work.take_all(name, tree.files)
    work.finish()
    store.logs.start(line, step, made.key).write_text(f"{step} {nonce}\n")
    with store.gate.shared():
        found = Realization(
            key=made.key,
            name=step,
            tree=store.commit(work.root / "out", inputs),
            derivation=made.to_json(),
            seconds=1,
            engine="test",
        )
        store.record(found, line)
    shutil.rmtree(work.root)
    return found


def source(store: Store, folder: Path, name: str, text: str, line: str = "tiny") -> str:
    """Bring in a source of one file and lock the line to it."""
    (folder / f"{name}.txt").write_text(text)
    tree = Tree({f"{name}.txt": File(sha256_bytes(text.encode()), len(text))})
    store.roots.hold_sources(line, {name: tree.digest})
    return store.ingest(folder / f"{name}.txt", tree)


def release(store: Store, version: str, *made: Realization, line: str = "tiny") -> None:
    """Record a release of these results."""
    store.roots.put(line, version, {one.name: Rooted(one.key, one.tree) for one in made})


def objects(store: Store) -> set[str]:
    """Return the texts of all objects."""
    return {path.read_text() for path in store.objects.folder.glob("[0-9a-f][0-9a-f]/*")}
