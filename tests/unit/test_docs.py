"""The documentation is whole: every page is found from the index, and every link and command exists."""

import re
import shlex
from pathlib import Path

import pytest

import tasks

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)|(?:src|href)=\"([^\":]+)\"")
SHELL_WORDS = frozenset({"|", "&&", "||", ">", "<"})

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))


@by_page
def test_every_link_leads_to_a_file(page: Path) -> None:
    for found in LINK.findall(page.read_text()):
        target = found[0] or found[1]
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    linked = {(DOCS / found[0]).resolve() for found in LINK.findall(index)}
    assert {page for page in PAGES if DOCS in page.parents} - linked == {DOCS / "README.md"}


@by_page
def test_every_command_is_a_task_with_these_options(page: Path) -> None:
    for block in re.findall(r"^```(?:console)?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            found = re.match(
                r"(?:sudo )?(?:\S*/)?(?:uv run --locked )?invoke ([a-z][a-z.-]*)(.*)", line.strip()
            )
            if found is None:
                continue
            name, rest = found[1], re.split(r"\s{2,}|\s#", found[2])[0]
            assert name in tasks.namespace.task_names, f"{page.name}: {line}"
            known = {
                "--" + option.strip("_").replace("_", "-")
                for argument in tasks.namespace[name].get_arguments()
                for option in argument.names
            }
            options = {
                word.partition("=")[0]
                for word in shlex.split(rest.replace("[", " ").replace("]", " "))
                if word.startswith("--")
            }
            assert options <= known, f"{page.name}: {line}"


@by_page
def test_lines_are_as_wide_as_a_terminal(page: Path) -> None:
    if "reference" in page.parts:
        return
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for line in prose.splitlines():
        assert len(line) <= 112 or line.startswith("|"), f"{page.name}: {line}"
