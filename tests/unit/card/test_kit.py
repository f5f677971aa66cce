"""The files that users serve with: what each switch does, and that each file is valid for its reader."""

import functools
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from recipes.formats.params import Table
from recipes.formats.serving.profile import parse_serve
from recipes.formats.serving.vllm import compile_vllm
from release.allowlist import KIT, allowed
from release.card.kit import FILES, FOLDER
from release.card.step import CARD as STEP
from release.digest import Json
from release.errors import ConfigError
from tests.unit.card.inputs import CARD, SERVE, Case, params, write

TOOLS = Path(sys.executable).parent
KINDS = ("nvfp4", "master")
LANGUAGE_ONLY = "--language-model-only"
ANALYZE = shutil.which("systemd-analyze")

STUB = """#!/bin/bash
printf '%s\\n' "$@"
echo "key=${VLLM_API_KEY-unset} arch=$TORCH_CUDA_ARCH_LIST"
"""
EATER = """import sys, time
held = bytearray(int(sys.argv[1]))
held[::4096] = b"x" * len(held[::4096])
time.sleep(60)
"""


@functools.cache
def rendered(kind: str) -> Mapping[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return render(Path(folder), kind, {})


def render(root: Path, kind: str, changes: Mapping[str, Json]) -> Mapping[str, bytes]:
    card: Json = {**CARD, "serve_env": {"TORCH_CUDA_ARCH_LIST": "12.1a"}}
    return STEP.function(Case().write(root), {**params(kind), "card": card, **changes}).new


def release(root: Path, kind: str = "nvfp4", **changes: Json) -> Path:
    """Write the files of a card into a folder as a user downloads them."""
    new = rendered(kind) if not changes else render(root / "in", kind, changes)
    for path, data in new.items():
        write(root / "model" / path, data.decode())
    write(root / "model/config.json", "{}")
    return root / "model"


def serve(model: Path, *flags: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run serve.sh with a vllm that prints what it was given."""
    stub = model.parent / "bin" / "vllm"
    write(stub, STUB)
    stub.chmod(0o755)
    return subprocess.run(
        ["bash", str(model / FOLDER / "serve.sh"), *flags],
        env={"PATH": f"{stub.parent}:/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_serves_with_the_flags_that_were_measured(kind: str, tmp_path: Path) -> None:
    ran = serve(release(tmp_path, kind))
    assert ran.returncode == 0, ran.stderr
    profile = SERVE if kind == "nvfp4" else {**SERVE, "quantization": None, "expect_kernel": None}
    measured = compile_vllm(parse_serve(Table("serve", profile)), "0.32.0").flags
    said = ran.stdout.splitlines()
    assert said[:2] == ["serve", str(tmp_path / "model")]
    assert set(measured) <= set(said)
    assert {"--host=127.0.0.1", "--port=8000"} <= set(said)
    assert "arch=12.1a" in said[-1]


@pytest.mark.parametrize(("vision", "left_out"), [(None, True), ("0", True), ("1", False)])
def test_enable_vision_serves_the_tower(vision: str | None, left_out: bool, tmp_path: Path) -> None:
    ran = serve(release(tmp_path), **({} if vision is None else {"ENABLE_VISION": vision}))
    assert (LANGUAGE_ONLY in ran.stdout.splitlines()) is left_out


def test_a_profile_with_vision_can_be_served_without(tmp_path: Path) -> None:
    seen: dict[str, Json] = {
        "serve": {**SERVE, "language_model_only": False},
        "sampling": {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1, "max_tokens": 1},
    }
    inputs = Case().write(tmp_path / "in")
    new = STEP.function(
        {name: inputs[name] for name in inputs if not name.startswith("smoke")},
        {**params("nvfp4"), "draft": True, "profile": seen},
    ).new
    write(tmp_path / "model/serve/serve.sh", new["serve/serve.sh"].decode())
    write(tmp_path / "model/serve/watchdog.sh", new["serve/watchdog.sh"].decode())
    write(tmp_path / "model/config.json", "{}")
    assert LANGUAGE_ONLY not in serve(tmp_path / "model").stdout
    assert LANGUAGE_ONLY in serve(tmp_path / "model", ENABLE_VISION="0").stdout


@pytest.mark.parametrize(
    ("env", "host"),
    [
        ({}, "127.0.0.1"),
        ({"VLLM_API_KEY": ""}, "127.0.0.1"),
        ({"HOST": "localhost"}, "localhost"),
        ({"VLLM_API_KEY": "k"}, "0.0.0.0"),  # noqa: S104 - what a key opens
        ({"VLLM_API_KEY": "k", "HOST": "10.0.0.1"}, "10.0.0.1"),
    ],
)
def test_only_a_key_opens_the_machine(env: dict[str, str], host: str, tmp_path: Path) -> None:
    ran = serve(release(tmp_path), "--host=0.0.0.0", **env)
    hosts = [line for line in ran.stdout.splitlines() if line.startswith("--host")]
    assert hosts[-1] == f"--host={host}", "vLLM takes the last one"
    # The key is told by the environment, where no list of processes shows it.
    assert ran.stdout.splitlines()[-1].startswith(f"key={env.get('VLLM_API_KEY') or 'unset'} ")
    assert "--api-key" not in ran.stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "127.evil.example", "::"])  # noqa: S104
def test_without_a_key_another_host_is_refused(host: str, tmp_path: Path) -> None:
    ran = serve(release(tmp_path), HOST=host)
    assert ran.returncode == 2
    assert "without VLLM_API_KEY" in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ENABLE_VISION": "yes"}, "expected 0 or 1"),
        ({"PORT": "http"}, "expected a number"),
        ({"MODEL": "/nowhere"}, "holds no config.json"),
        ({"PATH": "/usr/bin:/bin"}, "install vLLM 0.32.0"),
    ],
)
def test_what_cannot_be_served_says_why(env: dict[str, str], words: str, tmp_path: Path) -> None:
    ran = serve(release(tmp_path), **env)
    assert ran.returncode == 2
    assert words in ran.stderr


def watch(model: Path, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", str(model / FOLDER / "watchdog.sh"), *command],
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=50,
    )


def available_mib() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("MemAvailable:"))


def ends(pid: int) -> bool:
    """Tell whether a process ends: one that held gigabytes takes a moment to give them back."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(100):
        # A process that nobody has asked how it ended is a zombie.
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
            return True
        time.sleep(0.1)
    return False


def test_the_watchdog_ends_what_eats_memory_and_its_children(tmp_path: Path) -> None:
    model, pid = release(tmp_path), tmp_path / "pid"
    eat = f"{sys.executable} -c '{EATER}' {3 << 29} & echo $! > {pid}; wait"
    ran = watch(model, "bash", "-c", eat, FLOOR_MIB=str(available_mib() - 512))
    assert ran.returncode == 137, ran.stderr
    assert "MiB are available, and the floor while serving is" in ran.stderr
    assert ends(int(pid.read_text()))


def test_what_stays_above_the_floor_ends_with_its_own_code(tmp_path: Path) -> None:
    model = release(tmp_path)
    quiet = {"FLOOR_MIB": "1", "SWAP_GROWTH_MIB": "999999", "PRESSURE_PERCENT": "100"}
    assert watch(model, "bash", "-c", "exit 7", **quiet).returncode == 7
    assert watch(model, **quiet).returncode == 2


def test_the_floor_rises_once_the_server_answers(tmp_path: Path) -> None:
    """Below the floor of serving and above that of loading: the server lives until it answers."""
    model = release(tmp_path)
    floors = {"FLOOR_MIB": str(available_mib() * 4), "STARTUP_FLOOR_MIB": "1", "PRESSURE_PERCENT": "100"}
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
        loading = watch(model, "sleep", "1", PORT=port, SWAP_GROWTH_MIB="999999", **floors)
        assert loading.returncode == 0, loading.stderr
        server.listen()
        serving = watch(model, "sleep", "30", PORT=port, SWAP_GROWTH_MIB="999999", **floors)
    assert serving.returncode == 137
    assert "while serving" in serving.stderr


def test_who_stops_the_watchdog_stops_the_server(tmp_path: Path) -> None:
    model = release(tmp_path)
    script = str(model / FOLDER / "watchdog.sh")
    env = {"PATH": "/usr/bin:/bin", "FLOOR_MIB": "1", "SWAP_GROWTH_MIB": "999999", "PRESSURE_PERCENT": "100"}
    child = tmp_path / "pid"
    guard = subprocess.Popen(["bash", script, "bash", "-c", f"echo $$ > {child}; exec sleep 60"], env=env)
    while not (child.exists() and child.read_text().strip()):
        assert guard.poll() is None
    guard.terminate()
    assert guard.wait(timeout=20) == 143
    assert ends(int(child.read_text()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_script_passes_shellcheck(kind: str, tmp_path: Path) -> None:
    scripts = sorted((release(tmp_path, kind) / FOLDER).glob("*.sh"))
    assert len(scripts) == 2
    done = subprocess.run([TOOLS / "shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("gpu", [True, False])
def test_compose_would_read_it(gpu: bool, tmp_path: Path) -> None:
    file = release(tmp_path, gpu=gpu) / FOLDER / "compose.yml"
    argv = [str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert ("nvidia" in file.read_text()) is gpu


@pytest.mark.skipif(ANALYZE is None, reason="no systemd on this machine")
def test_systemd_would_read_it(tmp_path: Path) -> None:
    unit = release(tmp_path) / FOLDER / "vllm.service"
    done = subprocess.run([str(ANALYZE), "verify", "--man=no", unit], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Unknown" not in done.stderr, done.stderr


def test_a_release_may_hold_these_scripts_and_no_other() -> None:
    assert set(KIT) == {f"{FOLDER}/{name}" for name in FILES}
    assert all(allowed(path) for path in KIT)
    assert not any(allowed(path) for path in ("serve.sh", "serve/other.sh", "a/serve/serve.sh"))


def test_a_variable_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"card\.serve_env"):
        release(tmp_path, card={**CARD, "serve_env": {"A; rm": "x"}})
