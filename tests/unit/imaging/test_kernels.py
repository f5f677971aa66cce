"""Which GPUs a library was compiled for, and what an image without the right kernels is told."""

from pathlib import Path

import pytest

from release.container import Compiled
from release.errors import MachineError
from release.imaging import checks, kernels
from release.imaging.kernels import Kernels

GEMM = "_ZN7cutlass13device_kernelINS_4gemm6kernel13GemmUniversalI42MainloopSm120TmaWarpSpecialized"
SAID = f"""
Fatbin elf code:
================
arch = sm_90a
code version = [1,8]

symbols:
FUNC          LOCAL   DEFAULT    ENTRY                                {GEMM}

Fatbin elf code:
================
arch = sm_120f

symbols:
OBJECT        WEAK    DEFAULT    -                                 U  {GEMM}_not_a_function
FUNC          GLOBAL  DEFAULT    ENTRY                                _ZN4vllm15cvt_fp16_to_fp4I6__half
FUNC          LOCAL   DEFAULT    ENTRY                                {GEMM}

Fatbin ptx code:
================
arch = sm_80
"""
"""As cuobjdump 13.5 writes it, shortened."""


@pytest.mark.parametrize(
    ("target", "gpu", "does"),
    [
        ("sm_120", "sm_121", True),
        ("sm_120f", "sm_121", True),
        ("sm_121a", "sm_121", True),
        ("sm_120a", "sm_121", False),
        ("sm_121", "sm_120", False),
        ("sm_110", "sm_121", False),
        ("sm_90a", "sm_121", False),
        ("sm_80", "sm_89", True),
        ("compute_120", "sm_121", False),
    ],
)
def test_a_cubin_runs_on_its_own_major_version_from_its_minor_on(target: str, gpu: str, does: bool) -> None:
    assert kernels.runs(target, gpu) is does


def test_targets_and_the_wanted_kernel_are_read() -> None:
    found = kernels.parse(SAID.splitlines(), "GemmUniversal.*MainloopSm120")
    assert found.cubins == {"sm_90a": 1, "sm_120f": 1}
    assert found.ptx == {"sm_80": 1}
    assert found.runs_on("sm_121") == ("sm_120f",)
    assert found.symbol_for("sm_121") == GEMM
    assert found.symbol_for("sm_100") == ""


def test_the_conversion_alone_is_no_matrix_multiplication() -> None:
    without = kernels.parse((line for line in SAID.splitlines() if "Gemm" not in line), "GemmUniversal")
    wanted = Compiled(gpu="sm_121", libraries={"a.so": "", "b.so": "GemmUniversal", "c.so": "", "d.so": ""})
    wrong = checks.of_kernels(
        wanted,
        {"a.so": without, "b.so": without, "c.so": None, "d.so": Kernels(cubins={"sm_90": 3}, ptx={})},
    )
    assert wrong == [
        "b.so has no kernel for sm_121 that is named GemmUniversal",
        "c.so is not in it",
        "d.so has no kernel for sm_121: only sm_90",
    ]


def test_a_library_without_device_code_has_none_and_one_that_does_not_read_is_said(tmp_path: Path) -> None:
    assert kernels.read(Path("/proc/self/exe").resolve()) == Kernels(cubins={}, ptx={})
    with pytest.raises(MachineError, match="cuobjdump cannot read"):
        kernels.read(tmp_path / "gone.so")


@pytest.mark.env
def test_a_real_library_is_read(quantize_python: Path) -> None:
    packages = next((quantize_python.parent.parent / "lib").glob("python3*")) / "site-packages"
    found = kernels.read(packages / "torch" / "lib" / "libtorch_cuda.so", "elementwise_kernel")
    assert {"sm_90", "sm_120"} <= found.cubins.keys()
    assert "elementwise_kernel" in found.symbol_for("sm_121")
