"""The step as the host runs it, on the real engine; and the changes made to that engine."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from recipes.formats import evidence, progress
from recipes.steps.smoke import main as smoke
from release.closure import of_step
from tests.unit.steps_smoke.test_profile import params

PROJECT = Path(__file__).resolve().parents[3]
TREE = PROJECT / "recipes" / "tiny" / "base"
SWEEP = (1, 8, 16, 32, 64)

# What vLLM is asked to do is judged by plain arithmetic: three requests with 2, 0 and 1
# draft tokens, int32 as the sampler hands them over, and the greedy one's temperature.
EXPAND = """
import torch
from graftsmith_vllm_cpu import expand
out = torch.full((3,), 77, dtype=torch.int32)
expand(out, torch.tensor([5, 6, -1], dtype=torch.int32), torch.tensor([2, 2, 3], dtype=torch.int32), -1, 20)
assert out.tolist() == [5, 5, 20], out
out = torch.full((2,), 77.0)
expand(out, torch.tensor([0.7, 0.0]), torch.tensor([1, 2], dtype=torch.int32), 0.0, 1.0)
assert torch.allclose(out, torch.tensor([0.7, 1.0])), out
"""

# One layer of two rows: FP4 codes 1.0 (0x2) and -6.0 (0xf), block scale 2, global scale 0.5.
KERNEL = """
from types import SimpleNamespace as Layer
import torch
from graftsmith_vllm_cpu import CpuNvFp4LinearKernel, register
register()
layer = Layer(
    weight=torch.tensor([[0x22] * 8, [0xFF] * 8], dtype=torch.uint8),
    weight_scale=torch.full((2, 1), 2.0).to(torch.float8_e4m3fn),
    weight_global_scale=torch.tensor(0.5),
    input_global_scale_inv=torch.tensor(1.0),
)
kernel = CpuNvFp4LinearKernel(object())
kernel.process_weights_after_loading(layer)
assert layer.dequantized_weight.tolist() == [[1.0] * 16, [-6.0] * 16], layer.dequantized_weight
x = torch.zeros(1, 1, 16, dtype=torch.bfloat16)
x[..., 0], x[..., 1] = 6.0, 1.1
out = kernel.apply_weights(layer, x, torch.tensor([0.0, 1.0], dtype=torch.bfloat16))
assert out.tolist() == [[[7.0, -41.0]]], out  # 1.1 was rounded to 1.0 before it was multiplied
"""

REFUSES = """
import vllm
vllm.__version__ = "0.33.0"
from graftsmith_vllm_cpu import register
try:
    register()
except RuntimeError as error:
    assert "written for vLLM 0.32.0, this is 0.33.0" in str(error), error
else:
    raise SystemExit("it took another version")
"""


def prepare(root: Path) -> Path:
    """Lay out the work folder of a smoke of the tiny base; return the code's folder."""
    for folder in ("in", "out", "state", "in/prompts"):
        (root / folder).mkdir(parents=True)
    (root / "in" / "tree").symlink_to(TREE)
    prompts = (PROJECT / "recipes" / "tiny" / "prompts.jsonl").read_text().splitlines()[::4]
    (root / "in" / "prompts" / "prompts.jsonl").write_text("\n".join(prompts))
    wanted = params()
    wanted["serve"] |= {"quantization": "", "expect_kernel": ""}
    wanted["sampling"]["max_tokens"] = 32
    (root / "params.json").write_text(json.dumps(wanted))
    of_step(PROJECT, "smoke").write(root / "code")
    return root / "code"


def environment(root: Path) -> dict[str, str]:
    """Return what the engine and the image give a step, and nothing else."""
    import tomllib

    image = tomllib.loads((PROJECT / "images" / "serve" / "image.toml").read_text())
    own = {"HOME": str(root / "home"), "TMPDIR": "/tmp", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}  # noqa: S108
    return {**own, **image["variants"]["cpu"]["env"]}


@pytest.mark.slow  # starts vLLM: half a minute on two cores
@pytest.mark.env
@pytest.mark.timeout(600)
def test_the_step_measures_a_tree_on_the_real_engine(serve_python: Path, tmp_path: Path) -> None:
    code = prepare(tmp_path)
    done = subprocess.run(
        [str(serve_python), "-I", str(code), "--root", str(tmp_path)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        cwd="/",
    )
    updates = [progress.parse(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, updates[-1:]
    assert all(isinstance(update, progress.Update) for update in updates)

    found = evidence.parse((tmp_path / "out" / evidence.EVIDENCE_FILE).read_text())
    named = {measurement.name: measurement.value for measurement in found.measurements}
    assert 1.0 <= named["acceptance_length"] <= 3.0
    assert named["acceptance_pos_0"] >= named["acceptance_pos_1"]
    assert named["acceptance_length.german"] >= 1.0
    assert named["output_tokens_per_second_c1"] > 0
    assert found.facts["engine_version"] == "0.32.0"
    assert found.facts["kernel"] is None

    replies = [json.loads(line) for line in (tmp_path / "out" / smoke.REPLIES_FILE).read_text().splitlines()]
    assert len(replies) == len((tmp_path / "in/prompts/prompts.jsonl").read_text().splitlines())
    assert sum(reply["drafts"]["drafts"] for reply in replies) > 0
    for written in (tmp_path / "out").iterdir():
        assert str(tmp_path) not in written.read_text(), "an absolute path is another result elsewhere"


@pytest.mark.heavy
@pytest.mark.slow  # five loads up to 64 at once, in two starts of vLLM: minutes on two cores
@pytest.mark.env
@pytest.mark.timeout(1800)
def test_the_full_sweep_over_two_boots(serve_python: Path, tmp_path: Path) -> None:
    code = prepare(tmp_path)
    asked = json.loads((tmp_path / "params.json").read_text())
    asked["serve"]["max_num_seqs"] = 64
    asked["drives"] |= {"boots": 2, "throughput": [load(many) for many in SWEEP]}
    (tmp_path / "params.json").write_text(json.dumps(asked))
    done = subprocess.run(
        [str(serve_python), "-I", str(code), "--root", str(tmp_path)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, [progress.parse(line) for line in done.stdout.splitlines()][-1:]
    found = evidence.parse((tmp_path / "out" / evidence.EVIDENCE_FILE).read_text())
    named = {measurement.name: measurement for measurement in found.measurements}
    for many in SWEEP:
        rate = named[f"output_tokens_per_second_c{many}"]
        assert rate.value > 0
        assert rate.n == 2 * 2 * many, "both boots"
        assert named[f"output_tokens_per_second_c{many}_boot_range"].n == 2
    assert 0 < named["single_stream_roofline_share"].value < 1
    assert named["memory_bandwidth"].n == 3, "before the first boot and after each"
    assert (tmp_path / "state" / "server-2.log").is_file()


def load(many: int) -> dict[str, int]:
    """Return a load of ``many`` at once, two batches of short replies."""
    return {"concurrency": many, "requests": 2 * many, "tokens": 32}


@pytest.mark.slow  # starts vLLM: half a minute on two cores
@pytest.mark.env
@pytest.mark.timeout(600)
def test_a_real_server_that_is_killed_is_told_and_nothing_is_left(serve_python: Path, tmp_path: Path) -> None:
    code = prepare(tmp_path)
    argv = [str(serve_python), "-I", str(code), "--root", str(tmp_path)]
    own = environment(tmp_path)
    error, tree = "", list[int]()
    with subprocess.Popen(
        argv, env=own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/"
    ) as step:
        assert step.stdout is not None
        for line in step.stdout:
            match progress.parse(line):
                case progress.Update(at="acceptance", done=done) if done and not tree:
                    servers = children(step.pid)
                    tree = [*servers, *(child for pid in servers for child in children(pid))]
                    for pid in servers:
                        os.kill(pid, 9)
                case str(message):
                    error = message
    assert step.returncode == 5
    assert "the server was ended by signal 9 while it was measured: " in error
    assert "the server's log ends with" in error
    assert (tmp_path / "state" / "server.log").read_text(), "what it said is kept"
    deadline = time.monotonic() + 20
    while any(map(alive, tree)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(alive, tree)), "no orphan"


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.env
@pytest.mark.timeout(120)
@pytest.mark.parametrize("script", [EXPAND, KERNEL, REFUSES], ids=["expand", "kernel", "refuses"])
def test_the_plugin_mends_vllm_and_refuses_another_version(
    serve_python: Path, tmp_path: Path, script: str
) -> None:
    done = subprocess.run(
        [str(serve_python), "-I", "-c", script], env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
