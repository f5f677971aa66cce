"""The reference is what the code says: pages, pictures, the words of options and keys."""

import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks
from recipes.steps.smoke import figures
from recipes.steps.smoke.checks import FAIL, Verdict, failures
from recipes.steps.smoke.drive import Drafts, Reply
from recipes.steps.smoke.metrics import Drafting
from release.errors import ConfigError
from release.reference import options, pages
from release.reference.making import described, made, make

PROJECT = Path(__file__).resolve().parents[3]
DOCS = PROJECT / "docs"
DESCRIBED = [described(name, tasks.namespace[name]) for name in tasks.namespace.task_names]
CURRENT = made(DESCRIBED)


@pytest.mark.parametrize("name", sorted(CURRENT))
def test_what_is_made_from_code_is_current(name: str) -> None:
    assert (DOCS / name).read_text() == CURRENT[name], "type: invoke docs"


def test_a_page_that_is_not_current_is_named_and_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reference/recipe\.md"):
        make(DESCRIBED, tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
    make(DESCRIBED, tmp_path, check=False)
    make(DESCRIBED, tmp_path, check=True)


def test_every_option_of_every_task_has_words() -> None:
    silent = [f"{task.name}: {one.name}" for task in DESCRIBED for one in task.options if not one.words]
    assert silent == [], f"say what they mean in {options.FILE}"


def test_a_word_that_no_task_has_any_more_is_taken_away() -> None:
    named = {one.name.removeprefix("no-").replace("-", "_") for task in DESCRIBED for one in task.options}
    words = {name.rpartition(".")[2].rstrip("_") for name in tomllib.loads(options.FILE.read_text())}
    assert words <= named


def test_no_option_has_a_letter_that_another_option_could_take_from_it() -> None:
    for name in tasks.namespace.task_names:
        for argument in tasks.namespace[name].get_arguments():
            assert all(len(one) > 1 or one == argument.name for one in argument.names)


def test_a_key_without_words_and_words_without_a_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "recipe_keys", lambda _: {})
    with pytest.raises(ConfigError, match=r"quantize\.exporter"):
        pages.pages([])


def measured() -> Iterator[tuple[str, str]]:
    """Yield name and unit of what a smoke measures, from the code that does."""
    drafting = Drafting(drafts=4, draft_tokens=8, accepted=6, accepted_at=(4, 2))
    reply = Reply(
        id="a",
        domain="code",
        text="",
        finish_reason="stop",
        prompt_tokens=1,
        reasoning="",
        completion_tokens=11,
        drafts=Drafts(drafts=4, draft_tokens=8, accepted=6),
    )
    found = [
        *figures.acceptance(drafting, [reply]),
        *figures.acceptance_by_domain([reply]),
        figures.stop_rate([reply]),
        figures.ready(1.0),
        *failures([Verdict(name="x", outcome=FAIL, found="", n=1)]),
    ]
    for one in found:
        yield one.name, one.unit
    source = (PROJECT / "recipes/steps/smoke/throughput.py").read_text()
    for name, unit in re.findall(r'\("(\w+)", "\w+", "([\w/]+)"\)', source):
        yield f"{name}_c16", unit


def test_the_figures_are_those_that_are_measured() -> None:
    told = tomllib.loads((pages.HERE / "figures.toml").read_text())["smoke"]
    forms = {
        re.escape(name).replace("<n>", r"\d+").replace("<i>", r"\d+").replace("<domain>", r"\w+"): name
        for name in told
    }
    seen = set()
    for name, unit in measured():
        (form,) = [form for pattern, form in forms.items() if re.fullmatch(pattern, name)]
        assert told[form]["unit"] == unit
        seen.add(form)
    assert seen == set(told)


def test_the_picture_has_every_step_once_and_nothing_that_runs() -> None:
    root = ET.fromstring(CURRENT["flow.svg"])  # noqa: S314 - our own text
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for step in ("base", "calibrate", "graft-master", "smoke-nvfp4", "gate", "report", "publish"):
        assert texts.count(step) == 1
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "rect", "path", "text"}


def test_no_two_steps_of_the_picture_stand_in_one_place() -> None:
    root = ET.fromstring(CURRENT["flow.svg"])  # noqa: S314 - our own text
    boxes = [(box.get("x"), box.get("y")) for box in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(boxes) == len(set(boxes))
