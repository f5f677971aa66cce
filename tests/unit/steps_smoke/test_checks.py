"""Functional checks against a server that does as it should, and verdicts where it does not."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.formats.serving.profile import Serve
from recipes.formats.step import StepError
from recipes.steps.smoke import checks, picture
from recipes.steps.smoke.checks import Asking
from recipes.steps.smoke.server import free_port, serving
from tests.unit.formats.serving.profiles import PROJECT, small

STUB = Path(__file__).with_name("stub.py")
ROWS = checks.parse((PROJECT / "recipes" / "tiny" / "checks.jsonl").read_text())


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    number = free_port()
    argv = [sys.executable, "-I", str(STUB), str(number), "well"]
    with serving(argv, os.environ, tmp_path_factory.mktemp("stub") / "log", number, 20.0):
        yield number


def asking(port: int, serve: Serve) -> Asking:
    return Asking(port=port, timeout_s=10.0, concurrency=4, pinned={"max_tokens": 64}, serve=serve)


def test_each_check_has_a_verdict_and_says_what_it_saw(port: int) -> None:
    serve = small(reasoning_parser="qwen3", tool_parser="qwen3_xml")
    found = {verdict.name: verdict for verdict in checks.run(asking(port, serve), ROWS)}
    assert set(found) == set(checks.CHECKS)
    assert {name: verdict.outcome for name, verdict in found.items() if verdict.outcome != "pass"} == {
        "image": "not measured"
    }
    assert found["stop-at-max-tokens"].found.startswith("8 of 8 end after exactly 10 tokens")
    assert "8 of 8 call a tool, 1 as expected" in found["tool-call-round-trip"].found
    (figure,) = checks.failures(list(found.values()))
    assert (figure.value, figure.n) == (0, 8)


def test_what_a_profile_leaves_out_is_not_measured_and_says_so(port: int) -> None:
    found = {verdict.name: verdict for verdict in checks.run(asking(port, small()), ROWS)}
    assert found["thinking-on-by-request"].found == "the profile has no reasoning parser"
    assert found["tool-call-round-trip"].outcome == "not measured"
    assert found["thinking-off-by-default"].outcome == "pass"
    assert found["thinking-on-by-marker"].found.startswith("8 of 8 think with <|think_on|>")


def test_a_server_that_is_gone_fails_each_check_with_the_reason() -> None:
    found = checks.run(asking(free_port(), small(language_model_only=False)), ROWS)
    failed = {verdict.name: verdict.found for verdict in found if verdict.outcome == "fail"}
    assert "image" in failed
    assert "did not answer" in failed["streaming"]


def test_without_checks_nothing_is_measured_and_no_figure_is_made() -> None:
    assert checks.failures(checks.unmeasured("the recipe names no checks")) == []


def test_a_row_that_is_none_is_refused_by_line() -> None:
    with pytest.raises(StepError, match=r"checks\.jsonl:1: expected kind, messages and expect"):
        checks.parse('{"kind": "think", "messages": []}')


def test_the_picture_is_a_png_of_the_size_it_says() -> None:
    data = picture.png()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == picture.SIDE
