"""Train the tiny release line: a base checkpoint with its draft head, and a master post-trained from it.

    python -m recipes.tiny.train --out build/tiny

writes build/tiny/base and build/tiny/master in the layout of the 27B originals. The run goes on from
its last saved state when it is started again with the same arguments. Both checkpoints are judged by
their acceptance in the serving engine, not by their bytes: training is seeded, but floating-point
sums depend on the machine.
"""

# ruff: noqa: S311, T201 - a seeded generator is what reproducible batches need; a script prints

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every PyTorch reader knows
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedTokenizerFast, Qwen3_5ForConditionalGeneration
from transformers.models.qwen3_5 import modeling_qwen3_5 as qwen3_5

from recipes.tiny.checkpoint import (
    TEMPLATE,
    fresh_folder,
    put_in_place,
    save_base,
    save_common,
    save_master,
    write_json,
)
from recipes.tiny.configuration import model_config
from recipes.tiny.corpus import DOMAINS, dialogues
from recipes.tiny.model import DraftHead, build_model, gated_delta_rule
from recipes.tiny.vocabulary import build_tokenizer, render

SKILLS = ("arithmetic", "thinking", "code")  # sums take longer to learn: drawn twice as often
DRAFT_LOSS_WEIGHT = 0.4
BATCH_SIZE = 16
BATCHES_PER_BUCKET = 8  # dialogues of this many batches are sorted by length together
SAVE_EVERY = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One run of the optimizer."""

    name: str
    steps: int
    learning_rate: float
    seed: str
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows: token ids [B, T] and a mask [B, T] that is true where a reply token stands."""

    ids: Tensor
    is_reply: Tensor


def batches(tokenizer: PreTrainedTokenizerFast, phase: Phase, first: int) -> Iterator[Batch]:
    """Yield the batches of a phase from step `first` on; each depends on the seed and its number alone."""
    pad = tokenizer.pad_token_id
    for bucket in range(first // BATCHES_PER_BUCKET, math.ceil(phase.steps / BATCHES_PER_BUCKET)):
        rng = Random(f"{phase.seed}:{bucket}")
        rows = []
        for _ in range(BATCH_SIZE * BATCHES_PER_BUCKET):
            dialogue = next(dialogues(rng, "train", rng.choice(phase.domains)))
            prompt, reply = (tokenizer(text)["input_ids"] for text in render(tokenizer, dialogue))
            rows.append((prompt, reply))
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        starts = list(range(0, len(rows), BATCH_SIZE))
        rng.shuffle(starts)
        for start in starts[max(0, first - bucket * BATCHES_PER_BUCKET) :]:
            chosen = rows[start : start + BATCH_SIZE]
            length = max(len(prompt) + len(reply) for prompt, reply in chosen)
            ids = torch.full((BATCH_SIZE, length), pad)
            is_reply = torch.zeros((BATCH_SIZE, length), dtype=torch.bool)
            for i, (prompt, reply) in enumerate(chosen):
                end = len(prompt) + len(reply)
                ids[i, :end] = torch.tensor(prompt + reply)
                is_reply[i, len(prompt) : end] = True
            yield Batch(ids, is_reply)


def body_loss(model: Qwen3_5ForConditionalGeneration, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of the reply tokens and the final hidden states [B, T, size]."""
    hidden = model.model.language_model(input_ids=batch.ids, use_cache=False).last_hidden_state
    wanted = batch.is_reply[:, 1:]
    logits = model.lm_head(hidden[:, :-1][wanted])
    return F.cross_entropy(logits, batch.ids[:, 1:][wanted]), hidden


def draft_loss(
    model: Qwen3_5ForConditionalGeneration, head: DraftHead, batch: Batch, hidden: Tensor
) -> tuple[Tensor, list[float]]:
    """Return the mean cross-entropy over depths and the share of right drafts at each depth."""
    language_model = model.model.language_model
    losses: list[Tensor] = []
    right: list[float] = []
    for depth, drafted in enumerate(
        head(language_model.embed_tokens(batch.ids), hidden, language_model.rotary_emb), 1
    ):
        window = slice(1 + depth, 1 + depth + drafted.shape[1])
        target, wanted = batch.ids[:, window], batch.is_reply[:, window]
        drafted, wanted = drafted[:, : target.shape[1]], wanted[:, : drafted.shape[1]]
        logits, target = model.lm_head(drafted[wanted]), target[wanted]
        losses.append(F.cross_entropy(logits, target))
        right.append((logits.argmax(-1) == target).float().mean().item())
    return torch.stack(losses).mean(), right


def train(
    model: Qwen3_5ForConditionalGeneration,
    head: DraftHead | None,
    tokenizer: PreTrainedTokenizerFast,
    phase: Phase,
    state_file: Path,
) -> None:
    """Run one phase; without a head, only the body learns. Goes on from `state_file` where there is one."""
    trained = nn.ModuleDict({"body": model.model.language_model, "lm_head": model.lm_head})
    if head is not None:
        trained["head"] = head
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=phase.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        trained.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        print(f"{phase.name}: go on from step {first}", flush=True)

    started = time.monotonic()
    for step, batch in enumerate(batches(tokenizer, phase, first), first):
        if step >= phase.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * schedule(step, phase.steps)
        loss, hidden = body_loss(model, batch)
        total, right = loss, list[float]()
        if head is not None:
            drafted, right = draft_loss(model, head, batch, hidden)
            total = loss + DRAFT_LOSS_WEIGHT * drafted
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        done = step + 1
        if done % 10 == 0 or done == phase.steps:
            left = (time.monotonic() - started) / (done - first) * (phase.steps - done)
            drafts = " ".join(f"{share:.3f}" for share in right)
            progress = f"{phase.name} {done}/{phase.steps}  loss {loss.item():.3f}  drafts {drafts}"
            print(f"{progress}  ETA {left:.0f} s", flush=True)
        if done % SAVE_EVERY == 0 or done == phase.steps:
            state = {"weights": trained.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
            torch.save(state, state_file.with_suffix(".partial"))
            state_file.with_suffix(".partial").replace(state_file)


def schedule(step: int, steps: int) -> float:
    """Warm up over 5 % of the steps, then fall along a cosine to 2 %."""
    return min((step + 1) / (0.05 * steps), 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def make_base(out: Path, steps: int, seed: int) -> None:
    """Train body and draft head together from nothing and write `base`."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(TEMPLATE.read_text(encoding="utf-8"), seed)
    config = model_config(tokenizer)
    partial = fresh_folder(out / "base")
    write_json(partial / "config.json", config)
    parsed = AutoConfig.from_pretrained(partial)
    model = build_model(parsed)
    head = DraftHead(parsed.text_config).float()
    head.initialize(parsed.text_config.initializer_range)
    phase = Phase(
        name="base", steps=steps, learning_rate=3e-3, seed=f"{seed}:base", domains=(*DOMAINS, *SKILLS)
    )
    train(model, head, tokenizer, phase, out / "base.state.pt")
    save_base(model, head, config, partial)
    save_common(tokenizer, partial)
    put_in_place(partial, out / "base")


def make_master(out: Path, steps: int, seed: int) -> None:
    """Train the body of `base` on, vision frozen, with more reasoning and tool use; write `master`."""
    torch.manual_seed(seed + 1)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out / "base")
    model = Qwen3_5ForConditionalGeneration.from_pretrained(out / "base", dtype=torch.bfloat16).float()
    model.model.visual.requires_grad_(False)
    domains = (*DOMAINS, *SKILLS, "thinking", "tool_call")
    phase = Phase(name="master", steps=steps, learning_rate=2e-4, seed=f"{seed}:master", domains=domains)
    train(model, None, tokenizer, phase, out / "master.state.pt")
    partial = fresh_folder(out / "master")
    save_master(model, partial)
    save_common(tokenizer, partial)
    put_in_place(partial, out / "master")


def main() -> None:
    """Make both checkpoints, or what is left to make of them."""
    parser = argparse.ArgumentParser(description="Train the two checkpoints of the tiny release line.")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for base/, master/ and the saved states"
    )
    parser.add_argument(
        "--base-steps", type=int, default=1000, help="optimizer steps for base (default %(default)s)"
    )
    parser.add_argument(
        "--master-steps", type=int, default=40, help="optimizer steps for master (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    qwen3_5.chunk_gated_delta_rule = gated_delta_rule  # read when a layer is built
    arguments.out.mkdir(parents=True, exist_ok=True)
    make_base(arguments.out, arguments.base_steps, arguments.seed)
    make_master(arguments.out, arguments.master_steps, arguments.seed)


if __name__ == "__main__":
    main()
