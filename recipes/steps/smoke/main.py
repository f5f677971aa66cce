"""Serve the tree, ask the battery, measure acceptance and throughput.

Takes ``tree`` (a release tree with its draft head), ``prompts`` and, where the recipe names
them, ``checks``; writes ``evidence.json`` and ``replies.jsonl``, one line per reply of the acceptance drive:
what was said, for people, and how many drafts it took, for a paired bootstrap.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from recipes.formats import evidence, progress
from recipes.formats.evidence import Evidence, Measurement
from recipes.formats.step import Exit, StepError, Workdir
from recipes.steps.smoke import (
    battery,
    boot,
    checks,
    engine,
    figures,
    fitness,
    metrics,
    profile,
    roofline,
    serverlog,
    throughput,
)
from recipes.steps.smoke.alone import drive_alone
from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.checks import Asking, Verdict
from recipes.steps.smoke.drive import Drive, Reply, drive, fixed_length, natural
from recipes.steps.smoke.fitness import Probe
from recipes.steps.smoke.metrics import Drafting, Reading
from recipes.steps.smoke.profile import MODEL_NAME, Profile
from recipes.steps.smoke.sampling import pinned
from recipes.steps.smoke.server import Server, free_port, serving
from recipes.steps.smoke.throughput import Bench

REPLIES_FILE = "replies.jsonl"
WARMUP_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A drive between two readings of the server's counters."""

    drive: Drive
    before: Reading
    after: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What one server showed beside its speed."""

    measurements: tuple[Measurement, ...]
    facts: Mapping[str, object]


def main(work: Workdir) -> None:
    """Measure the tree and write the evidence."""
    wanted = profile.parse(work.params)
    prompts = battery.parse((work.input("prompts") / battery.PROMPTS_FILE).read_text())
    probes = [_probe(work)]
    answered: Answered | None = None
    boots: list[list[Measurement]] = []
    for number in range(1, wanted.boots + 1):
        with _served(wanted, work, number) as server:
            _require_kernel(server, wanted)
            _warm_up(server, wanted, prompts)
            answered = answered or _answer(server, wanted, prompts, work)
            boots.append(_throughput(server, wanted, prompts, work))
        probes.append(_probe(work))
        fitness.require(wanted.fitness, probes)
    assert answered is not None, "a profile has at least one boot"
    speed = boot.combined(boots)
    share, limit = roofline.of_stream(work.input("tree"), wanted.serve, speed, fitness.bandwidth(probes))
    found = Evidence(
        measurements=(*answered.measurements, *speed, *share, *fitness.figures(wanted.fitness, probes)),
        facts={
            **answered.facts,
            **limit,
            "boots": [[asdict(figure) for figure in figures] for figures in boots],
            "fitness": fitness.facts(wanted.fitness, probes),
        },
    )
    work.new(evidence.EVIDENCE_FILE).write_text(evidence.dump(found))


@contextmanager
def _served(wanted: Profile, work: Workdir, number: int) -> Iterator[Server]:
    """Start the server for the ``number``-th time; each start has a log of its own."""
    port, version = free_port(), engine.version()
    argv = profile.argv(wanted.serve, version, sys.executable, work.input("tree"), port)
    env = profile.environment(wanted.serve, version, os.environ, work.state)
    log = work.state / ("server.log" if number == 1 else f"server-{number}.log")
    with serving(argv, env, log, port, wanted.startup_timeout_s, _waiting) as server:
        yield server


def _probe(work: Workdir) -> Probe:
    progress.update("probing the machine")
    return fitness.measure(sys.executable, os.environ, work.state / "probe.log")


def _require_kernel(server: Server, wanted: Profile) -> None:
    if wanted.serve.expect_kernel:
        serverlog.require_kernel(server.log_text(), wanted.serve.expect_kernel)


def _answer(server: Server, wanted: Profile, prompts: Sequence[Prompt], work: Workdir) -> Answered:
    alone = profile.drafts_untold(wanted.serve, engine.version())
    answered = _accept(server, wanted, prompts, alone=alone, kept=work.state / REPLIES_FILE)
    work.new(REPLIES_FILE).write_text(_replies(answered.drive))
    checked = _check(server, wanted, work)
    return Answered(
        measurements=(
            figures.ready(server.ready_s),
            figures.stop_rate(answered.drive.replies),
            *_acceptance(answered, wanted),
            *checks.failures(checked),
        ),
        facts={
            **_facts(server, wanted, answered),
            **_counted(answered, wanted),
            "asked_one_at_a_time": alone,
            "checks": [asdict(verdict) for verdict in checked],
        },
    )


def _warm_up(server: Server, wanted: Profile, prompts: Sequence[Prompt]) -> None:
    count = wanted.acceptance_concurrency
    requests = fixed_length(prompts, wanted.sampling, count, WARMUP_TOKENS)
    with _named("warm-up", server):
        drive(server.port, requests, count, wanted.request_timeout_s, _telling("warm-up", count))


def _accept(
    server: Server, wanted: Profile, prompts: Sequence[Prompt], *, kept: Path, alone: bool = False
) -> Measured:
    """Ask the battery; each reply is in ``kept`` as it comes, for a look when a later one fails."""
    requests = natural(prompts, wanted.sampling)
    kept.unlink(missing_ok=True)
    told = _telling("acceptance", len(requests), kept)

    def ask() -> Drive:
        if alone:
            return drive_alone(server, requests, wanted.request_timeout_s, told)
        return drive(server.port, requests, wanted.acceptance_concurrency, wanted.request_timeout_s, told)

    with _named("acceptance", server):
        return _between(server, ask)


def _acceptance(answered: Measured, wanted: Profile) -> list[Measurement]:
    """Return what the draft head achieved; nothing when none was asked for."""
    if not wanted.serve.speculative_tokens:
        return []
    drafting = _drafting(answered)
    replies = answered.drive.replies
    figures.agreement(drafting, replies)
    return [*figures.acceptance(drafting, replies), *figures.acceptance_by_domain(replies)]


def _counted(answered: Measured, wanted: Profile) -> Mapping[str, object]:
    """Return the counts behind the acceptance, and how far they are from the replies' tokens."""
    if not wanted.serve.speculative_tokens:
        return {}
    drafting = _drafting(answered)
    off = figures.discrepancy(drafting, answered.drive, wanted.serve.speculative_tokens)
    return {"drafting": asdict(drafting), "token_count_discrepancy": off}


def _drafting(answered: Measured) -> Drafting:
    drafting = metrics.spec_decode(answered.before, answered.after)
    if drafting is None:
        raise StepError(
            "a draft head was asked for, but /metrics has no vllm:spec_decode_* counters: the server runs "
            "without speculative decoding, or this version names them otherwise",
            Exit.PROOF,
        )
    return drafting


def _throughput(
    server: Server, wanted: Profile, prompts: Sequence[Prompt], work: Workdir
) -> list[Measurement]:
    at = Bench(
        python=sys.executable,
        tree=work.input("tree"),
        port=server.port,
        folder=work.state / "bench",
        request_timeout_s=wanted.request_timeout_s,
    )
    loads = ", ".join(str(load.concurrency) for load in wanted.throughput)
    progress.update(f"throughput at {loads}")
    try:
        return throughput.measure(at, wanted.sampling, wanted.throughput, prompts)
    except StepError as error:
        raise StepError(f"{error}\n{server.tail()}", error.code) from error


def _check(server: Server, wanted: Profile, work: Workdir) -> list[Verdict]:
    """Ask what the card says of the API; not measured where the recipe names no checks."""
    file = work.input("checks") / checks.CHECKS_FILE
    if not file.is_file():
        return checks.unmeasured("the recipe names no checks")
    progress.update("functional checks")
    # vLLM's CPU build ends when a seeded request's prompt is split over two steps, as a batch of
    # prompts with tools is. No verdict rests on a seed.
    unseeded = {name: value for name, value in pinned(wanted.sampling, 0).items() if name != "seed"}
    asking = Asking(
        port=server.port,
        timeout_s=wanted.request_timeout_s,
        concurrency=wanted.acceptance_concurrency,
        pinned={"model": MODEL_NAME, **unseeded},
        serve=wanted.serve,
    )
    return checks.run(asking, checks.parse(file.read_text()))


def _between(server: Server, run: Callable[[], Drive]) -> Measured:
    before = metrics.parse(server.get("/metrics"))
    finished = run()
    return Measured(drive=finished, before=before, after=metrics.parse(server.get("/metrics")))


@contextmanager
def _named(name: str, server: Server) -> Iterator[None]:
    """Let an error say in which drive it came up, and how the server's log ends."""
    try:
        yield
    except StepError as error:
        raise StepError(f"{name}: {error}\n{server.tail()}", Exit.BUILD) from error


def _telling(name: str, total: int, kept: Path | None = None) -> Callable[[int, Reply], None]:
    """Return what is called with the number of replies so far and the last one, and keeps it."""

    def told(count: int, reply: Reply) -> None:
        progress.update(name, count, total, "requests")
        if kept is not None:
            with kept.open("a") as file:
                file.write(_line(reply))

    return told


def _facts(server: Server, wanted: Profile, answered: Measured) -> Mapping[str, object]:
    log = server.log_text()
    return {
        "engine": "vllm",
        "engine_version": json.loads(server.get("/version"))["version"],
        "flags": profile.flags(wanted.serve, engine.version()),
        "kernel": serverlog.kernel(log),
        "log_warnings": serverlog.doubts(log),
        "profile": asdict(wanted),
        "prompts": len(answered.drive.replies),
        "reply_tokens": answered.drive.tokens,
        "speculative_tokens": wanted.serve.speculative_tokens,
    }


def _replies(finished: Drive) -> str:
    return "".join(map(_line, finished.replies))


def _line(reply: Reply) -> str:
    return f"{json.dumps(asdict(reply), sort_keys=True)}\n"


def _waiting(seconds: float) -> None:
    progress.update("starting the server", int(seconds), 0, "s")
