"""Serve a release tree by vLLM with its draft head, in one process tree, and count.

    python3 -m benchmarks.gpu_serve MODEL --prompts ids|chat --device cuda --out FILE

``ids`` asks random token ids and reads no text, for a checkpoint with random weights; ``chat``
asks the tiny recipe's battery. Counters are the engine's own, as differences over a drive.
"""

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import vllm
from vllm import LLM, SamplingParams

TINY = Path(__file__).parents[1] / "recipes" / "tiny"
DRAFTS = 2
PREFIX = "vllm:spec_decode_num_"
# Ids that every tokenizer of the project knows.
ID_LIMIT = 480

Prompts = Sequence[Mapping[str, Sequence[int]]]


def main() -> None:
    """Load, warm up, drive at one and at many requests, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", choices=["ids", "chat"], required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    began = time.monotonic()
    llm = LLM(**_arguments(asked.model, asked.device))
    chat: bool = asked.prompts == "chat"
    figures: dict[str, object] = {"vllm": vllm.__version__, "load_s": time.monotonic() - began}
    # What is measured so far stays when a later drive is ended by the time limit.
    asked.out.write_text(json.dumps(figures))
    many, long = (64, 256) if asked.device == "cuda" else (4, 16)
    prompts = _prompts(llm, asked.prompts, many)
    _drive(llm, prompts[:2], 8, chat=chat)
    for count, tokens in ((1, long // 2), (many, long)):
        _drive(llm, prompts[:count], 8, chat=chat)
        figures |= {
            f"c{count} {name}": value
            for name, value in _drive(llm, prompts[:count], tokens, chat=chat).items()
        }
        asked.out.write_text(json.dumps(figures))
    print(json.dumps(figures), flush=True)


def _arguments(model: Path, device: str) -> dict[str, object]:
    found: dict[str, object] = {
        "model": str(model),
        "dtype": "bfloat16",
        "quantization": "modelopt_fp4",
        "max_model_len": 2048 if device == "cuda" else 512,
        "max_num_seqs": 64 if device == "cuda" else 4,
        "enforce_eager": True,
        "language_model_only": True,
        "enable_prefix_caching": False,
        "disable_log_stats": False,
        "speculative_config": {"method": "mtp", "num_speculative_tokens": DRAFTS},
    }
    if device == "cuda":
        # FlashInfer's kernels are compiled at first use, by a compiler that may not be there.
        found |= {
            "additional_config": {"gdn_prefill_backend": "triton"},
            "gpu_memory_utilization": 0.6,
        }
    return found


def _prompts(llm: LLM, kind: str, count: int) -> Prompts:
    if kind == "ids":
        draw = random.Random(5)  # noqa: S311 - prompts, not secrets
        return [{"prompt_token_ids": [draw.randrange(10, ID_LIMIT) for _ in range(64)]} for _ in range(count)]
    rows = [json.loads(line) for line in (TINY / "prompts.jsonl").read_text().splitlines()]
    tokenizer = llm.get_tokenizer()
    found = []
    for number in range(count):
        row = rows[number % len(rows)]
        text = tokenizer.apply_chat_template(
            row["messages"],
            tools=row.get("tools"),
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=bool(row.get("thinking", False)),
        )
        found.append({"prompt_token_ids": tokenizer(text, add_special_tokens=False)["input_ids"]})
    return found


def _drive(llm: LLM, prompts: Prompts, tokens: int, *, chat: bool) -> dict[str, object]:
    """Ask ``prompts`` at once; the seconds are those of the whole batch."""
    wanted = SamplingParams(
        temperature=0.7,
        top_p=0.95,
        top_k=20,
        max_tokens=tokens,
        # A trained model drafts nonsense after its end. A random one has no end, and ids that
        # the tokenizer does not know.
        ignore_eos=not chat,
        detokenize=chat,
        seed=1,
    )
    before, began = _counters(llm), time.monotonic()
    replies = llm.generate(list(prompts), [wanted] * len(prompts), use_tqdm=False)
    seconds = time.monotonic() - began
    made = sum(len(reply.outputs[0].token_ids) for reply in replies)
    grown = {name: value - before.get(name, 0) for name, value in _counters(llm).items()}
    drafts, drafted, accepted = (
        grown.get(f"{PREFIX}{name}", 0) for name in ("drafts", "draft_tokens", "accepted_tokens")
    )
    return {
        "tokens": made,
        "tokens_per_s": made / seconds,
        "drafts": drafts,
        "draft_tokens": drafted,
        "accepted_tokens": accepted,
        "acceptance": accepted / drafted if drafted else 0.0,
        "acceptance_length": 1 + accepted / drafts if drafts else 0.0,
    }


def _counters(llm: LLM) -> dict[str, int]:
    return {
        metric.name: int(metric.value)
        for metric in llm.get_metrics()
        if metric.name.startswith(PREFIX) and hasattr(metric, "value")
    }


if __name__ == "__main__":
    main()
