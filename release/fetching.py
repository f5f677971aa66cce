"""The sources of a release line: checked, and brought into the store.

A source lies beside the recipe or on a Hub; either way it has a tree of digests before its
first byte is read, and what a killed try brought in is kept.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.progress import Update
from release import recipe
from release.derivation import Source, Step
from release.digest import Tree
from release.errors import ConfigError
from release.hub import fetch
from release.lock import Pinned
from release.realize import Done, Listener
from release.recipe import Recipe
from release.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a release line is made of.

    ``here`` are the sources on this machine, ``pinned`` those on a Hub as they were locked.
    """

    recipe: Recipe
    here: Mapping[str, Tree]
    pinned: Mapping[str, Pinned]
    store: Store

    @property
    def trees(self) -> Mapping[str, Tree]:
        """The tree of each resolved source, on this machine or on a Hub."""
        return {**self.here, **{name: pinned.tree for name, pinned in self.pinned.items()}}

    def checkpoints(self) -> Mapping[str, Path]:
        """Return the folders of both source checkpoints; empty until both are on this machine."""
        found = {}
        for name in recipe.CHECKPOINTS:
            pinned = self.pinned.get(name)
            if name in self.here:
                found[name] = self._path(name)
            elif pinned is not None and self.store.tree(pinned.tree.digest) is not None:
                found[name] = self.store.folder(pinned.tree.digest, name)
        return found if len(found) == len(recipe.CHECKPOINTS) else {}

    def check(self) -> None:
        """Open both checkpoints: a shard that is missing, cut short or lies about itself ends here.

        Raises ConfigError that names the file. Only headers are read.
        """
        for name in recipe.CHECKPOINTS:
            if name not in self.here:
                continue  # a Hub's: it is checked by the digests that the Hub told, file by file
            path = self._path(name)
            try:
                open_checkpoint(path)
            except ValueError as error:
                raise ConfigError(
                    f"source {name} ({path}): {error}",
                    why="Nothing was built from it and nothing was changed.",
                    hint="fetch or save the checkpoint again, then lock it",
                ) from error

    def bring(self, wanted: Sequence[Source], listener: Listener) -> None:
        """Bring in those of ``wanted`` that the store lacks."""
        missing = [source for source in wanted if self.store.use_tree(source.digest) is None]
        if missing:
            self.check()
            self.store.need(sum(self.store.lacks(self.trees[source.name]) for source in missing))
        for source in missing:
            self._bring_one(source, listener)

    def _bring_one(self, source: Source, listener: Listener) -> None:
        step = Step(name=f"fetch-{source.name}", does="fetch")
        tree, held = self.trees[source.name], recipe.hub_sources(self.recipe).get(source.name)

        def waiting() -> None:
            listener.waiting(step, source.digest)

        listener.started(step, source.digest)
        began = time.monotonic()
        if held is None:
            read = _counted(step, "copying", tree.size, listener)
            self.store.ingest(self._path(source.name), tree, read, waiting=waiting)
        else:
            read = _counted(step, "downloading", tree.size, listener)
            fetch.bring(self.store, held.repo, self.pinned[source.name], read, waiting)
        seconds = round(time.monotonic() - began, 3)
        listener.finished(
            step,
            Done(
                key=source.digest,
                tree=source.digest,
                size=tree.size,
                seconds=seconds,
                built=True,
                isolation={},
            ),
        )

    def _path(self, name: str) -> Path:
        return recipe.source_path(self.recipe, self.recipe.sources[name])


def _counted(step: Step, at: str, total: int, listener: Listener) -> Callable[[int], None]:
    """Return what tells ``listener`` of each number of bytes that came."""
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        listener.progress(step, Update(at=at, done=done, total=total, unit="bytes"))

    return read
