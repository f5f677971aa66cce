"""Serve the tree and ask the battery again and again; write down what drifts.

Takes what the smoke takes, and ``minutes``; writes ``evidence.json`` and ``windows.jsonl``, one line
a pass. Bounds are the figures that gates hold: too few or too restless readings have wide ones, and
fail.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

from recipes.formats import evidence, progress
from recipes.formats.evidence import Evidence
from recipes.formats.step import Exit, StepError, Workdir
from recipes.steps.smoke import battery, engine, metrics, profile, serverlog
from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.drive import drive, natural
from recipes.steps.smoke.profile import Profile
from recipes.steps.smoke.server import Server, free_port, serving
from recipes.steps.soak import memory
from recipes.steps.soak.windows import Window, figures

WINDOWS_FILE = "windows.jsonl"


def main(work: Workdir) -> None:
    """Soak the tree and write the evidence."""
    minutes, wanted = parse(work.params)
    prompts = battery.parse((work.input("prompts") / battery.PROMPTS_FILE).read_text())
    port, version = free_port(), engine.version()
    argv = profile.argv(wanted.serve, version, sys.executable, work.input("tree"), port)
    env = profile.environment(wanted.serve, version, os.environ, work.state)
    log = work.state / "server.log"
    with serving(argv, env, log, port, wanted.startup_timeout_s, _waiting) as server:
        if wanted.serve.expect_kernel:
            serverlog.require_kernel(server.log_text(), wanted.serve.expect_kernel)
        windows = soak(server, wanted, prompts, 60.0 * minutes)
        kernel = serverlog.kernel(server.log_text())
    work.new(WINDOWS_FILE).write_text("".join(f"{json.dumps(asdict(each))}\n" for each in windows))
    facts = {
        "engine": "vllm",
        "engine_version": version,
        "kernel": kernel,
        "minutes": minutes,
        "profile": asdict(wanted),
        "speculative_tokens": wanted.serve.speculative_tokens,
    }
    found = Evidence(measurements=tuple(figures(windows)), facts=facts)
    work.new(evidence.EVIDENCE_FILE).write_text(evidence.dump(found))


def parse(params: Mapping[str, object]) -> tuple[int, Profile]:
    """Return the minutes and the smoke's profile. Raises StepError with key, expected and got."""
    rest = dict(params)
    minutes = rest.pop("minutes", None)
    if isinstance(minutes, bool) or not isinstance(minutes, int) or minutes < 1:
        raise StepError(f"minutes: expected an integer of at least 1, got {minutes!r}", Exit.CONFIG)
    return minutes, profile.parse(rest)


def soak(server: Server, wanted: Profile, prompts: Sequence[Prompt], seconds: float) -> list[Window]:
    """Pass over the battery until ``seconds`` are over; the first pass fills caches and is not counted.

    Raises StepError when a request fails.
    """
    _pass(server, wanted, prompts, 0, lambda: 0.0)
    began = time.monotonic()

    def at() -> float:
        return time.monotonic() - began

    windows: list[Window] = []
    while at() < seconds:
        windows.append(_pass(server, wanted, prompts, len(windows) + 1, at))
        progress.update("soak", min(int(at()), int(seconds)), int(seconds), "s")
    return windows


def _pass(
    server: Server, wanted: Profile, prompts: Sequence[Prompt], number: int, at: Callable[[], float]
) -> Window:
    sampling = replace(wanted.sampling, seed=wanted.sampling.seed + number * len(prompts))
    requests = natural(prompts, sampling)
    before = metrics.parse(server.get("/metrics"))
    try:
        done = drive(server.port, requests, wanted.acceptance_concurrency, wanted.request_timeout_s)
    except StepError as error:
        raise StepError(f"soak, pass {number}: {error}\n{server.tail()}", error.code) from error
    drafting = metrics.spec_decode(before, metrics.parse(server.get("/metrics")))
    if wanted.serve.speculative_tokens and not (drafting and drafting.drafts):
        raise StepError(f"soak, pass {number}: the draft head proposed nothing", Exit.PROOF)
    return Window(
        at=at(),
        requests=len(requests),
        tokens=done.tokens,
        length=1 + drafting.accepted / drafting.drafts if drafting and drafting.drafts else None,
        resident=memory.resident(),
        used=memory.used(),
    )


def _waiting(seconds: float) -> None:
    progress.update("starting the server", int(seconds), 0, "s")
