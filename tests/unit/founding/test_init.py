"""``invoke init`` as a user types it: what it writes plans at once, and it overwrites nothing."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from release.errors import UsageError
from release.founding.init import found
from release.report.terminal import Terminal

PROJECT = Path(__file__).resolve().parents[3]
INVOKE = str(Path(sys.executable).with_name("invoke"))
TINY = PROJECT / "recipes" / "tiny"
FLAGS = {
    "--base": str(TINY / "base"),
    "--master": str(TINY / "master"),
    "--namespace": "me",
    "--base-repo": "graftsmith/tiny-base",
    "--base-license": "Apache-2.0",
    "--base-copyright": 'the "graftsmith" authors \\ ©',
    "--variant": "cpu",
}

ANSWERS = {flag[2:].replace("-", "_"): value for flag, value in FLAGS.items()}


def invoke(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [INVOKE, *arguments],
        cwd=PROJECT,
        env={**os.environ, "GRAFTSMITH_STORE": str(tmp_path / "store")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def init(tmp_path: Path, name: str = "mine", **changes: str | None) -> "subprocess.CompletedProcess[str]":
    given = {**FLAGS, **{f"--{key.replace('_', '-')}": value for key, value in changes.items()}}
    flags = [word for flag, value in given.items() if value is not None for word in (flag, value)]
    return invoke(tmp_path, "init", name, *flags, "--into", str(tmp_path / "lines"))


def test_a_line_of_local_checkpoints_plans_at_once(tmp_path: Path) -> None:
    done = init(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "base: 4 layers (3 of linear, 1 of full attention)" in done.stdout
    home = str(tmp_path / "lines" / "mine")
    plan = invoke(tmp_path, "release", "--recipe", home, "--version", "0.1.0", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "\ncalibrate " in plan.stdout and "31 Linears packed" in plan.stdout
    assert "unresolved" not in plan.stdout


def test_a_line_of_checkpoints_on_a_hub_plans_and_says_what_is_unresolved(tmp_path: Path) -> None:
    done = init(
        tmp_path,
        base="hub:Qwen/Qwen3.6-27B",
        master="hub:me/model@v1",
        base_repo=None,
        variant=None,
        linear_attention="bf16",
    )
    assert done.returncode == 0, done.stderr
    home = str(tmp_path / "lines" / "mine")
    plan = invoke(tmp_path, "release", "--recipe", home, "--version", "0.1.0", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "source base: hub:Qwen/Qwen3.6-27B@main" in plan.stdout
    assert f"invoke lock --recipe {home} --update master" in plan.stdout
    recipe = (tmp_path / "lines" / "mine" / "recipe.toml").read_text()
    assert 'in_proj_ab = "bf16"' in recipe, "the gates are a part of linear attention"


def test_a_release_refuses_what_nobody_filled_in_and_a_draft_shows_it(tmp_path: Path) -> None:
    init(tmp_path)
    home = str(tmp_path / "lines" / "mine")
    done = invoke(tmp_path, "release", "--recipe", home, "--version", "0.1.0", "--hub", str(tmp_path / "hub"))
    assert done.returncode == 3
    assert "card.summary" in done.stderr and "card.datasets[0].name" in done.stderr
    assert not (tmp_path / "hub").exists()


def test_without_a_terminal_what_is_missing_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    done = init(tmp_path, namespace=None, base_license=None)
    assert done.returncode == 2
    assert "--namespace" in done.stderr and "--base-license" in done.stderr
    assert "--master" not in done.stderr
    assert not (tmp_path / "lines").exists()


def test_a_name_that_is_taken_stays_as_it_is(tmp_path: Path) -> None:
    taken = tmp_path / "lines" / "mine"
    taken.mkdir(parents=True)
    (taken / "recipe.toml").write_text("theirs")
    done = init(tmp_path)
    assert done.returncode == 8
    assert (taken / "recipe.toml").read_text() == "theirs"
    assert invoke(tmp_path, "init", "tiny").returncode == 8


@pytest.mark.parametrize(
    "name", ["../out", "a/b", "/abs", "..", "-rf", ".hidden", "a b", "a\nb", "x;rm", "ü", "n" * 97]
)
def test_a_hostile_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a repo name"):
        found(name, ANSWERS, Terminal(), thinking=True, into=tmp_path / "lines")
    assert not (tmp_path / "lines").exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("base_copyright", 'x"\n[evil]\na = "', "one line of printable text"),
        ("namespace", "../etc", "is not a repo name"),
        ("base", "Qwen/Qwen3.6-27B", "hub:Qwen/Qwen3.6-27B@main"),
        ("base", "hub:Qwen/../x@main", "--base: expected hub:OWNER/NAME"),
        ("variant", "cuda", "--variant: expected gb10 or cpu"),
        ("activations", "fp8", "activations: expected 'nvfp4' or 'bf16'"),
        ("base_repo", "one", "is not a repo name"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(key: str, value: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        found("mine", {**ANSWERS, key: value}, Terminal(), thinking=True, into=tmp_path / "lines")
    assert words in str(refused.value)
    assert not (tmp_path / "lines").exists()


def test_another_architecture_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(TINY / "master", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    done = init(tmp_path, master=str(other))
    assert done.returncode == 3
    assert "model_type: expected qwen3_5" in done.stderr and "'llama'" in done.stderr
    assert not (tmp_path / "lines").exists()


def test_a_base_without_a_draft_head_is_refused(tmp_path: Path) -> None:
    done = init(tmp_path, base=str(TINY / "master"))
    assert done.returncode == 3
    assert "it has no draft head: mtp.fc.weight" in done.stderr


def test_a_model_that_does_not_think_is_not_asked_to(tmp_path: Path) -> None:
    flags = [word for flag in {**FLAGS, "--variant": "gb10"}.items() for word in flag]
    done = invoke(tmp_path, "init", "mine", *flags, "--no-thinking", "--into", str(tmp_path / "lines"))
    assert done.returncode == 0, done.stderr
    home = tmp_path / "lines" / "mine"
    rows = [json.loads(line) for line in (home / "prompts.jsonl").read_text().splitlines()]
    assert rows and not any(row["thinking"] for row in rows)
    assert 'reasoning_parser = ""' in (home / "recipe.toml").read_text()


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    answers = ["", "hub:Qwen/Qwen3.6-27B", "hub:me/model", "me", "Apache-2.0", "© the makers", "", "", "", ""]
    os.write(parent, "".join(f"{answer}\n" for answer in answers).encode())
    process = subprocess.Popen(
        [INVOKE, "init", "mine", "--into", str(tmp_path / "lines")],
        cwd=PROJECT,
        env={**os.environ, "GRAFTSMITH_STORE": str(tmp_path / "store"), "TERM": "dumb"},
        stdin=child,
        stdout=child,
        stderr=child,
    )
    os.close(child)
    said = b""
    while process.poll() is None or select.select([parent], [], [], 0)[0]:
        try:
            said += os.read(parent, 4096)
        except OSError:  # the last of the other side has closed
            break
    os.close(parent)
    assert process.wait() == 0, said.decode()
    assert "this one has no default" in said.decode()
    assert (tmp_path / "lines" / "mine" / "recipe.lock").is_file()
