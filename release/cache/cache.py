"""A remote cache at work, for one command: what it offers, what is pulled, what is pushed.

It never stops a release. An answer that is not to be believed is refused by name, and the
step is built here; a cache that does not answer is left alone after one warning.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from release.cache.address import Address
from release.cache.entry import RefusedError, entry_name
from release.cache.place import UnreachableError
from release.cache.pull import Found, Progress, Reader
from release.cache.push import Standing, Writer
from release.derivation import Derivation, Step
from release.plan import Offer
from release.store import Realization


@dataclass(slots=True, kw_only=True)
class Cache:
    """A cache that is read and, with a ``writer``, pushed to. ``tell`` prints a warning."""

    address: Address
    reader: Reader
    writer: Writer | None
    tell: Callable[[str], None]
    _found: dict[str, Found] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)
    _away: bool = False

    def offer(self, step: Step, derivation: Derivation) -> Offer | None:
        """Return what the cache has for a derivation, None when that is nothing to be believed."""
        found = self._look(derivation, step.name)
        return Offer(tree=found.entry.tree, lacks=self.reader.lacks(found)) if found else None

    def pull(self, step: Step, derivation: Derivation, progress: Progress) -> int | None:
        """Bring a result into the store and record it; return the bytes that came.

        Behind the lock of its key. None when nothing came that is to be believed. Raises
        MachineError when there is no room.
        """
        while (found := self._look(derivation, step.name)) is not None:
            try:
                return self.reader.bring(found, step, derivation, progress)
            except RefusedError as error:
                self._refuse(derivation.key, found.signer, step.name, error)
            except UnreachableError as error:
                self._leave(error)
        return None

    def push(self, key: str, progress: Progress) -> None:
        """Send a result that was built here; what was pulled is its signer's to vouch for."""
        realization = self.reader.store.realizations.get(key)
        if self.writer is None or self._away or realization is None or realization.signed_by is not None:
            return
        try:
            standing = self.writer.standing(realization)
            if standing is Standing.NOTHING or self._name(key, self.writer.signer.name) in self._refused:
                self.writer.send(realization, self.reader.damaged, progress)
            elif standing is Standing.OTHER and realization.derivation.get("machine") is None:
                self._tell_difference(realization)
        except UnreachableError as error:
            self._leave(error)

    def _look(self, derivation: Derivation, step: str) -> Found | None:
        key = derivation.key
        for signer in () if key in self._found or self._away else self.reader.trust.keys:
            if self._name(key, signer) in self._refused:
                continue
            try:
                found = self.reader.find(derivation, signer)
            except RefusedError as error:
                self._refuse(key, signer, step, error)
                continue
            except UnreachableError as error:
                self._leave(error)
                break
            if found is not None:
                self._found[key] = found
                break
        return None if self._away else self._found.get(key)

    def _refuse(self, key: str, signer: str, step: str, error: RefusedError) -> None:
        self._refused.add(self._name(key, signer))
        self._found.pop(key, None)
        self.tell(f"warning: {step}: refused {self._name(key, signer)}: {error}; the step is built here")

    def _leave(self, error: UnreachableError) -> None:
        self._away = True
        self.tell(f"warning: the cache {self.address} does not answer ({error}); going on without it")

    def _tell_difference(self, realization: Realization) -> None:
        self.tell(
            f"warning: {realization.name} ({realization.key[:8]}) gave another tree here than in the cache "
            f"{self.address}, though its bytes are promised; the cache was left as it is"
        )

    def _name(self, key: str, signer: str) -> str:
        return f"{self.address}/{entry_name(key, signer)}"
