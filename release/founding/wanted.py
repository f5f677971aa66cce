"""What a new release line is asked for, and what follows from the answers. Pure.

    wanted = decide("mine", {"base": "hub:Qwen/Qwen3.6-27B@main", ...})
    wanted.nvfp4                    # "mine-NVFP4-MTP"

An answer is what a flag of ``invoke init`` gave or what somebody typed; both are checked here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.precision import Precision, Storage, parse_precision
from release.errors import GraftsmithError, UsageError
from release.reponame import RepoName
from release.source import HUB, PATH, HubSource, parse_source

VARIANTS = ("gb10", "cpu")
NVFP4_SUFFIX = "-NVFP4-MTP"
MOST = 400
"""Characters of an answer: more is no name, no path and no line of a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing that only the owner of a line knows. Without ``default`` it must be answered."""

    key: str
    ask: str
    example: str
    default: str | None = None

    @property
    def flag(self) -> str:
        """The flag of ``invoke init`` that answers it."""
        return f"--{self.key.replace('_', '-')}"


QUESTIONS = (
    Question(
        key="base",
        ask="Where draft head and vision tower come from: a folder, or a repo on a Hub",
        example="hub:Qwen/Qwen3.6-27B@main",
    ),
    Question(
        key="master",
        ask="The post-trained BF16 model: a folder, or a repo on a Hub",
        example="hub:you/your-model@main",
    ),
    Question(key="namespace", ask="Whose repos the release goes to", example="your-name"),
    Question(
        key="base_repo", ask="The repo that the base comes from, for the card", example="Qwen/Qwen3.6-27B"
    ),
    Question(key="base_license", ask="The base's licence, as an SPDX expression", example="Apache-2.0"),
    Question(
        key="base_copyright",
        ask="Whose copyright the base's NOTICE names",
        example="© Alibaba Cloud, the Qwen team",
    ),
    Question(
        key="variant", ask="Which images build and serve it: gb10 or cpu", example="gb10", default="gb10"
    ),
    Question(
        key="linear_attention", ask="Linear attention in nvfp4 or bf16", example="bf16", default="nvfp4"
    ),
    Question(key="in_proj_ab", ask="Its small gates in nvfp4 or bf16", example="bf16", default=""),
    Question(
        key="activations", ask="Activations in nvfp4 (W4A4) or bf16 (W4A16)", example="bf16", default="nvfp4"
    ),
)
"""In the order in which they are asked. ``in_proj_ab`` follows linear attention where it is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a checkpoint is: a folder on this machine, or a repo on a Hub."""

    folder: Path | None
    hub: HubSource | None

    def written(self, home: Path) -> str:
        """Return the source as the recipe in ``home`` names it."""
        if self.folder is None:
            return str(self.hub)
        return f"{PATH}{os.path.relpath(self.folder, home)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A release line that somebody asked for, checked."""

    name: str
    base: Origin
    master: Origin
    namespace: str
    base_repo: str
    base_license: str
    base_copyright: str
    variant: str
    precision: Precision
    thinking: bool

    @property
    def nvfp4(self) -> str:
        """The name of the quantized repo."""
        return f"{self.name}{NVFP4_SUFFIX}"


def unanswered(answers: Mapping[str, str]) -> tuple[Question, ...]:
    """Return the questions that have to be answered and are not.

    A base on a Hub names its own repo.
    """
    named = answers.get("base", "").startswith(HUB)
    return tuple(
        question
        for question in QUESTIONS
        if question.default is None
        and not answers.get(question.key)
        and not (question.key == "base_repo" and named)
    )


def require_answers(name: str, answers: Mapping[str, str]) -> None:
    """Refuse to guess. Raises UsageError that names each flag that is missing, with an example."""
    missing = unanswered(answers)
    if missing:
        width = max(len(question.flag) for question in missing)
        lines = [f"  {question.flag:<{width}}  {question.ask}" for question in missing]
        typed = [f"{question.flag} '{question.example}'" for question in missing]
        raise UsageError(
            f"init {name} lacks what only you know:\n" + "\n".join(lines),
            why="Without a terminal nobody can be asked, and nothing here has a default that fits all.",
            hint=" \\\n      ".join([f"for example: invoke init {name}", *typed]),
        )


def require_name(name: str) -> None:
    """Refuse a name that cannot be a folder and two repos. Raises UsageError."""
    RepoName.parse(f"owner/{name}{NVFP4_SUFFIX}")
    RepoName.parse(f"owner/{name}")


def decide(name: str, answers: Mapping[str, str], *, thinking: bool = True) -> Wanted:
    """Return the line that was asked for. Raises UsageError naming the flag that cannot be."""
    require_name(name)
    require_answers(name, answers)
    said = {question.key: answers.get(question.key) or question.default or "" for question in QUESTIONS}
    for question in QUESTIONS:
        _require_plain(question, said[question.key])
    base = origin("base", said["base"])
    if said["variant"] not in VARIANTS:
        raise _wrong("variant", " or ".join(VARIANTS), said["variant"])
    repo = str(base.hub.repo) if base.hub else str(RepoName.parse(said["base_repo"]))
    if said["base_repo"] not in ("", repo):
        raise _wrong("base_repo", f"{repo}, as in --base", said["base_repo"])
    return Wanted(
        name=name,
        base=base,
        master=origin("master", said["master"]),
        namespace=RepoName.parse(f"{said['namespace']}/{name}").owner,
        base_repo=repo,
        base_license=said["base_license"],
        base_copyright=said["base_copyright"],
        variant=said["variant"],
        precision=_precision(said),
        thinking=thinking,
    )


def origin(key: str, text: str) -> Origin:
    """Return where a checkpoint is. A folder has to be there; a repo on a Hub is not asked for.

    Raises UsageError.
    """
    if text.startswith(HUB):
        named = text if "@" in text else f"{text}@main"
        try:
            found = parse_source(named)
        except (ValueError, GraftsmithError) as error:
            raise _wrong(key, "hub:OWNER/NAME or hub:OWNER/NAME@REVISION", text) from error
        assert isinstance(found, HubSource), "a source that begins with hub: is one"
        return Origin(folder=None, hub=found)
    folder = Path(text.removeprefix(PATH)).absolute()
    if not folder.is_dir():
        hint = f"a repo is written as hub:{text}@main" if text.count("/") == 1 else ""
        raise UsageError(f"--{key}: there is no folder {text!r}", hint=hint)
    return Origin(folder=folder, hub=None)


def _precision(said: Mapping[str, str]) -> Precision:
    options = {key: said[key] for key in ("linear_attention", "in_proj_ab", "activations")}
    # The gates are a part of linear attention: what is kept whole keeps them.
    kept = said["linear_attention"] == Storage.BF16
    options["in_proj_ab"] = options["in_proj_ab"] or (Storage.BF16 if kept else Storage.NVFP4)
    try:
        return parse_precision(options, "init")
    except ValueError as error:
        raise UsageError(str(error)) from error


def _require_plain(question: Question, text: str) -> None:
    if not text.isprintable() or len(text) > MOST:
        raise _wrong(question.key, f"one line of printable text, at most {MOST} characters", text[:40])


def _wrong(key: str, expected: str, got: str) -> UsageError:
    return UsageError(f"--{key.replace('_', '-')}: expected {expected}, got {got!r}")
