"""Who may do what: tokens and the namespaces that their owners write to.

``accounts.json`` below the server's root::

    {"hf_…": {"name": "graftsmith", "role": "write", "orgs": ["other"]}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.hub_server.account import Account
from tests.hub_server.publishers import PREFIX, Publishers
from tests.hub_server.wire import RefusedError, Request


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts by token; ``publishers`` knows the tokens behind which no account stands."""

    by_token: Mapping[str, Account]
    publishers: Publishers

    @classmethod
    def load(cls, file: Path, publishers: Publishers) -> "Accounts":
        """Read the accounts; there are none when there is no file."""
        found = json.loads(file.read_text()) if file.exists() else {}
        return cls(
            {
                token: Account(name=a["name"], role=a["role"], orgs=tuple(a.get("orgs", ())))
                for token, a in found.items()
            },
            publishers,
        )

    def asking(self, request: Request) -> Account | None:
        """Return who asks, or None. Raises RefusedError for a token that is not known."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not token:
            return None
        if token.startswith(PREFIX):
            return self.publishers.account(token)
        try:
            return self.by_token[token]
        except KeyError:
            raise RefusedError(401, "Invalid credentials in Authorization header") from None

    def known(self, request: Request) -> Account:
        """Return who asks. Raises RefusedError when nobody says who they are."""
        account = self.asking(request)
        if account is None:
            raise RefusedError(401, "Invalid username or password.")
        return account
