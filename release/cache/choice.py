"""Which cache a command uses, and who is believed: what was typed, else the environment.

    --cache URI          GRAFTSMITH_CACHE          the cache; none without
    --cache-trust KEYS   GRAFTSMITH_CACHE_TRUST    whose entries are believed
                         GRAFTSMITH_CACHE_KEY      the private key that signs; believed as well
    --cache-push                                   push what is built here

Light: the clients are imported when there is a cache.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from release.errors import UsageError
from release.store import Store

if TYPE_CHECKING:
    from release.cache.cache import Cache
    from release.cache.signing import Signer, Trust

REQUIRE_ISOLATION = "GRAFTSMITH_REQUIRE_ISOLATION"
MAKE = "ssh-keygen -t ed25519 -N '' -C NAME -f FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was typed; empty fields are taken from the environment."""

    uri: str = ""
    trust: str = ""
    push: bool = False

    def open(self, store: Store, line: str, tell: Callable[[str], None]) -> "Cache | None":
        """Open the cache for a release line, None when there is none; it is not asked yet.

        Raises UsageError when the choice does not hold together, ConfigError for keys that
        do not read, MachineError when the client of the cache is not installed.
        """
        uri = self.uri or os.environ.get("GRAFTSMITH_CACHE", "")
        if not uri:
            if self.push:
                raise UsageError(
                    "--cache-push needs a cache", hint="add --cache URI, or set GRAFTSMITH_CACHE"
                )
            return None
        from release.cache.address import parse
        from release.cache.cache import Cache
        from release.cache.place import open_place
        from release.cache.pull import Reader
        from release.cache.push import Writer

        address = parse(uri)
        signer = self._signer()
        if not address.bucket and not self.push and not Path(address.path).is_dir():
            tell(f"warning: the cache {address} is no folder; going on without it")
            return None
        reader = Reader(
            place=open_place(address),
            store=store,
            line=line,
            trust=self._trust(signer),
            isolated=bool(os.environ.get(REQUIRE_ISOLATION)),
        )
        writer = None
        if self.push and signer is not None:
            writer = Writer(place=reader.place, store=store, signer=signer)
        return Cache(address=address, reader=reader, writer=writer, tell=tell)

    def _signer(self) -> "Signer | None":
        path = os.environ.get("GRAFTSMITH_CACHE_KEY")
        if path:
            from release.cache.signing import load_signer

            return load_signer(Path(path).expanduser())
        if self.push:
            raise UsageError(
                "--cache-push needs a key to sign with",
                why="Readers believe what a key that they trust has signed, and nothing else.",
                hint=f"make one with: {MAKE}; then set GRAFTSMITH_CACHE_KEY=FILE",
            )
        return None

    def _trust(self, signer: "Signer | None") -> "Trust":
        from release.cache.signing import Trust, load_trust

        text = self.trust or os.environ.get("GRAFTSMITH_CACHE_TRUST", "")
        own = {signer.name: signer.public} if signer else {}
        trusted = {**own, **(load_trust(text).keys if text else {})}
        if not trusted:
            raise UsageError(
                "a cache is named and nobody is trusted in it",
                why="Digests show that bytes are whole, not that they are the result of this step.",
                hint="add --cache-trust FILE with the builder's public key, or set GRAFTSMITH_CACHE_TRUST",
            )
        return Trust(trusted)
