"""A profile in the words of one vLLM version, and what that version says to them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from recipes.formats.serving.vllm import compile_vllm, draft_report, parse_version
from recipes.steps.smoke import launch
from tests.unit.formats.serving.profiles import PROFILES, PROJECT, named, small

PINNED = "0.32.0+cpu"

# One interpreter for all cases: to import vLLM takes ten seconds.
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import launch
cases = json.load(sys.stdin)
print(json.dumps([list(launch.check(["/model", *flags], variables)) for flags, variables in cases]))
"""


def test_the_seed_says_how_everything_is_served() -> None:
    flags = compile_vllm(named("gb10_seed"), PINNED).flags
    for flag in (
        "--kv-cache-memory-bytes=21474836480",
        "--kv-cache-dtype=fp8",
        "--mamba-ssm-cache-dtype=float32",
        "--attention-backend=TRITON_ATTN",
        "--linear-backend=cutlass",
        "--gpu-memory-utilization=0.7",
        "--reasoning-parser=qwen3",
        "--enable-auto-tool-choice",
        "--tool-call-parser=qwen3_xml",
        "--language-model-only",
    ):
        assert flag in flags
    (graphs,) = (flag for flag in flags if flag.startswith("--compilation-config="))
    config = json.loads(graphs.partition("=")[2])
    assert config["cudagraph_mode"] == "PIECEWISE"
    assert config["cudagraph_capture_sizes"][-1] == 192


@pytest.mark.parametrize(("version", "flag"), [("0.22.0", False), ("0.24.0", True), (PINNED, True)])
def test_the_nvfp4_kernel_is_named_in_the_words_of_the_version(version: str, flag: bool) -> None:
    command = compile_vllm(named("gb10_seed"), version)
    assert ("--linear-backend=cutlass" in command.flags) is flag
    assert command.variables == ({} if flag else {"VLLM_NVFP4_GEMM_BACKEND": "cutlass"})


def test_a_request_that_says_nothing_of_thinking_is_none_that_thinks() -> None:
    said = '--default-chat-template-kwargs={"enable_thinking": null}'
    assert said in compile_vllm(small(reasoning_parser="qwen3"), PINNED).flags
    assert said not in compile_vllm(small(), PINNED).flags


def test_replies_tell_their_drafts_where_the_version_can() -> None:
    assert draft_report(small(), PINNED) == ("--per-request-spec-decode-metrics=summary",)
    assert draft_report(small(speculative_tokens=0), "0.26.0") == ()
    assert draft_report(small(), "0.26.0") == ()


def test_a_variable_of_another_version_is_refused() -> None:
    serve = small(environment={"VLLM_NVFP4_GEMM_BACKEND": "cutlass"})
    with pytest.raises(ValueError, match="VLLM_NVFP4_GEMM_BACKEND: say nvfp4_gemm"):
        compile_vllm(serve, PINNED)


def test_a_flag_that_the_profile_sets_is_refused_beside_it() -> None:
    with pytest.raises(ValueError, match="--max-model-len=9: the profile says this already"):
        compile_vllm(small(extra_flags=["--max-model-len=9"]), PINNED)


@pytest.mark.parametrize("version", ["0.21.3", "", "main"])
def test_a_version_that_nothing_is_known_of_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=r"expected 0\.22 or newer"):
        parse_version(version)


@pytest.mark.env
@pytest.mark.timeout(300)
def test_the_pinned_version_takes_every_profile_and_says_what_it_does_not(
    serve_python: Path, tmp_path: Path
) -> None:
    shutil.copy(launch.__file__, tmp_path)  # alone: its neighbours are called as standard modules are
    profiles = [*(named(file.stem) for file in PROFILES), small()]
    right = [[[*compile_vllm(serve, PINNED).flags, *draft_report(serve, PINNED)], {}] for serve in profiles]
    wrong: list[tuple[list[str], dict[str, str], str]] = [
        (["--linear-backnd=cutlass"], {}, "--linear-backnd is no flag of it"),
        (["--max-num-seq=4"], {}, "--max-num-seq is no flag of it"),
        (["--linear-backend=cutlas"], {}, "its parser ended"),
        (["--reasoning-parser=qwen33"], {}, "--reasoning-parser=qwen33: it has"),
        (["--attention-backend=TRITON"], {}, "--attention-backend=TRITON: it has"),
        ([], {"VLLM_NVFP4_GEMM_BACKEND": "cutlass"}, "VLLM_NVFP4_GEMM_BACKEND is ignored"),
    ]
    cases = [*right, *([flags, variables] for flags, variables, _ in wrong)]
    done = subprocess.run(
        [str(serve_python), "-I", "-c", ASK, str(tmp_path)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told[: len(right)] == [[] for _ in right]
    for found, (_, _, says) in zip(told[len(right) :], wrong, strict=True):
        assert len(found) == 1
        assert says in found[0]
