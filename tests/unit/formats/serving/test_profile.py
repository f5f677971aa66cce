"""A profile says each thing once, and nothing that has no effect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.formats.serving.profiles import PROFILES, named, small


@pytest.mark.parametrize("file", PROFILES, ids=lambda file: file.stem)
def test_every_profile_of_the_project_is_one(file: object) -> None:
    assert named(getattr(file, "stem", "")).kv_cache_bytes > 1 << 30


@given(sequences=st.integers(1, 128), k=st.integers(0, 5))
def test_graphs_are_captured_for_whole_steps_up_to_a_full_batch(sequences: int, k: int) -> None:
    sizes = small(max_num_seqs=sequences, speculative_tokens=k).capture_sizes
    assert sizes[-1] == sequences * (1 + k)
    assert all(size % (1 + k) == 0 for size in sizes)
    assert list(sizes) == sorted(set(sizes))


def test_the_seeds_sizes_end_at_64_sequences_of_three_tokens() -> None:
    assert named("gb10_seed").capture_sizes[-1] == 192


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"graph_mode": "PIECEWISE"}, "graph_mode: expected none beside enforce_eager"),
        ({"graph_mode": "piecewise"}, "graph_mode: expected NONE or PIECEWISE"),
        ({"max_num_batched_tokens": 40}, "max_num_batched_tokens: expected at least 48"),
        ({"nvfp4_gemm": "cutlass"}, "expect_kernel: expected the kernel that nvfp4_gemm 'cutlass'"),
        ({"recurrent_state_dtype": "fp8"}, "recurrent_state_dtype: expected float32 or bfloat16"),
        ({"utilization": 1.2}, "utilization: expected a share"),
        ({"environment": {"A": 1}}, "environment: expected a table of strings"),
        ({"extra_flags": ["--trust-remote-code"]}, "extra_flags: expected flags, and none of --trust"),
        ({"extra_flags": ["--host=0.0.0.0"]}, "extra_flags: expected flags, and none of"),
        ({"extra_flags": ["max-loras=2"]}, "extra_flags: expected flags"),
        ({"kv_cache_dtyp": "fp8"}, "unknown key: kv_cache_dtyp"),
    ],
)
def test_what_has_no_effect_or_no_meaning_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(**changes)
