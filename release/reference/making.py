"""``invoke docs``: write the pages that are made from code, or say whether they are current."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from invoke.tasks import Task

from release.errors import ConfigError
from release.reference.flow import flow
from release.reference.pages import Described, Option, pages

KINDS = {bool: "flag", str: "text", int: "number", float: "number"}


def described(name: str, task: Task[Callable[..., None]]) -> Described:
    """Return what there is to say of a task, from its own signature and docstring."""
    options = []
    for argument in task.get_arguments():
        value = argument.default
        options.append(
            Option(
                name=("no-" if value is True else "") + (argument.name or "").strip("_").replace("_", "-"),
                kind=KINDS[argument.kind],
                default=_default(value),
                words=argument.help or "",
                positional=argument.positional,
            )
        )
    return Described(name=name, words=inspect.getdoc(task) or "", options=options)


def made(tasks: Sequence[Described]) -> Mapping[str, str]:
    """Return every file that is made from code, by its path below docs."""
    return {**{f"reference/{name}": text for name, text in pages(tasks).items()}, "flow.svg": flow()}


def make(tasks: Sequence[Described], docs: Path, *, check: bool) -> None:
    """Write what is not current below ``docs``; with ``check`` raise ConfigError that names it."""
    old = {name: text for name, text in made(tasks).items() if _text(docs / name) != text}
    if check and old:
        raise ConfigError(f"not what the code says: {', '.join(old)}", hint="type: invoke docs")
    for name, text in old.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text, encoding="utf-8")
        print(f"wrote {docs / name}")  # noqa: T201 - a task's output
    if not old:
        print("every page is what the code says")  # noqa: T201


def _default(value: object) -> str:
    if value in ("", None) or isinstance(value, bool):
        return "-"
    text = str(value)
    return f"`{Path(text).name}`" if text.startswith("/") and "dist" in text else f"`{text}`"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
