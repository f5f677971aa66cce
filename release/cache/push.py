"""Push: a result that was built here, signed, for everybody who trusts the signer.

Objects first, then the manifest, then the entry: a push that is killed leaves files that
the next one finds, never an entry whose bytes are not there. What is there is not sent
again, and neither is what the inputs of the step hold: whoever asks for this key has them.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum

from release.cache import entry as entries
from release.cache.entry import Entry, RefusedError
from release.cache.place import Place
from release.cache.pull import ENTRY_BYTES, Progress, counting
from release.cache.signing import Signer, Trust
from release.digest import File, Tree, sha256_bytes
from release.store import Realization, Store


class Standing(Enum):
    """What of ours stands in the cache for a key."""

    NOTHING = "nothing, or nothing right"
    SAME = "the same tree"
    OTHER = "another tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Writes results of a store into a cache."""

    place: Place
    store: Store
    signer: Signer

    def standing(self, realization: Realization) -> Standing:
        """Look what stands in the cache under our name. Raises UnreachableError."""
        signer, own = self.signer.name, Trust({self.signer.name: self.signer.public})
        try:
            data = self.place.read(entries.entry_name(realization.key, signer), ENTRY_BYTES)
            if data is None:
                return Standing.NOTHING
            entry = entries.judge(
                data, realization.key, lambda sig, text: own.verify(signer, sig, text), isolated=False
            )
        except RefusedError:
            return Standing.NOTHING
        return Standing.SAME if entry.tree == realization.tree else Standing.OTHER

    def send(self, realization: Realization, damaged: AbstractSet[str], progress: Progress) -> None:
        """Send a result whole; ``damaged`` objects are sent again. Raises UnreachableError."""
        tree = self.store.tree(realization.tree)
        assert tree is not None, f"{realization.name} was realized a moment ago"
        new = [file for file in self._own(realization, tree) if self._wants(file, damaged)]
        told = counting("pushing to the cache", sum(file.size for file in new), progress)
        for file in new:
            self.place.upload(entries.object_name(file), self.store.objects.path(file.sha256), told)
        manifest = entries.dump_manifest(tree)
        self.place.write(entries.manifest_name(realization.tree), manifest)
        entry = Entry(
            key=realization.key,
            tree=realization.tree,
            manifest=sha256_bytes(manifest),
            derivation=realization.derivation,
            seconds=realization.seconds,
            engine=realization.engine,
            isolation=realization.isolation,
        )
        name = entries.entry_name(realization.key, self.signer.name)
        self.place.write(name, entries.dump(entry, self.signer.sign))

    def _own(self, realization: Realization, tree: Tree) -> list[File]:
        """Return the files of a tree that are not in the step's inputs, each once."""
        inputs = (self.store.manifest(digest) for digest in realization.inputs.values())
        had = {file for each in inputs if each for file in each.files.values()}
        return [file for file in dict.fromkeys(tree.files.values()) if file not in had]

    def _wants(self, file: File, damaged: AbstractSet[str]) -> bool:
        try:
            return file.sha256 in damaged or self.place.size(entries.object_name(file)) != file.size
        except RefusedError:
            return True
