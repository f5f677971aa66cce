"""How the tasks feel: widths, colours, interruption and help, wherever the output goes."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tasks

PROJECT = Path(__file__).resolve().parents[2]
INVOKE = str(Path(sys.executable).with_name("invoke"))
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
WIDTH = 100
SHOWN = (
    ("doctor",),
    ("runner-setup",),
    ("status",),
    ("release", "--version", "0.1.0", "--dry-run"),
    ("lock", "--recipe", "nobody"),
    ("init", "mine"),
)


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    return {**inherited, "GRAFTSMITH_STORE": str(tmp_path / "store"), **more}


def on_a_terminal(argv: tuple[str, ...], env: dict[str, str]) -> bytes:
    """Run a task on a terminal and return what it printed."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [INVOKE, *argv], cwd=PROJECT, env=env, stdin=subprocess.DEVNULL, stdout=child, stderr=child
    )
    os.close(child)
    said = b""
    while True:
        try:
            said += os.read(parent, 1 << 16)
        except OSError:  # the other side has closed
            break
    process.wait()
    os.close(parent)
    return said


@pytest.mark.parametrize("argv", SHOWN, ids=lambda argv: argv[0])
def test_through_a_pipe_lines_are_plain_and_fit(argv: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [INVOKE, *argv],
        cwd=PROJECT,
        env=environment(tmp_path, TERM="dumb"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert said and "\x1b" not in said and "Traceback" not in said
    wide = [line for line in said.splitlines() if len(line.rstrip()) > WIDTH and str(PROJECT) not in line]
    assert wide == []


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}], ids=str)
def test_a_terminal_that_wants_no_colours_gets_none(more: dict[str, str], tmp_path: Path) -> None:
    said = on_a_terminal(("doctor",), environment(tmp_path, **more))
    assert b"this machine, for tiny" in said
    assert [code for code in COLOUR.findall(said) if re.search(rb"\[3\d|\[9\d", code)] == []


def test_an_interruption_ends_within_two_seconds_and_says_how_to_go_on(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [INVOKE, "init", "mine", "--into", str(tmp_path / "lines")],
        cwd=PROJECT,
        env=environment(tmp_path),
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    assert b"Where draft head" in os.read(parent, 1 << 16), "it waits for an answer"
    time.sleep(0.5)  # a prompt is there a moment before the read that a signal breaks off
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    took = time.monotonic() - began
    said = os.read(parent, 1 << 16)
    os.close(parent)
    assert process.returncode == 9
    assert b"the same command continues" in said and b"Traceback" not in said
    assert took < 2
    assert not (tmp_path / "lines").exists()


def test_completion_names_the_tasks(tmp_path: Path) -> None:
    script = subprocess.run(
        [INVOKE, "--print-completion-script", "bash"], capture_output=True, text=True, check=True
    )
    assert "complete" in script.stdout
    named = subprocess.run(
        [INVOKE, "--complete", "--", "invoke "],
        cwd=PROJECT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(tasks.namespace.task_names) <= set(named.stdout.split())


def test_what_the_list_says_of_a_task_is_one_sentence() -> None:
    for name in tasks.namespace.task_names:
        first = (tasks.namespace[name].__doc__ or "").splitlines()[0]
        assert first.endswith(".") and len(first) <= 110, name
