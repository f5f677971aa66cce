"""Who may do what: tokens and the namespaces that their owners write to.

``accounts.json`` below the server's root::

    {"hf_…": {"name": "graftsmith", "role": "write", "orgs": ["other"]}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.hub_server.wire import RefusedError, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The owner of a token."""

    name: str
    role: str
    orgs: tuple[str, ...] = ()

    def may_write(self, repo: str) -> bool:
        """Tell whether this token may change ``repo``."""
        return self.role == "write" and repo.split("/")[0] in (self.name, *self.orgs)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts by token."""

    by_token: Mapping[str, Account]

    @classmethod
    def load(cls, file: Path) -> "Accounts":
        """Read the accounts; there are none when there is no file."""
        found = json.loads(file.read_text()) if file.exists() else {}
        return cls(
            {
                token: Account(name=a["name"], role=a["role"], orgs=tuple(a.get("orgs", ())))
                for token, a in found.items()
            }
        )

    def asking(self, request: Request) -> Account | None:
        """Return who asks, or None. Raises RefusedError for a token that is not known."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not token:
            return None
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
