"""Throughput, measured by ``vllm bench serve``: what to run, and what its results say.

Fixed lengths with ``ignore_eos``, after one full batch that is not counted. One failed request
and one reply of another length void a figure.
"""

import json
import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.evidence import Measurement
from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import bench
from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.loopback import HOST
from recipes.steps.smoke.profile import MODEL_NAME, Load, Sampling

DATASET_FILE = "bench.jsonl"
LOG_FILE = "bench.log"
STARTUP_S = 180.0
"""What the benchmark may take to import vLLM and to read the tokenizer, on a slow machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A server, and what a run needs beside a load."""

    python: str
    tree: Path
    port: int
    folder: Path
    request_timeout_s: float


def dataset(prompts: Sequence[Prompt]) -> str:
    """Return the battery's last user messages as the benchmark reads them."""
    said = (
        next((turn["content"] for turn in reversed(prompt.messages) if turn.get("role") == "user"), "")
        for prompt in prompts
    )
    return "".join(json.dumps({"prompt": text}) + "\n" for text in said)


def arguments(at: Bench, sampling: Sampling, load: Load) -> list[str]:
    """Return the arguments of one run of ``vllm bench serve``."""
    pinned = {
        "--temperature": sampling.temperature,
        "--top-p": sampling.top_p,
        "--top-k": sampling.top_k,
        "--min-p": 0.0,
        "--repetition-penalty": sampling.repetition_penalty,
        "--presence-penalty": 0.0,
        "--frequency-penalty": 0.0,
        "--seed": sampling.seed,
    }
    place = {
        "--backend": "openai-chat",
        "--base-url": f"http://{HOST}:{at.port}",
        "--endpoint": "/v1/chat/completions",
        "--model": MODEL_NAME,
        "--tokenizer": at.tree,
        "--dataset-name": "custom",
        "--dataset-path": at.folder / DATASET_FILE,
        "--custom-output-len": load.tokens,
        "--num-prompts": load.requests,
        "--num-warmups": load.concurrency,
        "--max-concurrency": load.concurrency,
        "--percentile-metrics": "ttft,itl",
        "--metric-percentiles": "50,99",
        "--result-dir": at.folder,
        "--result-filename": _file(load),
    }
    switches = ["--ignore-eos", "--skip-chat-template", "--save-result", "--disable-tqdm"]
    named = [word for name, value in {**place, **pinned}.items() for word in (name, str(value))]
    return [*named, *switches]


def measure(
    at: Bench, sampling: Sampling, loads: Sequence[Load], prompts: Sequence[Prompt]
) -> list[Measurement]:
    """Run every load and return its figures. Raises StepError when one is void."""
    at.folder.mkdir(parents=True, exist_ok=True)
    (at.folder / DATASET_FILE).write_text(dataset(prompts))
    for load in loads:
        (at.folder / _file(load)).unlink(missing_ok=True)
    _run(at, [arguments(at, sampling, load) for load in loads], _patience(at, loads))
    return [figure for load in loads for figure in figures(load, _result(at, load))]


def figures(load: Load, result: Mapping[str, object]) -> Iterator[Measurement]:
    """Yield tokens a second, time to the first token and between tokens. Raises StepError when void."""
    match result:
        case {"completed": load.requests, "failed": 0, "total_output_tokens": int(tokens)}:
            pass
        case _:
            done, failed = result.get("completed"), result.get("failed")
            raise StepError(
                f"throughput at {load.concurrency}: {done} of {load.requests} requests were answered and "
                f"{failed} failed; the figure is void",
                Exit.BUILD,
            )
    if tokens != load.requests * load.tokens:
        raise StepError(
            f"throughput at {load.concurrency}: {tokens} tokens came, and {load.requests} requests of "
            f"{load.tokens} were asked for: a drive of unequal replies has an idle tail and understates the "
            "throughput. Is max_model_len too small for prompt and reply?",
            Exit.PROOF,
        )
    how = f"vllm bench serve, {load.concurrency} in flight, {load.tokens} tokens each, ignore_eos, " + (
        f"after {load.concurrency} requests that are not counted"
    )
    for name, key, unit in (
        ("output_tokens_per_second", "output_throughput", "tokens/s"),
        ("ttft_ms_mean", "mean_ttft_ms", "ms"),
        ("ttft_ms_p99", "p99_ttft_ms", "ms"),
        ("itl_ms_median", "median_itl_ms", "ms"),
        ("itl_ms_p99", "p99_itl_ms", "ms"),
    ):
        value = result.get(key)
        if not isinstance(value, int | float):
            raise StepError(f"throughput at {load.concurrency}: vllm bench serve gives no {key}", Exit.BUILD)
        yield Measurement(
            name=f"{name}_c{load.concurrency}", value=float(value), unit=unit, n=load.requests, how=how
        )
    if load.concurrency == 1:
        yield from _told(load, result)


def _told(load: Load, result: Mapping[str, object]) -> Iterator[Measurement]:
    """Yield what a byte roofline needs of the same run: tokens of a step, and of a context on average."""
    match result:
        case {"spec_decode_acceptance_length": float(length)}:
            yield Measurement(
                name=f"tokens_per_step_c{load.concurrency}",
                value=length,
                unit="tokens/step",
                n=load.requests,
                how="acceptance length of the same run of vllm bench serve, with ignore_eos",
            )
    match result:
        case {"total_input_tokens": int(prompts)}:
            yield Measurement(
                name=f"context_tokens_c{load.concurrency}",
                value=prompts / load.requests + load.tokens / 2,
                unit="tokens",
                n=load.requests,
                how="tokens of a prompt and half of a reply, on average",
            )


def _run(at: Bench, runs: Sequence[Sequence[str]], patience_s: float) -> None:
    argv = [at.python, "-I", bench.__file__, json.dumps(runs)]
    log = at.folder / LOG_FILE
    with log.open("wb") as sink:
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, timeout=patience_s
            )
        except subprocess.TimeoutExpired as error:
            raise StepError(
                f"vllm bench serve was not done after {patience_s:g} s: the server hangs, or "
                "request_timeout_s is too short for this machine",
                Exit.BUILD,
            ) from error
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise StepError(f"vllm bench serve ended with {done.returncode}:\n{tail}", Exit.BUILD)


def _patience(at: Bench, loads: Sequence[Load]) -> float:
    """Return how long all runs may take: a request's patience for each batch, and the start."""
    batches = sum(1 + math.ceil(load.requests / load.concurrency) for load in loads)
    return STARTUP_S + at.request_timeout_s * batches


def _result(at: Bench, load: Load) -> Mapping[str, object]:
    try:
        data = json.loads((at.folder / _file(load)).read_text())
    except (OSError, ValueError) as error:
        raise StepError(f"throughput at {load.concurrency}: no result: {error}", Exit.BUILD) from error
    return data if isinstance(data, dict) else {}


def _file(load: Load) -> str:
    return f"c{load.concurrency}.json"
