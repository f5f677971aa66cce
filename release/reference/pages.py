"""The pages of docs/reference, from the code that they describe. Pure but for reading that code.

pages(tasks)["tasks.md"]        # text
"""

import inspect
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release import errors
from release.errors import ConfigError
from release.reference.listening import Key, recipe_keys

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent.parent / "recipes"
READ = ("qwen3.6-27b-vlm-cascade", "tiny")
MADE = "<!-- Made by `invoke docs` from the code; a test holds it against it. -->\n"

RECIPE = """\
One folder below `recipes/` is a release line; `invoke init NAME` begins one. A key that nobody reads is
refused, and so is a value of another kind. Lists of tables are written `[[like.this]]`.
"""
OPEN_TABLES = """\
`[smoke.drives]` says what the server is driven with: `acceptance_concurrency`, and for each load of
`throughput` its `concurrency`, `requests` and `tokens`. `[serve]` is what both trees share,
`[serve.nvfp4]` and `[serve.master]` what is their own. `[card.changes]` has a sentence for each version,
`[card.serve_env]` the variables that the card names.
"""
EVIDENCE = """\
`evidence.json` of a step holds **measurements** (`name`, `value`, `unit`, `n`, `how`), **proofs** (`name`,
`holds`, `compared`, `found`) and **facts**, which are counted or read. A release carries it in `evidence/`,
and a card states no other figure. What each proof compares: [proofs.md](../proofs.md).
"""
CODES = """\
A message says what happened, why it matters and what to type next; `invoke --debug …` shows the stack.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a task. ``kind`` is "flag", "text" or "number"; positional ones have no default."""

    name: str
    kind: str
    default: str
    words: str
    positional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A task: what it does, an example of it, and its options."""

    name: str
    words: str
    options: Sequence[Option]


def pages(tasks: Sequence[Described]) -> Mapping[str, str]:
    """Return the text of each page by its file name."""
    return {
        "tasks.md": _page(_tasks(tasks)),
        "recipe.md": _page(_recipe()),
        "evidence.md": _page(_evidence()),
        "exit-codes.md": _page(_codes()),
    }


def _page(lines: Iterator[str]) -> str:
    return MADE + "\n".join(lines).rstrip() + "\n"


def _tasks(tasks: Sequence[Described]) -> Iterator[str]:
    yield "# Tasks\n"
    yield "`invoke --list` names them, `invoke --help TASK` prints what stands here.\n"
    for task in tasks:
        yield f"## `invoke {task.name}`\n"
        for paragraph in task.words.split("\n\n"):
            yield f"{_example(paragraph)}\n"
        if task.options:
            yield "| option | default | |"
            yield "|---|---|---|"
            for one in task.options:
                yield f"| `{_written(one)}` | {one.default} | {_cell(one.words)} |"
            yield ""


def _example(paragraph: str) -> str:
    text = " ".join(line.strip() for line in paragraph.splitlines())
    if text.startswith("Example: "):
        return f"```console\n{text.removeprefix('Example: ')}\n```"
    return _cell(text)


def _written(option: Option) -> str:
    if option.positional:
        return option.name.upper()
    return f"--{option.name}" + ("" if option.kind == "flag" else f" {option.kind.upper()}")


def _recipe() -> Iterator[str]:
    yield "# recipe.toml\n"
    yield RECIPE
    keys = recipe_keys([RECIPES / name for name in READ])
    said = _words("keys.toml")
    _require(keys, said)
    for place, words in said.items():
        yield f"## {_heading(place)}\n"
        yield "| key | kind | default | |"
        yield "|---|---|---|---|"
        for name, text in words.items():
            key = keys[f"{place}.{name}" if place else name]
            yield f"| `{name}` | {key.kind} | {_default(key)} | {_cell(text)} |"
        yield ""
    yield OPEN_TABLES


def _heading(place: str) -> str:
    if not place:
        return "At the top"
    return f"`[[{place.replace('[]', '')}]]`" if place.endswith("[]") else f"`[{place}]`"


def _default(key: Key) -> str:
    if key.default is None:
        return "has to be there"
    return f"`{key.default}`" if key.default else "-"


def _require(keys: Mapping[str, Key], said: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse words of a key that nobody reads, and a key without words."""
    named = {f"{place}.{name}" if place else name for place, words in said.items() for name in words}
    if odd := sorted(named ^ set(keys)):
        raise ConfigError(
            f"release/reference/keys.toml: expected words for the keys that are read, got: {', '.join(odd)}",
            hint="add what the key means, or take away the words of one that is gone",
        )


def _evidence() -> Iterator[str]:
    yield "# Evidence\n"
    yield EVIDENCE
    for step, figures in tomllib.loads((HERE / "figures.toml").read_text(encoding="utf-8")).items():
        yield f"## Figures of `{step}`\n"
        yield "| name | unit | |"
        yield "|---|---|---|"
        for name, figure in figures.items():
            yield f"| `{name}` | {figure['unit']} | {_cell(figure['means'])} |"
        yield ""


def _codes() -> Iterator[str]:
    yield "# Exit codes\n"
    yield CODES
    yield "| code | error | |"
    yield "|---|---|---|"
    yield "| 0 | - | done, or nothing to do |"
    yield "| 1 | - | an internal error: please report it |"
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    ours = [each for each in classes if issubclass(each, errors.GraftsmithError) and each.code != 1]
    for each in sorted(ours, key=lambda one: one.code):
        yield f"| {each.code} | {each.__name__} | {_cell((each.__doc__ or '').splitlines()[0])} |"


def _words(name: str) -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads((HERE / name).read_text(encoding="utf-8"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
