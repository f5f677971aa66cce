"""A server that fails in the middle: a clear error, nothing left running, and what it said kept."""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from recipes.formats.step import StepError, Workdir
from recipes.steps.smoke import main, profile
from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.server import Server, free_port, serving
from tests.unit.steps_smoke.test_profile import params

STUB = Path(__file__).with_name("stub.py")
PROMPTS = [
    Prompt(id=f"p{n}", domain="prose", messages=[{"role": "user", "content": f"say {n}"}]) for n in range(24)
]


def smoke(mode: str, root: Path, **changes: Any) -> Server:
    """Drive the stub as the step does, up to the replies; return the server that it was."""
    for folder in ("in", "out", "state"):
        (root / folder).mkdir()
    wanted = params()
    wanted["serve"] |= {"expect_kernel": None}
    wanted |= {"request_timeout_s": 3, **changes}
    parsed, port = profile.parse(wanted), free_port()
    argv = [sys.executable, "-I", str(STUB), str(port), mode]
    with serving(argv, os.environ, root / "state" / "server.log", port, 20.0) as server:
        main._warm_up(server, parsed, PROMPTS[:4]) if mode == "well" else None
        kept = root / "state" / main.REPLIES_FILE
        answered = main._accept(server, parsed, PROMPTS, alone=mode == "untold", kept=kept)
        main._acceptance(answered, parsed)
        work = Workdir(root)
        work.new(main.REPLIES_FILE).write_text(main._replies(answered.drive))
    return server


@pytest.mark.timeout(60)
def test_a_server_that_answers_well_is_measured(tmp_path: Path) -> None:
    smoke("well", tmp_path)
    assert len((tmp_path / "out" / "replies.jsonl").read_text().splitlines()) == len(PROMPTS)


@pytest.mark.timeout(60)
def test_an_older_server_is_asked_one_at_a_time_and_its_replies_have_their_drafts(tmp_path: Path) -> None:
    smoke("untold", tmp_path)
    replies = [json.loads(line) for line in (tmp_path / "out" / "replies.jsonl").read_text().splitlines()]
    assert [reply["drafts"] for reply in replies] == [{"drafts": 5, "draft_tokens": 10, "accepted": 8}] * 24


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("dies", r"(?s)the server died with exit code 139 while it was measured: .*illegal memory access"),
        ("hangs", r"(?s)acceptance: request p\d+ failed: TimeoutError.*void"),
        ("no-metrics", r"the server answered 404 on /metrics"),
        ("plain", r"/metrics has no vllm:spec_decode_\* counters"),
    ],
)
def test_a_server_that_fails_in_the_middle_is_told_and_gone(tmp_path: Path, mode: str, says: str) -> None:
    began = time.monotonic()
    with pytest.raises(StepError, match=says):
        smoke(mode, tmp_path)
    assert time.monotonic() - began < 45
    assert not _running(str(STUB), str(tmp_path)), "no orphan"
    assert "loaded" in (tmp_path / "state" / "server.log").read_text(), "what it said is kept"
    answered = (tmp_path / "state" / main.REPLIES_FILE).read_text().splitlines()
    assert (
        len(answered) == len(PROMPTS)
        if mode in ("no-metrics", "plain")
        else 1 <= len(answered) < len(PROMPTS)
    )
    assert json.loads(answered[0])["text"] == "So it is.", "and so is what came before"


@pytest.mark.timeout(60)
def test_a_server_that_is_killed_is_told_by_its_signal(tmp_path: Path) -> None:
    def kill() -> None:
        while not (found := _running(str(STUB))):
            time.sleep(0.05)
        time.sleep(1.5)
        for pid in found:
            os.kill(pid, 9)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(StepError, match="the server was ended by signal 9 while it was measured"):
        smoke("hangs", tmp_path, request_timeout_s=30)
    thread.join()


def _running(*words: str) -> list[int]:
    """Return the children of this process whose command line starts the stub."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
            if words[0] in command:
                found.append(int(pid))
    return found
