"""Who asks, and what they may do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The owner of a token."""

    name: str
    role: str
    orgs: tuple[str, ...] = ()
    only: str = ""
    """The one repo that a trusted publisher's token is good for."""

    def may_write(self, repo: str) -> bool:
        """Tell whether this token may change ``repo``."""
        if self.only:
            return repo == self.only
        return self.role == "write" and repo.split("/")[0] in (self.name, *self.orgs)
