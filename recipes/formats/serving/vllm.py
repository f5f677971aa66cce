"""A serve profile as flags and variables of one vLLM version.

    compile_vllm(serve, "0.32.0").flags[0]      # "--dtype=bfloat16"

A name that changed is a row of ``_SPELLINGS``. That the version takes what is written here is
checked with its own parser, in its own environment (``recipes.steps.smoke.launch``).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipes.formats.serving.profile import Serve

Version = tuple[int, int]

OLDEST: Version = (0, 22)
"""The seed's version; nothing is known here of an older one."""

NEWEST = "0.32.0"
"""The newest version whose parser was asked about these flags; a draft of a card is compiled for it."""

_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What starts a server, but for its place: flags as ``--name`` or ``--name=value``, and variables."""

    flags: tuple[str, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a setting is written from version ``since`` on, and before ``until``."""

    name: str
    since: Version = OLDEST
    until: Version | None = None

    def in_(self, version: Version) -> bool:
        """Tell whether ``version`` writes it so."""
        return self.since <= version and (self.until is None or version < self.until)


_SPELLINGS: Mapping[str, tuple[Spelling, ...]] = {
    # https://github.com/vllm-project/vllm/pull/39538: later versions ignore the variable.
    "nvfp4_gemm": (
        Spelling("VLLM_NVFP4_GEMM_BACKEND", until=(0, 24)),
        Spelling("--linear-backend", since=(0, 24)),
    ),
    "draft_report": (Spelling("--per-request-spec-decode-metrics", since=(0, 32)),),
}


def parse_version(text: str) -> Version:
    """Return major and minor of ``0.32.0+cpu``. Raises ValueError below 0.22."""
    match = _VERSION.match(text)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < OLDEST:
        raise ValueError(f"vLLM {text}: expected {OLDEST[0]}.{OLDEST[1]} or newer")
    return version


def compile_vllm(serve: Serve, version: str) -> Command:
    """Return flags and variables of ``serve``.

    Raises ValueError for what ``version`` has no word for and for what is said twice.
    """
    known = parse_version(version)
    flags = [*_flags(serve), *_speculative(serve), *_graphs(serve), *_parsers(serve)]
    variables = dict(serve.environment)
    if serve.nvfp4_gemm:
        name = _spelled("nvfp4_gemm", known, version)
        if name.startswith("--"):
            flags.append(f"{name}={serve.nvfp4_gemm}")
        else:
            variables[name] = serve.nvfp4_gemm
    _refuse_twice(serve, flags)
    _refuse_renamed(serve, version)
    return Command(flags=(*flags, *serve.extra_flags), variables=variables)


def draft_report(serve: Serve, version: str) -> tuple[str, ...]:
    """Return the flags by which each reply tells its drafts; none where ``version`` has no word for it."""
    known = parse_version(version)
    names = [spelling.name for spelling in _SPELLINGS["draft_report"] if spelling.in_(known)]
    return tuple(f"{name}=summary" for name in names if serve.speculative_tokens)


def _flags(serve: Serve) -> Iterator[str]:
    yield "--dtype=bfloat16"
    yield f"--max-model-len={serve.max_model_len}"
    yield f"--max-num-seqs={serve.max_num_seqs}"
    yield f"--max-num-batched-tokens={serve.max_num_batched_tokens}"
    yield f"--kv-cache-memory-bytes={serve.kv_cache_bytes}"
    yield "--enable-prefix-caching" if serve.prefix_caching else "--no-enable-prefix-caching"
    stated = {
        "--gpu-memory-utilization": serve.utilization,
        "--kv-cache-dtype": serve.kv_cache_dtype,
        "--mamba-ssm-cache-dtype": serve.recurrent_state_dtype,
        "--attention-backend": serve.attention_backend,
        "--load-format": serve.loader,
        "--quantization": serve.quantization,
    }
    yield from (f"{name}={value}" for name, value in stated.items() if value is not None)
    switches = {
        "--no-enable-chunked-prefill": not serve.chunked_prefill,
        "--no-enable-flashinfer-autotune": not serve.autotune,
        "--enforce-eager": serve.enforce_eager,
        "--language-model-only": serve.language_model_only,
    }
    yield from (name for name, wanted in switches.items() if wanted)


def _speculative(serve: Serve) -> Iterator[str]:
    if serve.speculative_tokens:
        config = {"method": "mtp", "num_speculative_tokens": serve.speculative_tokens}
        yield f"--speculative-config={json.dumps(config)}"


def _graphs(serve: Serve) -> Iterator[str]:
    if serve.enforce_eager:
        return
    config: dict[str, object] = {"cudagraph_mode": serve.graph_mode} if serve.graph_mode else {}
    if serve.graph_mode != "NONE":
        config["cudagraph_capture_sizes"] = list(serve.capture_sizes)
    yield f"--compilation-config={json.dumps(config)}"


def _parsers(serve: Serve) -> Iterator[str]:
    if serve.reasoning_parser:
        yield f"--reasoning-parser={serve.reasoning_parser}"
        # The release's template thinks only when asked; vLLM's qwen3 parser takes a request that
        # says nothing for one that thinks, and the whole answer for its trace. Null refuses
        # nothing, so <|think_on|> works; the parser then leaves that trace in the answer.
        yield f"--default-chat-template-kwargs={json.dumps({'enable_thinking': None})}"
    if serve.tool_parser:
        yield "--enable-auto-tool-choice"
        yield f"--tool-call-parser={serve.tool_parser}"


def _spelled(setting: str, known: Version, version: str) -> str:
    for spelling in _SPELLINGS[setting]:
        if spelling.in_(known):
            return spelling.name
    raise ValueError(f"vLLM {version} has no word for {setting}")


def _refuse_twice(serve: Serve, flags: list[str]) -> None:
    said = {flag.partition("=")[0] for flag in flags}
    for flag in serve.extra_flags:
        if flag.partition("=")[0] in said:
            raise ValueError(f"extra_flags: {flag}: the profile says this already, and one would be ignored")


def _refuse_renamed(serve: Serve, version: str) -> None:
    for setting, spellings in _SPELLINGS.items():
        for name in {spelling.name for spelling in spellings} & set(serve.environment):
            raise ValueError(
                f"environment: {name}: say {setting} in the profile; vLLM {version} may ignore the variable"
            )
