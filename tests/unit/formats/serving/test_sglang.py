"""The same profile for SGLang, as far as it has words for it."""

import pytest

from recipes.formats.serving.sglang import compile_sglang
from tests.unit.formats.serving.profiles import named, small


def test_the_seed_compiles_with_strict_thinking() -> None:
    flags = compile_sglang(named("gb10_seed")).flags
    for flag in (
        "--speculative-algorithm=NEXTN",
        "--speculative-num-steps=2",
        "--speculative-num-draft-tokens=3",
        "--mamba-ssm-dtype=float32",
        "--kv-cache-dtype=fp8_e4m3",
        "--fp4-gemm-backend=flashinfer_cutlass",
        "--enable-strict-thinking",
        "--disable-radix-cache",
    ):
        assert flag in flags


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "utilization: expected a share"),
        ({"utilization": 0.5, "loader": "fastsafetensors"}, "loader: SGLang has no word for"),
        ({"utilization": 0.5, "attention_backend": "TREE_ATTN"}, "attention_backend: SGLang has no word"),
        ({"utilization": 0.5, "extra_flags": ["--seed=1"]}, "written for vLLM"),
    ],
)
def test_what_sglang_has_no_word_for_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        compile_sglang(small(**changes))
