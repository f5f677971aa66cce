"""A serve profile as flags of SGLang, with strict thinking.

The flags are those of SGLang's documentation; its parser has not been asked.
https://docs.sglang.io/advanced_features/server_arguments.html
"""

from collections.abc import Iterator, Mapping

from recipes.formats.serving.profile import Serve
from recipes.formats.serving.vllm import Command

# vLLM's word → SGLang's. A word that is missing here has no counterpart that is known to be the same.
_ATTENTION: Mapping[str, str] = {"TRITON_ATTN": "triton", "FLASHINFER": "flashinfer", "FLASH_ATTN": "fa3"}
_KV: Mapping[str, str] = {"auto": "auto", "fp8": "fp8_e4m3", "fp8_e4m3": "fp8_e4m3", "bfloat16": "bf16"}
_GEMM: Mapping[str, str] = {
    "cutlass": "flashinfer_cutlass",
    "flashinfer_cutlass": "flashinfer_cutlass",
    "flashinfer_cudnn": "flashinfer_cudnn",
    "flashinfer_trtllm": "flashinfer_trtllm",
}
_TOOLS: Mapping[str, str] = {"qwen3_xml": "qwen3_coder", "qwen3_coder": "qwen3_coder"}


def compile_sglang(serve: Serve) -> Command:
    """Return the flags of ``serve``.

    SGLang takes a share of memory where vLLM takes bytes of cache, so ``utilization`` is
    demanded. Raises ValueError for a setting that SGLang has no word for.
    """
    if serve.utilization is None:
        raise ValueError("utilization: expected a share, got nothing: SGLang takes no bytes of cache")
    if serve.extra_flags:
        raise ValueError(f"extra_flags: {serve.extra_flags[0]}: written for vLLM, and SGLang may ignore it")
    flags = [*_flags(serve, serve.utilization), *_words(serve), *_speculative(serve), *_thinking(serve)]
    return Command(flags=tuple(flags), variables=dict(serve.environment))


def _flags(serve: Serve, utilization: float) -> Iterator[str]:
    yield "--dtype=bfloat16"
    yield f"--context-length={serve.max_model_len}"
    yield f"--max-running-requests={serve.max_num_seqs}"
    yield f"--mem-fraction-static={utilization}"
    yield f"--chunked-prefill-size={serve.max_num_batched_tokens if serve.chunked_prefill else -1}"
    if not serve.prefix_caching:
        yield "--disable-radix-cache"
    if serve.enforce_eager or serve.graph_mode == "NONE":
        yield "--disable-cuda-graph"
    else:
        # SGLang counts sequences where vLLM counts tokens.
        yield f"--cuda-graph-max-bs={serve.max_num_seqs}"
    if not serve.language_model_only:
        yield "--enable-multimodal"
    if serve.loader:
        yield f"--load-format={_word('loader', serve.loader, {'safetensors': 'safetensors', 'auto': 'auto'})}"


def _words(serve: Serve) -> Iterator[str]:
    if serve.quantization:
        yield f"--quantization={serve.quantization}"
    if serve.nvfp4_gemm:
        yield f"--fp4-gemm-backend={_word('nvfp4_gemm', serve.nvfp4_gemm, _GEMM)}"
    if serve.kv_cache_dtype:
        yield f"--kv-cache-dtype={_word('kv_cache_dtype', serve.kv_cache_dtype, _KV)}"
    if serve.recurrent_state_dtype:
        yield f"--mamba-ssm-dtype={serve.recurrent_state_dtype}"
    if serve.attention_backend:
        yield f"--attention-backend={_word('attention_backend', serve.attention_backend, _ATTENTION)}"


def _speculative(serve: Serve) -> Iterator[str]:
    if serve.speculative_tokens:
        yield "--speculative-algorithm=NEXTN"
        yield f"--speculative-num-steps={serve.speculative_tokens}"
        yield "--speculative-eagle-topk=1"
        yield f"--speculative-num-draft-tokens={1 + serve.speculative_tokens}"


def _thinking(serve: Serve) -> Iterator[str]:
    if serve.reasoning_parser:
        # Without it a request's custom_params.thinking_budget is ignored.
        yield f"--reasoning-parser={serve.reasoning_parser}"
        yield "--enable-strict-thinking"
    if serve.tool_parser:
        yield f"--tool-call-parser={_word('tool_parser', serve.tool_parser, _TOOLS)}"


def _word(setting: str, value: str, words: Mapping[str, str]) -> str:
    if value not in words:
        raise ValueError(f"{setting}: SGLang has no word for {value!r}; it has one for {', '.join(words)}")
    return words[value]
