"""Machines that build a line of two steps, each with a store of its own, around one cache."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fsspec.implementations.local import LocalFileSystem

from recipes.formats.progress import Update
from recipes.formats.step import Taken
from release.cache.address import Address
from release.cache.cache import Cache
from release.cache.place import Place
from release.cache.pull import Reader
from release.cache.push import Writer
from release.cache.signing import Signer, Trust
from release.derivation import Site, Source, Step
from release.digest import Tree
from release.engines.host import HostEngine
from release.hoststep import HostStep, Inputs, Params, Result
from release.plan import Graph, Known, Planned, plan
from release.realize import Done, Executor
from release.store import Store

BODY = b"body " * 1000
FIRST = Step(name="first", does="pack", inputs={"in": "source"})
SECOND = Step(name="second", does="graft", inputs={"body": "first"}, params={"head": "mtp"})
STEPS = (FIRST, SECOND)


def signer() -> Signer:
    return Signer(Ed25519PrivateKey.generate())


def trust(*signers: Signer) -> Trust:
    return Trust({each.name: each.public for each in signers})


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.updates: list[Update] = []

    def started(self, step: Step, key: str) -> None:
        """Hear that a step begins."""

    def waiting(self, step: Step, key: str) -> None:
        """Hear that another release builds this key."""

    def progress(self, step: Step, update: Update) -> None:
        """Hear how far a step is."""
        self.updates.append(update)

    def finished(self, step: Step, done: Done) -> None:
        """Hear that a step's tree is in the store."""


@dataclass(kw_only=True)
class Builder:
    """One machine: it builds with real host steps, and asks the cache at ``folder`` first."""

    root: Path
    folder: Path
    trusted: Trust
    writes_as: Signer | None = None
    isolated: bool = False
    differs: bytes = b""
    built: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ear: Ear = field(default_factory=Ear)

    @property
    def store(self) -> Store:
        return Store(self.root / "store")

    def cache(self, place: Place | None = None) -> Cache:
        """Open the cache anew, as a new command does."""
        place = place or Place(LocalFileSystem(skip_instance_cache=True), str(self.folder))
        store = self.store
        reader = Reader(place=place, store=store, line="two", trust=self.trusted, isolated=self.isolated)
        writer = Writer(place=place, store=store, signer=self.writes_as) if self.writes_as else None
        address = Address(bucket=False, path=str(self.folder))
        return Cache(address=address, reader=reader, writer=writer, tell=self.warnings.append)

    def graph(self) -> Graph:
        """Bring the source in and return the steps."""
        self.root.mkdir(exist_ok=True)
        path = self.root / "source.txt"
        path.write_text("source")
        tree = self.store.stat_cache.tree(path)
        return Graph(sources=(Source(name="source", digest=self.store.ingest(path, tree)),), steps=STEPS)

    def build(self, cache: Cache | None = None) -> dict[str, Done]:
        """Realize both steps."""
        cache = cache or self.cache()
        graph = self.graph()
        executor = Executor(
            store=cache.reader.store,
            site=SITE,
            line="two",
            runner_of=lambda _: HostEngine(
                {"pack": self._step(self._pack), "graft": self._step(self._graft)}
            ),
            checks={},
            listener=self.ear,
            remote=cache,
        )
        with cache.reader.store.running():
            return executor.realize(graph)

    def plan(self) -> tuple[Planned, ...]:
        """Plan both steps; nothing is built."""
        store = self.store
        known = Known(tree_of=store.tree_of, last=lambda _: None, offered=self.cache().offer)
        return plan(self.graph(), SITE, known)

    def tree(self, done: Done) -> Tree:
        tree = self.store.tree(done.tree)
        assert tree is not None
        return tree

    def _step(self, function: Callable[[Inputs, Params], Result]) -> HostStep:
        return HostStep(function, 1)

    def _pack(self, inputs: Inputs, params: Params) -> Result:
        self.built.append("first")
        source = Taken("in", "source.txt")
        return Result(new={"body.bin": BODY + self.differs, "deep/a.txt": b"a"}, taken={"source.txt": source})

    def _graft(self, inputs: Inputs, params: Params) -> Result:
        self.built.append("second")
        return Result(new={"head.bin": b"head"}, taken={"body.bin": Taken("body", "body.bin")})


SITE = Site(code={"pack": "p", "graft": "g"}, images={}, platform="linux/amd64", machine={})


def renamed(builder: Builder, root: Path) -> Builder:
    """Return the same builder on another machine: nothing built, nothing said."""
    return replace(builder, root=root, built=[], warnings=[], ear=Ear(), writes_as=None)
