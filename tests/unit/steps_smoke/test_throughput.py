"""What is asked of ``vllm bench serve``, and what its results are worth."""

import json
from pathlib import Path

import pytest

from recipes.formats.step import StepError
from recipes.steps.smoke import throughput
from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.profile import Load, Sampling
from recipes.steps.smoke.throughput import Bench

SAMPLING = Sampling(temperature=0.7, top_p=0.95, top_k=20, repetition_penalty=1.1, max_tokens=96, seed=40)
LOAD = Load(concurrency=16, requests=32, tokens=64)
RESULT: dict[str, object] = {
    "completed": 32,
    "failed": 0,
    "total_output_tokens": 2048,
    "output_throughput": 375.9,
    "mean_ttft_ms": 160.3,
    "p99_ttft_ms": 410.0,
    "median_itl_ms": 38.0,
    "p99_itl_ms": 91.0,
}


def test_lengths_are_fixed_and_every_sampling_field_is_said() -> None:
    at = Bench(python="python", tree=Path("/t"), port=8000, folder=Path("/s"), request_timeout_s=9.0)
    said = " ".join(throughput.arguments(at, SAMPLING, LOAD))
    for words in (
        "--backend openai-chat",
        "--custom-output-len 64",
        "--ignore-eos",
        "--num-prompts 32",
        "--num-warmups 16",
        "--max-concurrency 16",
        "--temperature 0.7",
        "--top-k 20",
        "--repetition-penalty 1.1",
        "--presence-penalty 0.0",
    ):
        assert words in said


def test_the_battery_is_what_is_asked() -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "last"},
    ]
    (line,) = throughput.dataset([Prompt(id="a", domain="a", messages=turns)]).splitlines()
    assert json.loads(line) == {"prompt": "last"}


def test_a_result_gives_speed_and_latency_with_the_number_of_requests() -> None:
    found = {figure.name: (figure.value, figure.n) for figure in throughput.figures(LOAD, RESULT)}
    assert found == {
        "output_tokens_per_second_c16": (375.9, 32),
        "ttft_ms_mean_c16": (160.3, 32),
        "ttft_ms_p99_c16": (410.0, 32),
        "itl_ms_median_c16": (38.0, 32),
        "itl_ms_p99_c16": (91.0, 32),
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"failed": 1, "completed": 31}, "31 of 32 requests were answered and 1 failed; the figure is void"),
        ({"total_output_tokens": 2000}, "2000 tokens came"),
        ({"p99_itl_ms": None}, "gives no p99_itl_ms"),
    ],
)
def test_a_result_of_something_else_is_void(change: dict[str, object], says: str) -> None:
    with pytest.raises(StepError, match=says):
        list(throughput.figures(LOAD, {**RESULT, **change}))


def test_a_single_stream_tells_what_its_roofline_needs() -> None:
    alone = Load(concurrency=1, requests=4, tokens=64)
    result = {
        **RESULT,
        "completed": 4,
        "total_output_tokens": 256,
        "total_input_tokens": 80,
        "spec_decode_acceptance_length": 2.7,
    }
    found = {figure.name: figure.value for figure in throughput.figures(alone, result)}
    assert found["tokens_per_step_c1"] == 2.7
    assert found["context_tokens_c1"] == 80 / 4 + 32
