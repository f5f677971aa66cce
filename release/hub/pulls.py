"""The pull request that stages a release in one repo: found by comparing, never by remembering.

It is ours when it is open, called ``Release v<version>`` (or made by the commit that our journal
notes), and holds exactly our files on top of the ``main`` of now. Exactly, since anybody may open or
change one: a card with other figures is not ours. One that is called so and holds anything else is
left alone, and named.
"""

from dataclasses import dataclass

from release.errors import PublishError
from release.hub.client import Client
from release.hub.pull_calls import Pull, PullCalls
from release.hub.wanted import Wanted, some


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulls:
    """The pull requests of a version in one repo."""

    client: Client
    wanted: Wanted

    @property
    def calls(self) -> PullCalls:
        """What can be asked of the repo's pull requests."""
        return PullCalls(self.client, self.wanted.name)

    @property
    def title(self) -> str:
        """What a pull request that stages this version is called."""
        return f"Release {self.wanted.tag}"

    def staged(self, main: str) -> Pull | None:
        """Return the open pull request that holds this release on top of ``main``; the first of several.

        Raises PublishError when one of this version holds something else, or is not on top of ``main``.
        """
        ours = self._called(status="open")
        right = [pull for pull in ours if self._differ(pull) == ()]
        for pull in right:
            if main in self.calls.history(pull.head):
                return pull
        if right:
            raise self._stopped(
                right[0],
                f"main moved since {self._name(right[0])} was opened",
                "Merged now, it would give a mixture of both.",
            )
        if ours:
            raise self._stopped(
                ours[0],
                f"{self._name(ours[0])} holds something else: {some(self._differ(ours[0]))}",
                "Somebody changed it, or it stages other content under this version. Nothing was merged.",
            )
        return None

    def merged(self) -> str | None:
        """Return the commit by which a pull request of this version was merged and holds the release."""
        merges = (self.calls.merged_at(pull.num) for pull in self._called(status="merged"))
        return next((commit for commit in merges if self.wanted.exactly_at(commit)), None)

    def _called(self, *, status: str) -> list[Pull]:
        ours = self.client.journal.proposed(self.wanted.name)
        return [
            pull
            for pull in self.calls.listed()
            if pull.status == status and (pull.title == self.title or pull.head == ours)
        ]

    def _differ(self, pull: Pull) -> tuple[str, ...]:
        return self.wanted.local.differences(self.client.files(self.wanted.name, pull.head))

    def _name(self, pull: Pull) -> str:
        return f"pull request #{pull.num} of {self.wanted.name}"

    def _stopped(self, pull: Pull, what: str, why: str) -> PublishError:
        where = f"{self.client.endpoint}/{self.wanted.name}/discussions/{pull.num}"
        version = self.wanted.version
        return PublishError(
            what,
            why=why,
            hint=f"look at {where}, close it, then: invoke release --version {version} --hub hf --stage",
        )
