"""A repo whose release is one commit on ``main``."""

from dataclasses import dataclass

from release.hub.client import StaleParentError
from release.hub.remote_repo import SendingRepo


@dataclass(slots=True, kw_only=True)
class DirectRepo(SendingRepo):
    """One repo of a release that is published at once."""

    def commit(self) -> None:
        """Make one commit on the ``main`` that was seen, or find it made."""
        if self.made is not None:
            return
        try:
            self.made = self.client.commit(
                self.name,
                self.additions,
                self.wanted.local.strays(self.before),
                f"Release {self.wanted.tag}",
                parent=self.head,
                landed=self._landed,
            )
        except StaleParentError:
            self.made = self._landed()
            if self.made is None:
                raise self.wanted.moved() from None

    def _landed(self) -> str | None:
        """Return the commit of this release at ``main``; None when ``main`` is where it was.

        Raises PublishError or ConflictError when somebody else moved it.
        """
        head, _ = self.client.refs(self.name)
        if head == self.head:
            return None
        if self.wanted.is_release(head, self.client.files(self.name, head)):
            return head
        raise self.wanted.moved()
