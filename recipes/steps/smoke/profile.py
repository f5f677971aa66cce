"""What the recipe asks of the smoke, and the server's command line that follows from it.

    profile = parse(work.params)
    argv(profile.serve, python, model, port)
    # [".../python", "-I", "-m", "vllm.entrypoints.cli.main", "serve", ...]

Every parameter must be present and no other may be: a misspelt one would silently
measure something else. Pure: nothing is read but the argument.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.steps.smoke.loopback import HOST
from recipes.steps.smoke.table import Table

MODEL_NAME = "model"

# Each names a cache that some part of the server would put into HOME otherwise. Kept in
# the step's state, a kernel compiled once is not compiled again after an interruption.
CACHES = (
    "CUDA_CACHE_PATH",
    "FLASHINFER_WORKSPACE_BASE",
    "HF_HOME",
    "NUMBA_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR",
    "VLLM_CACHE_ROOT",
    "VLLM_CONFIG_ROOT",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """How the server is started. ``speculative_tokens`` 0 serves without the draft head."""

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_bytes: int
    quantization: str | None
    speculative_tokens: int
    enforce_eager: bool
    language_model_only: bool
    prefix_caching: bool
    expect_kernel: str | None
    extra_flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How each token is drawn; request ``i`` of a drive uses ``seed + i``."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One throughput drive: ``requests`` of exactly ``tokens`` tokens, so many at once."""

    concurrency: int
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything the recipe decides about a smoke."""

    serve: Serve
    sampling: Sampling
    acceptance_concurrency: int
    throughput: tuple[Load, ...]
    startup_timeout_s: int
    request_timeout_s: int


def parse(params: Mapping[str, object]) -> Profile:
    """Parse the step's parameters. Raises StepError with key, expected and got."""
    top = Table("params.json", params)
    drives = top.table("drives")
    profile = Profile(
        serve=_serve(top.table("serve")),
        sampling=_sampling(top.table("sampling")),
        acceptance_concurrency=drives.count("acceptance_concurrency"),
        throughput=tuple(_load(load) for load in drives.tables("throughput")),
        startup_timeout_s=top.count("startup_timeout_s"),
        request_timeout_s=top.count("request_timeout_s"),
    )
    drives.finish()
    top.finish()
    return profile


def flags(serve: Serve) -> list[str]:
    """Return the flags that decide what is measured: no path and no port among them."""
    result = ["--dtype=bfloat16"]
    result += [f"--max-model-len={serve.max_model_len}", f"--max-num-seqs={serve.max_num_seqs}"]
    result += [f"--max-num-batched-tokens={serve.max_num_batched_tokens}"]
    result += [f"--kv-cache-memory-bytes={serve.kv_cache_bytes}"]
    result += ["--enable-prefix-caching" if serve.prefix_caching else "--no-enable-prefix-caching"]
    if serve.quantization:
        result += [f"--quantization={serve.quantization}"]
    if serve.enforce_eager:
        result += ["--enforce-eager"]
    if serve.language_model_only:
        result += ["--language-model-only"]
    if serve.speculative_tokens:
        result += _speculative(serve.speculative_tokens)
    return [*result, *serve.extra_flags]


def argv(serve: Serve, python: str, model: Path, port: int) -> list[str]:
    """Return the command that serves ``model`` on loopback ``port``."""
    command = [python, "-I", "-m", "vllm.entrypoints.cli.main", "serve", str(model)]
    place = [f"--host={HOST}", f"--port={port}", f"--served-model-name={MODEL_NAME}"]
    return [*command, *place, "--disable-uvicorn-access-log", *flags(serve)]


def environment(base: Mapping[str, str], state: Path) -> dict[str, str]:
    """Return ``base`` with every cache of the server moved below ``state``."""
    return {**base, **{name: str(state / "cache" / name.lower()) for name in CACHES}}


def _speculative(tokens: int) -> list[str]:
    config = json.dumps({"method": "mtp", "num_speculative_tokens": tokens})
    # Each reply then says how many drafts it took: figures per domain, and samples for a
    # paired bootstrap, without one drive per domain.
    return [f"--speculative-config={config}", "--per-request-spec-decode-metrics=summary"]


def _serve(table: Table) -> Serve:
    serve = Serve(
        max_model_len=table.count("max_model_len"),
        max_num_seqs=table.count("max_num_seqs"),
        max_num_batched_tokens=table.count("max_num_batched_tokens"),
        kv_cache_bytes=table.count("kv_cache_bytes"),
        quantization=table.optional_text("quantization"),
        speculative_tokens=table.count("speculative_tokens", at_least=0),
        enforce_eager=table.flag("enforce_eager"),
        language_model_only=table.flag("language_model_only"),
        prefix_caching=table.flag("prefix_caching"),
        expect_kernel=table.optional_text("expect_kernel"),
        extra_flags=table.optional_texts("extra_flags"),
    )
    table.finish()
    return serve


def _sampling(table: Table) -> Sampling:
    sampling = Sampling(
        temperature=table.number("temperature"),
        top_p=table.number("top_p"),
        top_k=table.count("top_k", at_least=-1),
        repetition_penalty=table.number("repetition_penalty"),
        max_tokens=table.count("max_tokens"),
        seed=table.count("seed", at_least=0),
    )
    table.finish()
    return sampling


def _load(table: Table) -> Load:
    load = Load(
        concurrency=table.count("concurrency"),
        requests=table.count("requests"),
        tokens=table.count("tokens"),
    )
    table.finish()
    return load
