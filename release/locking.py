"""``invoke lock``: resolve the recipe's names to digests, and say what changed.

What is on this machine is looked at. A Hub is asked for the sources that ``--update`` names,
and for no other: a lock that stands stays as it is until somebody says otherwise.
"""

from collections.abc import Callable
from dataclasses import replace

from release import lock as locks
from release import recipe as recipes
from release.errors import LockError, UsageError
from release.hub import listing
from release.line import Line, open_line, option

ALL = "all"


def lock_line(recipe: str, update: str, say: Callable[[str], None], *, diff: bool) -> None:
    """Lock a line, or with ``diff`` only say what would change.

    ``update`` names a source on a Hub that is asked for anew, or "all" of them.
    """
    line = open_line(recipe)
    line.sources.check()
    line = ask(line, update, say) if update else line
    new = line.resolve()
    try:
        lines = locks.difference(locks.load(line.recipe), new)
    except LockError:
        lines = locks.difference(locks.Lock(sources={}, images={}), new)
    say("\n".join(lines) or "the lock is in step")
    if lines and not diff:
        say(f"wrote {locks.write(line.recipe, new)}")
    for name, source in new.unresolved_sources.items():
        say(f"unresolved: {name} ({source}); type: invoke lock{option(line.recipe)} --update {name}")
    for name in new.unresolved_images:
        say(f"unresolved: image {name}; images/ does not describe it yet")


def ask(line: Line, update: str, say: Callable[[str], None]) -> Line:
    """Return the line with what the Hub says now of the sources that ``update`` names.

    Raises UsageError for a name that is no source on a Hub.
    """
    held = recipes.hub_sources(line.recipe)
    names = tuple(held) if update == ALL else (update,)
    if not held or not set(names) <= set(held):
        raise UsageError(
            f"recipe {line.recipe.name} takes no source {update!r} from a Hub",
            hint=f"those that it takes from one: {', '.join(held) or 'none'}; or all",
        )
    found = {}
    for name in names:
        found[name] = pinned = listing.ask(held[name])
        tree = pinned.tree
        say(f"{name}: {held[name].repo} at {pinned.commit}, {len(tree.files)} files, {tree.size:,} bytes")
    return replace(line, pinned={**line.pinned, **found})
