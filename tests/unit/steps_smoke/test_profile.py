"""The parameters of a smoke, and the command line that follows from them."""

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.formats.serving.vllm import compile_vllm
from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import launch, profile

VLLM = "0.32.0+cpu"


def params() -> dict[str, Any]:
    return {
        "serve": {
            "max_model_len": 1024,
            "max_num_seqs": 16,
            "max_num_batched_tokens": 2048,
            "kv_cache_bytes": 268435456,
            "quantization": "modelopt_fp4",
            "speculative_tokens": 2,
            "enforce_eager": True,
            "language_model_only": True,
            "prefix_caching": False,
            "expect_kernel": "Using CpuNvFp4LinearKernel for NVFP4 GEMM",
        },
        "sampling": {
            "temperature": 0.7,
            "top_p": 0.95,
            "top_k": 20,
            "repetition_penalty": 1,
            "max_tokens": 96,
            "seed": 1,
        },
        "drives": {
            "acceptance_concurrency": 16,
            "boots": 1,
            "fitness": 0,
            "throughput": [{"concurrency": 1, "requests": 2, "tokens": 64}],
        },
        "startup_timeout_s": 240,
        "request_timeout_s": 120,
    }


def test_the_seeds_profile_becomes_vllm_flags() -> None:
    command = profile.argv(profile.parse(params()).serve, VLLM, "/env/bin/python", Path("/in/tree"), 8123)
    assert command[:5] == ["/env/bin/python", "-I", launch.__file__, "serve", "/in/tree"]
    for flag in (
        "--host=127.0.0.1",
        "--port=8123",
        "--max-model-len=1024",
        "--max-num-seqs=16",
        "--max-num-batched-tokens=2048",
        "--kv-cache-memory-bytes=268435456",
        "--quantization=modelopt_fp4",
        "--enforce-eager",
        "--language-model-only",
        "--no-enable-prefix-caching",
        "--per-request-spec-decode-metrics=summary",
    ):
        assert flag in command
    (config,) = [flag for flag in command if flag.startswith("--speculative-config=")]
    assert json.loads(config.partition("=")[2]) == {"method": "mtp", "num_speculative_tokens": 2}


def test_statistics_stay_on_since_the_figures_come_from_them() -> None:
    assert "--disable-log-stats" not in profile.flags(profile.parse(params()).serve, VLLM)


def test_a_baseline_has_no_quantization_and_no_draft_flags() -> None:
    plain = params()
    plain["serve"] |= {
        "quantization": "",
        "expect_kernel": None,
        "speculative_tokens": 0,
        "enforce_eager": False,
    }
    serve = profile.parse(plain).serve
    assert (serve.quantization, serve.expect_kernel) == (None, None)
    text = " ".join(profile.flags(serve, VLLM))
    assert not any(word in text for word in ("quantization", "spec", "eager"))


def test_extra_flags_come_last_so_that_they_win() -> None:
    wanted = params()
    wanted["serve"]["extra_flags"] = ["--seed=7"]
    assert compile_vllm(profile.parse(wanted).serve, VLLM).flags[-1] == "--seed=7"


def test_recorded_flags_name_no_path_and_no_port() -> None:
    assert not any(
        "/" in flag or "port" in flag for flag in profile.flags(profile.parse(params()).serve, VLLM)
    )


def test_caches_lie_in_the_state_and_the_rest_is_kept() -> None:
    serve = profile.parse(params()).serve
    own = {"PATH": "/bin", "VLLM_CACHE_ROOT": "/elsewhere"}
    env = profile.environment(serve, VLLM, own, Path("/work/state"))
    assert env["PATH"] == "/bin"
    assert env["VLLM_CACHE_ROOT"] == "/work/state/cache/vllm_cache_root"


@pytest.mark.parametrize(
    ("table", "key", "value", "says"),
    [
        (
            "serve",
            "max_model_len",
            "1024",
            "serve: max_model_len: expected an integer of at least 1, got '1024'",
        ),
        ("serve", "max_num_seqs", 0, "serve: max_num_seqs: expected an integer of at least 1, got 0"),
        ("serve", "enforce_eager", 1, "serve: enforce_eager: expected true or false, got 1"),
        ("serve", "quantization", 4, "serve: quantization: expected a string, got 4"),
        ("serve", "extra_flags", "--x", "serve: extra_flags: expected a list of strings, got '--x'"),
        ("serve", "enforce_eagre", True, "serve: unknown key: enforce_eagre"),
        ("sampling", "temperature", True, "sampling: temperature: expected a number, got True"),
        ("drives", "boots", 0, "drives: boots: expected an integer of at least 1, got 0"),
        ("drives", "fitness", 95, "drives: fitness: expected a share from 0 to 1, got 95"),
        ("drives", "throughput", [], "drives: throughput: expected a list of tables, not empty, got []"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_expected(
    table: str, key: str, value: object, says: str
) -> None:
    wrong = params()
    wrong[table][key] = value
    with pytest.raises(StepError) as caught:
        profile.parse(wrong)
    assert says in str(caught.value)
    assert caught.value.code is Exit.CONFIG


def test_a_version_that_nothing_is_known_of_ends_the_step() -> None:
    with pytest.raises(StepError, match=r"expected 0.22 or newer") as caught:
        profile.flags(profile.parse(params()).serve, "0.21.0")
    assert caught.value.code is Exit.CONFIG


def test_an_older_engine_cannot_tell_the_drafts_of_a_reply() -> None:
    serve = profile.parse(params()).serve
    assert profile.drafts_untold(serve, "0.26.0")
    assert not profile.drafts_untold(serve, VLLM)
    assert not any("spec-decode-metrics" in flag for flag in profile.flags(serve, "0.26.0"))


def test_a_missing_table_is_named() -> None:
    with pytest.raises(StepError, match="drives: expected a table, got None"):
        profile.parse({key: value for key, value in params().items() if key != "drives"})


def test_without_a_word_it_is_three_boots_of_a_fit_machine() -> None:
    plain = params()
    del plain["drives"]["boots"], plain["drives"]["fitness"]
    wanted = profile.parse(plain)
    assert (wanted.boots, wanted.fitness.at_least, wanted.fitness.record) == (3, 0.95, None)
