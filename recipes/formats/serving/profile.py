"""A serve profile: how a tree is served, in words that belong to no engine.

    serve = parse_serve(Table("recipe.toml: serve", {"max_model_len": 1024, ...}))
    compile_vllm(serve, "0.32.0").flags     # recipes.formats.serving.vllm

What an engine would ignore is refused here or where it is compiled: a setting that has no
effect is a figure that was measured under another profile than the one beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recipes.formats.params import Table

GRAPH_MODES = ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")
STATE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Dtypes of the recurrent state, and the bytes of one value."""

# Graphs are captured for these numbers of sequences, and then for every eighth.
_CAPTURED = (1, 2, 4)
_CAPTURE_STEP = 8

# Where the server listens and whose code it runs is not a recipe's to say.
_NEVER = ("--trust-remote-code", "--host", "--port", "--api-key", "--model", "--served-model-name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """How a server is started. ``speculative_tokens`` 0 serves without the draft head.

    None leaves a setting to the engine. ``kv_cache_bytes`` bounds the cache, whatever
    ``utilization`` says; ``nvfp4_gemm`` is a backend's name as vLLM has it.
    """

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
    kv_cache_dtype: str | None
    recurrent_state_dtype: str | None
    attention_backend: str | None
    nvfp4_gemm: str | None
    graph_mode: str | None
    chunked_prefill: bool
    autotune: bool
    loader: str | None
    utilization: float | None
    reasoning_parser: str | None
    tool_parser: str | None
    environment: Mapping[str, str]

    @property
    def capture_sizes(self) -> tuple[int, ...]:
        """Tokens of a batch that a graph is captured for: multiples of 1 + k, up to a full batch.

        A step of n sequences verifies n (1 + k) tokens; a size in between pads every one of them.
        """
        step = 1 + self.speculative_tokens
        most = self.max_num_seqs
        counts = {*_CAPTURED, *range(_CAPTURE_STEP, most + 1, _CAPTURE_STEP), most}
        return tuple(step * count for count in sorted(counts) if count <= most)


def parse_serve(table: Table) -> Serve:
    """Parse a profile. Raises ValueError with key, expected and got, or what contradicts what."""
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
        kv_cache_dtype=table.optional_text("kv_cache_dtype"),
        recurrent_state_dtype=table.optional_text("recurrent_state_dtype"),
        attention_backend=table.optional_text("attention_backend"),
        nvfp4_gemm=table.optional_text("nvfp4_gemm"),
        graph_mode=table.optional_text("graph_mode"),
        chunked_prefill=table.optional_flag("chunked_prefill", default=True),
        autotune=table.optional_flag("autotune", default=True),
        loader=table.optional_text("loader"),
        utilization=table.optional_number("utilization"),
        reasoning_parser=table.optional_text("reasoning_parser"),
        tool_parser=table.optional_text("tool_parser"),
        environment=table.strings("environment"),
    )
    table.finish()
    _refuse_values(table, serve)
    _refuse_contradictions(table, serve)
    return serve


def _refuse_values(table: Table, serve: Serve) -> None:
    if serve.recurrent_state_dtype not in (None, *STATE_BYTES):
        raise table.wrong("recurrent_state_dtype", " or ".join(STATE_BYTES), serve.recurrent_state_dtype)
    if serve.graph_mode not in (None, *GRAPH_MODES):
        raise table.wrong("graph_mode", " or ".join(GRAPH_MODES), serve.graph_mode)
    if serve.utilization is not None and not 0 < serve.utilization <= 1:
        raise table.wrong("utilization", "a share above 0 and up to 1", serve.utilization)
    for flag in serve.extra_flags:
        name = flag.partition("=")[0]
        if not name.startswith("--") or name in _NEVER:
            raise table.wrong("extra_flags", f"flags, and none of {', '.join(_NEVER)}", flag)


def _refuse_contradictions(table: Table, serve: Serve) -> None:
    if serve.enforce_eager and serve.graph_mode not in (None, "NONE"):
        raise table.wrong(
            "graph_mode", "none beside enforce_eager, which captures no graph", serve.graph_mode
        )
    full = serve.capture_sizes[-1]
    if full > serve.max_num_batched_tokens:
        raise table.wrong(
            "max_num_batched_tokens",
            f"at least {full}: each of {serve.max_num_seqs} sequences takes 1 + k tokens a step",
            serve.max_num_batched_tokens,
        )
    if serve.nvfp4_gemm and not serve.expect_kernel:
        raise table.wrong(
            "expect_kernel",
            f"the kernel that nvfp4_gemm {serve.nvfp4_gemm!r} stands for, since an engine that lacks it "
            "takes another one with no more than a warning",
            None,
        )
