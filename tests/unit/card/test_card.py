"""Whole cards: the golden text of both kinds, and every claim that a card refuses to make."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from release.card.context import scheme
from release.card.figures import Figure, How, Row, hows, words
from release.card.step import CARD as STEP
from release.digest import Json, sha256_bytes
from release.errors import ConfigError, GateError, GraftsmithError, ProofError
from tests.unit.card.inputs import CALIBRATION, TEMPLATES, Case, params, shown

GOLDEN = Path(__file__).parent / "golden"
KINDS = ("nvfp4", "master")


def _render(root: Path, kind: str, case: Case, **changes: Json) -> dict[str, str]:
    inputs = case.write(root)
    new = STEP.function(inputs, {**params(kind), **changes}).new
    return {name: data.decode() for name, data in new.items()}


def _metadata(text: str) -> dict[str, Json]:
    data: dict[str, Json] = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    return data


def _with(kind: str, **changes: Json) -> Json:
    card = params(kind)["card"]
    assert isinstance(card, dict)
    return {**card, **changes}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["README.md", "NOTICE"])
def test_the_golden_text(kind: str, name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = _render(tmp_path, kind, Case())[name]
    golden = GOLDEN / f"{kind}.{name}"
    if request.config.getoption("--renew-golden"):
        golden.write_text(text)
    assert text == golden.read_text(), "renew with --renew-golden, and raise the revision of CARD"


def test_the_output_changes_only_with_the_revision(request: pytest.FixtureRequest) -> None:
    names = sorted(path.name for path in GOLDEN.iterdir() if path.name != "revision.txt")
    outputs = sha256_bytes(b"".join((GOLDEN / name).read_bytes() for name in names))
    pinned = GOLDEN / "revision.txt"
    if request.config.getoption("--renew-golden"):
        pinned.write_text(f"{STEP.revision} {outputs}\n")
    assert pinned.read_text() == f"{STEP.revision} {outputs}\n", "raise the revision of CARD"


def test_the_licence_is_the_whole_text(tmp_path: Path) -> None:
    text = _render(tmp_path, "nvfp4", Case())["LICENSE"]
    assert "Version 2.0, January 2004" in text
    assert text.rstrip().endswith("limitations under the License.")


@pytest.mark.parametrize(
    ("kind", "base", "relation"),
    [("nvfp4", "graftsmith/tiny", "quantized"), ("master", "graftsmith/tiny-base", "finetune")],
)
def test_the_hub_can_draw_the_model_tree(kind: str, base: str, relation: str, tmp_path: Path) -> None:
    data = _metadata(_render(tmp_path, kind, Case())["README.md"])
    assert (data["base_model"], data["base_model_relation"]) == (base, relation)
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "image-text-to-text")
    assert data["license"] == "apache-2.0"


def test_hub_datasets_stand_in_the_metadata(tmp_path: Path) -> None:
    rows: Json = [
        {
            "stage": "SFT",
            "name": "open-thoughts/OpenThoughts-114k",
            "url": "https://huggingface.co/datasets/open-thoughts/OpenThoughts-114k",
            "license": "Apache-2.0",
        },
        {"stage": "MOPD", "name": "the model's own frozen checkpoint", "license": "own"},
    ]
    text = _render(tmp_path, "master", Case(), card=_with("master", datasets=rows))["README.md"]
    assert _metadata(text)["datasets"] == ["open-thoughts/OpenThoughts-114k"]
    assert "none: the model's own outputs" in text


def test_a_build_of_weights_alone_says_that_nothing_was_calibrated(tmp_path: Path) -> None:
    case = Case(calibration=replace(CALIBRATION, ranges=()))
    text = _render(tmp_path, "nvfp4", case)["README.md"]
    assert "1. Nothing was calibrated: only weights are quantized (W4A16)" in text
    assert "follow from the master alone" in text


def test_nothing_is_said_that_facts_have_refuted(tmp_path: Path) -> None:
    for kind in KINDS:
        text = _render(tmp_path / kind, kind, Case())["README.md"]
        for word in ("lossless", "trust-remote-code", "*model.visual*", "GB10", "NVFP4_GEMM_BACKEND"):
            assert word not in text


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        (Case(proofs={"mtp-verbatim-nvfp4": False}), ProofError, "mtp-verbatim-nvfp4: 3 differ"),
        (Case(proofs={"vision-verbatim-nvfp4": True}), ProofError, "mtp-verbatim-nvfp4.*was not made"),
        (Case(proofs={"mtp-verbatim-nvfp4": True}), ProofError, "vision-verbatim-nvfp4.*was not made"),
        (Case(lm_head="U8"), ProofError, "lm_head is not all BF16"),
        (Case(acceptance={"nvfp4": 2.3, "master": 2.6}), GateError, "wanted at least 2.5"),
        (Case(acceptance={"nvfp4": 2.6}, gates=[]), GateError, "smoke-master.acceptance_length"),
    ],
)
def test_a_claim_without_evidence_is_not_rendered(
    case: Case, error: type[GraftsmithError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        _render(tmp_path, "nvfp4", case)


def test_the_card_says_which_lineage_was_proved(tmp_path: Path) -> None:
    whole = _render(tmp_path / "whole", "master", Case())["README.md"]
    assert "every tensor of the base; 44 tensors equal, 12 changed, 15 in the base alone |" in whole
    case = Case()
    case.lineage = {"compared": "the base's draft head and vision tower alone", "classes": {}}
    assert "tower alone; 0 tensors equal" in _render(tmp_path / "part", "master", case)["README.md"]
    case.lineage = None
    assert "Master and base" not in _render(tmp_path / "none", "master", case)["README.md"]
    case.lineage = {"compared": "x", "classes": {"mlp": {"equal": "many"}}}
    with pytest.raises(ConfigError, match=r"facts\.lineage"):
        _render(tmp_path / "bad", "master", case)


def test_a_re_aligned_head_is_said_to_be_one_only_when_its_bytes_differ(tmp_path: Path) -> None:
    case = Case()
    card = _with("nvfp4", draft_head="realigned")
    with pytest.raises(ProofError, match="mtp-verbatim-nvfp4 disagree: the proof holds"):
        _render(tmp_path / "same", "nvfp4", case, card=card)
    case.proofs["mtp-verbatim-nvfp4"] = False
    text = _render(tmp_path / "other", "nvfp4", case, card=card)["README.md"]
    assert "re-aligned to the post-trained body" in text
    assert "verbatim from the base" not in text


def test_figures_without_their_machine_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="machine is missing"):
        _render(tmp_path, "nvfp4", Case(), machine={})


def test_a_draft_says_what_is_missing(tmp_path: Path) -> None:
    case = Case(acceptance={"nvfp4": 2.65}, proofs={"mtp-verbatim-nvfp4": False})
    text = _render(tmp_path, "nvfp4", case, draft=True, machine={})["README.md"]
    assert "**Draft.**" in text
    assert "| 2.65 (n=36) | not measured |" in text
    assert "origin not proved" in text
    assert "| `mtp-verbatim-nvfp4` | **no** | 3 differ |" in text
    assert "proved byte for byte" not in text


def test_a_template_with_a_gap_names_the_variable(tmp_path: Path) -> None:
    templates = shutil.copytree(TEMPLATES, tmp_path / "templates")
    (templates / "README.nvfp4.md.jinja").write_text("{{ context.facts.subtitle }}")
    inputs = {**Case().write(tmp_path), "templates": shown(templates)}
    with pytest.raises(ConfigError, match=r"README\.nvfp4\.md\.jinja: .* has no attribute 'subtitle'"):
        STEP.function(inputs, params("nvfp4"))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("title", "Tiny\n# Free", "facts.title: a line break"),
        ("summary", "a `b", "facts.summary: a backtick"),
        ("post_training", "a | b", "facts.post_training: a pipe"),
        ("hardware", "<script>", "facts.hardware: HTML"),
        ("author", "", "facts.author: nothing"),
        ("limits", ["fine", "not\tfine"], r"facts.limits\[1\]: a control character"),
    ],
)
def test_a_value_that_would_break_the_card_is_named(
    field: str, value: Json, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        _render(tmp_path, "nvfp4", Case(), card=_with("nvfp4", **{field: value}))


def test_words_of_a_step_are_escaped_instead(tmp_path: Path) -> None:
    text = _render(tmp_path, "nvfp4", Case(how="a | b `c` <d>\n*e*"))["README.md"]
    assert r": a \| b \`c\` \<d> \*e\*." in text


def test_the_card_of_a_hub_links_and_the_card_of_a_folder_does_not(tmp_path: Path) -> None:
    linked = _render(tmp_path / "hub", "nvfp4", Case(), card=_with("nvfp4", hub="https://huggingface.co"))
    assert (
        "[`graftsmith/tiny@v1.0.0`](https://huggingface.co/graftsmith/tiny/tree/v1.0.0)"
        in linked["README.md"]
    )
    assert "vllm serve graftsmith/tiny-NVFP4-MTP --revision v1.0.0" in linked["README.md"]
    assert "https://" not in _render(tmp_path / "folder", "nvfp4", Case())["README.md"]


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"draft_head": "new"}, "card.draft_head: expected base or realigned"),
        (
            {"datasets": [{"stage": "SFT", "name": "x/y", "license": "CC-BY-NC-4.0"}]},
            "forbids commercial use",
        ),
        ({"hub": "huggingface.co"}, "card.hub: expected https://"),
        ({"languages": ["English"]}, "card.languages: expected an ISO 639 code"),
        ({"tags": ["two words"]}, "card.tags: expected one word"),
        ({"license": "MIT"}, "card.license: expected Apache-2.0"),
        ({"sumary": "x"}, "card.sumary"),
    ],
)
def test_a_recipe_that_may_not_be_published_says_why(
    card: dict[str, Json], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        _render(tmp_path, "nvfp4", Case(), card=_with("nvfp4", **card))


def test_each_card_serves_as_its_tree_was_measured(tmp_path: Path) -> None:
    nvfp4 = _render(tmp_path / "nvfp4", "nvfp4", Case(extra_flags=["--linear-backend=cutlass"]))["README.md"]
    assert "  --quantization modelopt_fp4 \\\n" in nvfp4
    assert "  --linear-backend cutlass\n" in nvfp4
    assert "--quantization" not in _render(tmp_path / "master", "master", Case())["README.md"]


def test_a_flag_that_trusts_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of --trust-remote-code"):
        _render(tmp_path, "nvfp4", Case(extra_flags=["--trust-remote-code"]))


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        ("Using MarlinNvFp4LinearKernel for NVFP4 GEMM", "W4A16: "),
        ("Using FlashInferCuteDslNvFp4W4A16LinearKernel for NVFP4 GEMM", "W4A16: "),
        ("Using CutlassNvFp4LinearKernel for NVFP4 GEMM", "W4A4: "),
        ("Using SomethingNewKernel", ""),
    ],
)
def test_the_kernel_says_what_activations_were(kernel: str, said: str) -> None:
    assert scheme(kernel).startswith(said)
    assert bool(scheme(kernel)) == bool(said)


@pytest.mark.parametrize(
    ("name", "unit", "said"),
    [
        ("output_tokens_per_second_c64", "tokens/s", "output tokens per second, 64 in flight"),
        ("itl_ms_p99_c1", "ms", "time between tokens, p99, 1 in flight"),
        ("ttft_ms_mean_c16", "ms", "time to first token, mean, 16 in flight"),
        ("acceptance_length.tool_call", "tokens/draft", "acceptance length, tool call"),
        ("acceptance_pos_1", "fraction", "acceptance, position 1"),
        ("server_ready_s", "s", "server ready"),
        ("checks_failed", "checks", "checks failed"),
        ("something_new", "", "something new"),
    ],
)
def test_a_measurement_is_named_in_words(name: str, unit: str, said: str) -> None:
    assert words(name, unit) == said


def test_counts_that_differ_are_told_as_a_range() -> None:
    def row(name: str, how: str, of_master: str) -> Row:
        figures = [Figure(text="1", unit="s", n=2, how=text) for text in (how, of_master)]
        return Row(name=name, unit="s", nvfp4=figures[0], master=figures[1])

    told = hows(
        (
            row("a", "over 9 drafts, vLLM 0.32.0", "over 12 drafts, vLLM 0.32.0"),
            row("b", "by qwen3", "over 7"),
        )
    )
    assert [(how.names, how.text) for how in told] == [
        (("a",), "over 9 to 12 drafts, vLLM 0.32.0"),
        (("b",), "by qwen3"),
        (("b",), "over 7"),
    ]
    alike = How(names=("ttft, mean", "ttft, p99", "ready"), text="wall")
    assert alike.what == ("ttft, each", "ready")


def test_what_was_measured_alike_is_told_once(tmp_path: Path) -> None:
    text = _render(tmp_path, "nvfp4", Case(how="wall"))["README.md"]
    assert "- acceptance length; output tokens per second, 1 in flight: wall.\n" in text
