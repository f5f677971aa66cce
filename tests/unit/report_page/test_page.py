"""The page of a tiny release: everything is in it, nothing is loaded, and it is safe."""

import base64
import json
import re
from pathlib import Path

import pytest

from release.digest import Json
from release.errors import ConfigError
from release.hoststep import Input, Inputs
from release.report.page import DOMAINS_FILE, PAGE_FILE, POSITIONS_FILE, REPORT, SPEED_FILE
from tests.unit.browser import layout, needs_browser
from tests.unit.card.inputs import DIGEST, Case, shown, write

PARAMS: dict[str, Json] = {
    "title": "graftsmith/tiny-NVFP4-MTP",
    "version": "1.0.0",
    "provenance": {"lock": DIGEST, "source": {"base": DIGEST}, "machine": {"cpu": "<AMD> & co"}},
}


def timeline() -> str:
    rows = (
        {"at": at / 4, "phase": "serving", "available": 9e9 - at * 1e7, "rss": at * 1e7, "gpu": None}
        for at in range(100)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def with_timelines(case: Case, root: Path) -> Inputs:
    inputs = dict(case.write(root))
    for kind in ("nvfp4", "master"):
        write(root / f"smoke-{kind}" / "memory.jsonl", timeline())
        inputs[f"smoke-{kind}"] = shown(root / f"smoke-{kind}")
    return inputs


def page(root: Path, case: Case | None = None) -> str:
    return REPORT.function(with_timelines(case or Case(), root), PARAMS).new[PAGE_FILE].decode()


def test_gates_proofs_figures_bytes_and_provenance_are_on_it(tmp_path: Path) -> None:
    text = page(tmp_path)
    for words in (
        "smoke-nvfp4.acceptance_length is 2.65 tokens/draft",
        "5 of 5",
        "15 tensors equal",
        "lm_head",
        DIGEST,
        "&lt;AMD&gt; &amp; co",
        "at least 8.0 GB stayed available",
        "output tokens per second c1",
    ):
        assert words in text
    assert text.count("<svg") >= 3


def test_the_divergence_stands_as_a_table_and_two_plots_or_as_not_measured(tmp_path: Path) -> None:
    text = page(tmp_path / "with")
    part = text[text.index("<h2>Fidelity") : text.index("<h2>Speed")]
    assert "<td>0.0312</td>" in part and "<td>94.21%</td>" in part and "<td>+1.96%</td>" in part
    assert part.count("<svg") == 2 and "log2 of the tokens before" in part
    bare = page(tmp_path / "without", Case(fidelity=False))
    assert "not measured" in bare[bare.index("<h2>Fidelity") : bare.index("<h2>Speed")]


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert not re.search(r"(src|href)=(?!\"data:image/svg)|url\(|@import|<script", text)


def test_it_shows_the_ledger_as_prove_drew_it(tmp_path: Path) -> None:
    (held,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page(tmp_path))
    assert base64.b64decode(held) == (tmp_path / "prove/ledger.svg").read_bytes()


def test_the_plots_of_the_card_are_the_pages(tmp_path: Path) -> None:
    inputs = with_timelines(Case(), tmp_path)
    new = REPORT.function(inputs, PARAMS).new
    inner = new[SPEED_FILE].decode().partition("</style>")[2].partition("/>")[2].strip()
    assert inner in new[PAGE_FILE].decode()
    assert {name for name in new if name.endswith(".svg")} == {POSITIONS_FILE, DOMAINS_FILE, SPEED_FILE}


def test_what_was_not_measured_says_so(tmp_path: Path) -> None:
    text = page(tmp_path, Case(acceptance={"nvfp4": 2.65}))
    assert "not measured" in text
    assert 'class="word none">not measured' in text


def test_evidence_that_is_missing_is_named(tmp_path: Path) -> None:
    inputs = dict(Case().write(tmp_path))
    with pytest.raises(ConfigError, match=r"smoke-nvfp4/evidence\.json"):
        REPORT.function({**inputs, "smoke-nvfp4": Input(tmp_path, inputs["prove"].tree)}, PARAMS)


@pytest.mark.slow  # starts a browser
@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_lays_it_out_within_its_width(tmp_path: Path, width: int) -> None:
    taken, given = layout(page(tmp_path / "in"), width, tmp_path)
    assert taken <= given == width
