"""``invoke lock --images``: what the tags of base images mean now, and what image.toml pins.

A tag that moved is another image: it is shown, and written only when the user says so.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from release.container import PINNED_BASE
from release.engines.daemon import Daemon, in_words
from release.errors import ConfigError, LockError
from release.images import IMAGE_FILE
from release.store import durable
from release.tables import Table, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The base of one variant: a tag, and the digest that it is pinned to ("" before the first lock)."""

    file: Path
    name: str
    tag: str
    digest: str

    @property
    def text(self) -> str:
        """How the file writes it."""
        return f"{self.tag}@{self.digest}" if self.digest else self.tag


def pinned(images: Path) -> tuple[Pinned, ...]:
    """Return the base of each variant below ``images``. Raises ConfigError."""
    return tuple(
        base for folder in sorted(images.iterdir()) if folder.is_dir() for base in _of(folder / IMAGE_FILE)
    )


def _of(file: Path) -> Iterator[Pinned]:
    image = read(file)
    name = image.take("name", str)
    for variant, table in image.take_tables("variants").items():
        held: Table = table.take_table("container", optional=True)
        base = held.take("base", str, "")
        if not base:
            continue
        tag, _, digest = base.partition("@")
        if ":" not in tag or (digest and not PINNED_BASE.fullmatch(base)):
            raise held.error("base", "name:tag or name:tag@sha256:digest", repr(base))
        yield Pinned(file=file, name=f"{name}/{variant}", tag=tag, digest=digest)


def resolve(bases: tuple[Pinned, ...], daemon: Daemon) -> Mapping[str, str]:
    """Ask each tag's registry what it means now: tag → digest of its index or manifest.

    Raises NetworkError, or BuildError when the registry has no such tag.
    """
    found = {}
    for tag in dict.fromkeys(base.tag for base in bases):
        with in_words(f"asking what {tag} means now"):
            found[tag] = str(daemon.client.images.get_registry_data(tag).id)
    return found


def moved(bases: tuple[Pinned, ...], now: Mapping[str, str]) -> tuple[Pinned, ...]:
    """Return the bases whose tag means another image than the pinned one (pure)."""
    return tuple(base for base in bases if now[base.tag] != base.digest)


def lines(changed: tuple[Pinned, ...], now: Mapping[str, str]) -> list[str]:
    """Say, one line each, what each tag meant and what it means now."""
    return [f"{base.name}: {base.tag}: {base.digest or 'not pinned'} → {now[base.tag]}" for base in changed]


def lock_images(
    images: Path, daemon: Daemon, say: Callable[[str], None], *, update: bool, diff: bool
) -> None:
    """Show which tags moved, and with ``update`` pin them anew.

    A base that was never pinned is pinned without being asked. Raises LockError when a
    pinned tag moved and neither ``update`` nor ``diff`` was said.
    """
    bases = pinned(images)
    now = resolve(bases, daemon)
    changed = moved(bases, now)
    for line in lines(changed, now) or ["the bases of all images are what their tags mean"]:
        say(line)
    if diff:
        return
    held = tuple(base for base in changed if base.digest)
    if held and not update:
        raise LockError(
            f"{len(held)} tags moved since they were pinned; nothing was written",
            why="Another base is another image: every step that measures in it runs again.",
            hint="if the change is wanted, type: invoke lock --images --update all",
        )
    for base in changed:
        _pin(base, now[base.tag])
        say(f"wrote {base.file}")


def _pin(base: Pinned, digest: str) -> None:
    text = base.file.read_text()
    old, new = f'"{base.text}"', f'"{base.tag}@{digest}"'
    if old not in text and new not in text:  # variants of one base are written at once
        raise ConfigError(f"{base.file}: expected the base written as {old}")
    durable.write(base.file, text.replace(old, new).encode())
