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

from recipes.formats.step import Exit, StepError
from recipes.steps.smoke.loopback import HOST

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
    top = _Table("params.json", params)
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


def _serve(table: "_Table") -> Serve:
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


def _sampling(table: "_Table") -> Sampling:
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


def _load(table: "_Table") -> Load:
    load = Load(
        concurrency=table.count("concurrency"),
        requests=table.count("requests"),
        tokens=table.count("tokens"),
    )
    table.finish()
    return load


class _Table:
    """One table of the parameters, read key by key; what is left over is refused."""

    def __init__(self, name: str, data: Mapping[str, object]) -> None:
        self._name = name
        self._rest = dict(data)

    def count(self, key: str, at_least: int = 1) -> int:
        value = self._rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise self._wrong(key, f"an integer of at least {at_least}", value)
        return value

    def number(self, key: str) -> float:
        value = self._rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number", value)
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._rest.pop(key, None)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def optional_text(self, key: str) -> str | None:
        # TOML has no null: a recipe says "" or leaves the key out.
        value = self._rest.pop(key, None) or None
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def optional_texts(self, key: str) -> tuple[str, ...]:
        value = self._rest.pop(key, None) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of strings", value)
        return tuple(value)

    def table(self, key: str) -> "_Table":
        value = self._rest.pop(key, None)
        if not isinstance(value, dict):
            raise self._wrong(key, "a table", value)
        return _Table(f"{self._name}: {key}", value)

    def tables(self, key: str) -> list["_Table"]:
        value = self._rest.pop(key, None)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, "a list of tables, not empty", value)
        return [_Table(f"{self._name}: {key}[{i}]", item) for i, item in enumerate(value)]

    def finish(self) -> None:
        if self._rest:
            unknown = ", ".join(sorted(self._rest))
            raise StepError(f"{self._name}: unknown key: {unknown}; correct it in recipe.toml", Exit.CONFIG)

    def _wrong(self, key: str, expected: str, got: object) -> StepError:
        return StepError(f"{self._name}: {key}: expected {expected}, got {got!r}", Exit.CONFIG)
