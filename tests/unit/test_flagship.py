"""The flagship line before anything of it was built: its recipe, its plan, its draft cards."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from release import line as lines
from release import lock as locks
from release import recipe as recipes
from release.card import licences
from release.card.facts import parse_facts
from release.drafting import draft_cards
from release.errors import ConfigError, UsageError

PROJECT = Path(__file__).resolve().parents[2]
NAME = "qwen3.6-27b-vlm-cascade"
FLAGSHIP = PROJECT / "recipes" / NAME
GOLDEN = Path(__file__).parent / "golden"
REVISION = "6a9e13bd6fc8f0983b9b99948120bc37f49c13e9"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give this test a store of its own, with nothing in it."""
    monkeypatch.setenv("GRAFTSMITH_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def _invoke(store: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(Path(sys.executable).with_name("invoke")), *arguments],
        cwd=PROJECT,
        env={**os.environ, "GRAFTSMITH_STORE": str(store)},
        capture_output=True,
        text=True,
        check=False,
    )


def _copy(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = (FLAGSHIP / "recipe.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "recipe.toml").write_text(text)
    return folder


def test_the_plan_is_whole_and_a_release_is_refused(store: Path) -> None:
    plan = _invoke(store, "release", "--recipe", NAME, "--version", "1.0.0", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    for step in ("calibrate", "quantize", "graft-nvfp4", "prove", "smoke-master", "gate", "assemble-master"):
        assert f"\n{step} " in plan.stdout
    assert f"source base: hub:Qwen/Qwen3.6-27B@{REVISION}" in plan.stdout
    refused = _invoke(store, "release", "--recipe", NAME, "--version", "1.0.0")
    assert refused.returncode == 4
    assert f"invoke lock --recipe {NAME} --update base" in refused.stderr


@pytest.mark.parametrize("name", ["qwen3.6-27b-vlm-cascade", "tiny"])
def test_the_committed_lock_reads(name: str) -> None:
    recipe = recipes.load(PROJECT / "recipes" / name)
    assert set(locks.load(recipe).sources) == set(recipe.sources)


@pytest.mark.parametrize("name", ["nvfp4.README.md", "master.README.md", "nvfp4.NOTICE"])
def test_the_golden_draft(name: str, store: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kind, _, file = name.partition(".")
    text = (draft_cards(NAME, "1.0.0", tmp_path)[kind] / file).read_text()
    # A digest changes with every file of a source, and says nothing about the words.
    text = re.sub(r"`[0-9a-f]{64}`", "`<digest>`", text)
    golden = GOLDEN / f"flagship.{name}"
    if request.config.getoption("--renew-golden"):
        golden.write_text(text)
    assert text == golden.read_text(), "renew with --renew-golden, and read the diff"


OWED = {
    "master": (
        "## Start here to quantize again",
        "| Base | [Qwen/Qwen3.6-27B](https://huggingface.co/Qwen/Qwen3.6-27B) at",
        "the teacher of a distillation",
    ),
    "nvfp4": (
        "## Quantization: the BF16-head invariant",
        "### How it was made",
        "## Reasoning modes",
        "**off by default**",
        "**Handoff**",
        "**Never greedy**",
        "thinking_token_budget",
        "`--enable-strict-thinking`",
        "ENABLE_VISION=1",
        "`message.reasoning`",
        "`message.reasoning_content`",
        "--tool-call-parser qwen3_xml",
        "--linear-backend cutlass",
        "**Watchdog.**",
        "a GB10 is specified at about 273 GB/s",
        "**Acceptance length** is 1 + accepted / drafts",
        "Not measured: no benchmark was run",
        "## Intended use",
        "can wear visual grounding",
        "*Not binding:*",
        "arxiv:2603.19220",
        "DeepSeek-R1 (teacher of the traces)",
        "not affiliated with or endorsed by",
        "The maker states, and nothing in the files can prove:",
        "20 chats written for this line",
        "lna-lab",
        "qwen-cascade pipeline",
        "base_model_relation: quantized",
        "image-text-to-text",
    ),
}
"""What the reference card says, by the words in which ours says it."""


@pytest.mark.parametrize(
    ("kind", "words"), [(kind, words) for kind, listed in OWED.items() for words in listed]
)
def test_what_the_reference_card_says_has_its_place(kind: str, words: str) -> None:
    assert words in (GOLDEN / f"flagship.{kind}.README.md").read_text()


@pytest.mark.parametrize(
    "words", ["lossless", "identical outputs", "NVFP4_GEMM_BACKEND", "trust-remote-code"]
)
def test_what_facts_have_refuted_is_not_said(words: str) -> None:
    assert all(words not in path.read_text() for path in GOLDEN.glob("flagship.*"))


def test_a_draft_states_no_figure_of_a_measurement(store: Path, tmp_path: Path) -> None:
    text = (draft_cards(NAME, "1.0.0", tmp_path)["nvfp4"] / "README.md").read_text()
    assert "**Draft.**" in text
    performance = text.partition("| Measurement |")[2].partition("## Evaluation")[0]
    assert "| all | - | not measured | not measured |" in performance
    assert "proved byte for byte" not in text


def test_the_licences_of_the_whole_lineage_pass_the_policy() -> None:
    facts = parse_facts(recipes.load(FLAGSHIP).card)
    items = licences.closure(facts)
    licences.check(items, licences.read_policy(PROJECT / "recipes" / "templates"))
    assert any(
        item.path.endswith("dataset open-r1/OpenR1-Math-220k → source DeepSeek-R1 (teacher of the traces)")
        for item in items
    )


def test_nobody_is_the_default_to_push_to() -> None:
    recipe = recipes.load(FLAGSHIP)
    assert not recipe.repos.named
    with pytest.raises(ConfigError, match=r"repos\.namespace"):
        recipes.require_named(recipe)


def test_whose_repos_they_are_is_an_option() -> None:
    recipe = recipes.load(FLAGSHIP, "somebody")
    recipes.require_named(recipe)
    assert recipe.repos.nvfp4 == "somebody/Qwen3.6-27B-VLM-Cascade-NVFP4-MTP"
    with pytest.raises(UsageError, match="is not a repo name"):
        recipes.load(FLAGSHIP, "../somebody")


def test_an_option_wins_over_the_recipe_in_all_that_a_release_says() -> None:
    line = lines.open_line("tiny", namespace="somebody")
    steps = {step.name: step for step in line.steps_of(line.resolve(), "1.0.0").steps}
    for name in ("card-nvfp4", "assemble-master", "sbom-nvfp4"):
        assert str(steps[name].params["repo"]).startswith("somebody/tiny-cascade")


def test_the_gates_are_those_that_the_protocol_asks_for() -> None:
    gates = {gate["name"]: gate for gate in recipes.load(FLAGSHIP).gates}
    assert gates["single-stream"]["at_least"] == 15.2
    assert gates["single-stream-vs-roofline"]["at_least"] == 0.6
    assert gates["64-way"]["at_least"] == 380.0
    assert {gates[name]["k"] for name in ("acceptance-length", "first-position", "second-position")} == {2}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("temperature = 0.7", "temperature = 0.0", "sampling.temperature: expected above 0"),
        ("top_k = 20", "top_k = 1", "sampling.top_k: .* one candidate is greedy"),
        ("top_p = 0.95", "top_p = 0.0", "sampling.top_p: expected above 0"),
        ("repetition_penalty = 1.1", "repetition_penalty = 9.0", "repetition_penalty: expected between"),
        ('repo = "Qwen/Qwen3.6-27B"', 'repo = "Qwen/Qwen3-8B"', "card.base.repo: expected Qwen/Qwen3.6-27B"),
        (f'revision = "{REVISION}"', 'revision = "main"', f"card.base.revision: expected {REVISION}"),
    ],
)
def test_a_recipe_that_would_mislead_is_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        recipes.load(_copy(tmp_path, (old, new)))


def test_the_battery_asks_what_the_gates_need() -> None:
    import json

    rows = [json.loads(line) for line in (FLAGSHIP / "prompts.jsonl").read_text().splitlines()]
    domains = {row["domain"] for row in rows}
    assert {"code", "math", "prose", "other_language", "tool_call", "long_context"} <= domains
    assert all(sum(row["domain"] == domain for row in rows) == 20 for domain in domains)
    asked = {json.dumps(row["messages"]) for row in rows}
    calibrated = [json.loads(line) for line in (FLAGSHIP / "calibration.jsonl").read_text().splitlines()]
    assert len(calibrated) == recipes.load(FLAGSHIP).calibrate["samples"]
    assert asked.isdisjoint(json.dumps(row["messages"]) for row in calibrated)
