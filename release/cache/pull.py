"""Pull: an entry that is believed, and the bytes of its tree that are not here.

Objects arrive in the scratch folder of their key and go into the store together, so a
collector or a kill in between leaves the store as it was, and whole objects stay for the
next try.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from recipes.formats.progress import Update
from release.cache import entry as entries
from release.cache.entry import Entry, RefusedError
from release.cache.place import Place
from release.cache.signing import Trust
from release.derivation import Derivation, Step
from release.digest import File, Tree
from release.store import Realization, Store, durable
from release.store.arrivals import Arrivals, WrongBytesError

ENTRY_BYTES = 4 << 20
MANIFEST_BYTES = 64 << 20
ARRIVED = "arrived"

Progress = Callable[[Update], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An entry that is believed, who signed it, and the tree that it names."""

    entry: Entry
    signer: str
    tree: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads a cache into a store, for one release line.

    ``isolated`` takes no result that was built without all isolation. ``damaged`` collects
    the digests of objects that were found to be wrong.
    """

    place: Place
    store: Store
    line: str
    trust: Trust
    isolated: bool
    damaged: set[str] = field(default_factory=set)

    def find(self, derivation: Derivation, signer: str) -> Found | None:
        """Return what ``signer`` says a derivation gave, None when that is nothing.

        Raises RefusedError when it is not to be believed, UnreachableError.
        """
        data = self.place.read(entries.entry_name(derivation.key, signer), ENTRY_BYTES)
        if data is None:
            return None

        def verify(signature: bytes, message: bytes) -> bool:
            return self.trust.verify(signer, signature, message)

        entry = entries.judge(data, derivation.key, verify, isolated=self.isolated)
        manifest = self.place.read(entries.manifest_name(entry.tree), MANIFEST_BYTES)
        if manifest is None:
            raise RefusedError(f"the manifest of tree {entry.tree[:8]} is not there")
        return Found(entry=entry, signer=signer, tree=entries.judge_manifest(manifest, entry))

    def lacks(self, found: Found) -> frozenset[File]:
        """Return the files of a tree that would have to come."""
        arrivals = self._arrivals(found.entry.key)
        files = set(found.tree.files.values())
        return frozenset(f for f in files if not self.store.objects.has(f) and not arrivals.has(f))

    def bring(self, found: Found, step: Step, derivation: Derivation, progress: Progress) -> int:
        """Bring a tree into the store and record it; return the bytes that came.

        Behind the lock of its key. Raises RefusedError, UnreachableError, and MachineError
        when there is no room.
        """
        arrivals, count = self._arrivals(derivation.key), 0
        realization = Realization(
            key=derivation.key,
            name=step.name,
            tree=found.entry.tree,
            derivation=derivation.to_json(),
            seconds=found.entry.seconds,
            engine=found.entry.engine,
            isolation=found.entry.isolation,
            signed_by=found.signer,
        )
        while missing := self._admit(realization, found.tree, arrivals):
            count += self._download(missing, arrivals, progress)
        durable.remove(self.store.scratch(derivation.key))
        return count

    def _admit(self, realization: Realization, tree: Tree, arrivals: Arrivals) -> tuple[File, ...]:
        with self.store.gate.shared():  # the collector finds it whole and recorded, or not at all
            missing = self.store.admit(arrivals, tree)
            if not missing:
                self.store.record(realization, self.line)
            return missing

    def _download(self, missing: tuple[File, ...], arrivals: Arrivals, progress: Progress) -> int:
        total = sum(file.size for file in missing)
        self.store.need(total)
        told = counting("downloading", total, progress)
        for file in missing:
            name = entries.object_name(file)
            try:
                arrivals.receive(file, self.place.chunks(name, file.size), told)
            except WrongBytesError as error:
                self.damaged.add(file.sha256)
                raise RefusedError(f"{name} is damaged: {error}") from error
        return total

    def _arrivals(self, key: str) -> Arrivals:
        return Arrivals(self.store.scratch(key) / ARRIVED)


def counting(at: str, total: int, progress: Progress) -> Callable[[int], None]:
    """Return what is told of each piece and passes on how much of ``total`` bytes is done."""
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        progress(Update(at=at, done=done, total=total, unit="bytes"))

    return tell
