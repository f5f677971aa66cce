"""``invoke promote``: a staged version becomes the released one. Nothing is built and nothing is sent.

What was staged is known from this store (``staged.py``), not from what stands on the Hub: a pull request
that somebody changed meanwhile is named, and nothing is merged.
"""

from pathlib import Path

from release import announcing, publishing, staged
from release import line as lines
from release.errors import UsageError
from release.hub.transaction import Way, publish
from release.report.terminal import Terminal


def promote_version(
    recipe: str, version: str, hub: Path | None, terminal: Terminal, *, yes: bool, namespace: str = ""
) -> None:
    """Merge what ``invoke release --stage`` left at both repos, and tag both.

    ``hub`` is a folder; None is the Hub of HF_ENDPOINT, which is written to once ``yes`` was said.
    Raises UsageError for a version that this store did not stage.
    """
    if hub is None:
        publishing.require_consent(yes=yes)
    line = lines.open_line(recipe, namespace=namespace)
    version = lines.parse_version(version)
    with line.store.running():
        release = staged.recall(line, version)
        if release is None:
            raise UsageError(
                f"{line.recipe.name} {version} was not staged from this store",
                why="What is promoted is compared with what was staged from here.",
                hint=f"stage it first: invoke release --version {version} --hub hf --stage",
            )
        outcome = publish(publishing.hub(hub, line.store.root, terminal, yes=yes), release, Way.PROMOTE)
    announcing.say_where(line.recipe, outcome, hub, terminal)
