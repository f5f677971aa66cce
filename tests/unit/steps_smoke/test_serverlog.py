"""Lines as vLLM 0.32.0 writes them."""

import pytest

from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import serverlog

KERNEL = (
    "(EngineCore pid=77) INFO 11-23 09:16:56 [__init__.py:1240] Using CpuNvFp4LinearKernel for NVFP4 GEMM"
)
UNKNOWN = (
    "(APIServer pid=7) WARNING 11-23 09:16:56 [envs.py:2400] "
    "Unknown vLLM environment variable detected: VLLM_NVFP4_GEMM_BACKEND"
)
IDLE = "(EngineCore pid=77) WARNING 11-23 09:16:39 [cpu.py:224] Triton is not installed."


def test_the_chosen_kernel_is_read_from_the_log() -> None:
    assert serverlog.kernel(f"{IDLE}\n{KERNEL}\n{KERNEL}\n") == "CpuNvFp4LinearKernel"
    assert serverlog.kernel(IDLE) is None


@pytest.mark.parametrize("expected", ["CpuNvFp4LinearKernel", "Using CpuNvFp4LinearKernel for NVFP4 GEMM"])
def test_a_name_or_the_whole_line_may_be_expected(expected: str) -> None:
    serverlog.require_kernel(KERNEL, expected)


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (KERNEL, "CpuNvFp4LinearKernel"),
        (IDLE, "no NVFP4 kernel at all"),
        (f"CutlassNvFp4LinearKernel: not supported\n{KERNEL}", "CpuNvFp4LinearKernel"),
        (KERNEL + KERNEL.replace("Cpu", "Cutlass"), "CpuNvFp4LinearKernel, CutlassNvFp4LinearKernel"),
    ],
    ids=["another", "none", "named-as-unavailable", "mixed"],
)
def test_another_kernel_than_expected_is_a_failed_proof(log: str, found: str) -> None:
    with pytest.raises(StepError, match=rf"the server's log names {found}\.") as caught:
        serverlog.require_kernel(log, "CutlassNvFp4LinearKernel")
    assert caught.value.code is Exit.PROOF


def test_a_variable_that_the_engine_ignores_is_reported_once() -> None:
    found = serverlog.doubts(f"{UNKNOWN}\n{IDLE}\n{UNKNOWN.replace('pid=7', 'pid=8')}\n{KERNEL}")
    assert found == ["Unknown vLLM environment variable detected: VLLM_NVFP4_GEMM_BACKEND"]
