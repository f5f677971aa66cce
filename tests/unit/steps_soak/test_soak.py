"""A soak of a server that leaks or tires is caught, and of one that does not is passed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recipes.formats import progress
from recipes.formats.evidence import EVIDENCE_FILE, Evidence, Measurement, parse
from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import profile
from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.server import free_port, serving
from recipes.steps.soak import main
from recipes.steps.soak.windows import Window, figures
from release.closure import of_step
from release.gates.judging import Found, judge
from release.gates.wanted import parse_gates
from release.verdicts import Outcome
from tests.unit.steps_smoke.test_profile import params
from tests.unit.steps_smoke.test_smoke import PROJECT, environment, prepare

STUB = Path(__file__).parents[1] / "steps_smoke" / "stub.py"
PROMPTS = [
    Prompt(id=f"p{n}", domain="prose", messages=[{"role": "user", "content": f"say {n}"}]) for n in range(24)
]
GATES: Any = [
    {"name": "memory", "figure": "soak.server_memory_growth_high", "at_most": 2048.0},
    {"name": "acceptance", "figure": "soak.length_change_low", "at_least": -0.03},
]


def soaked(mode: str, folder: Path, seconds: float = 3.0) -> list[Window]:
    """Soak the stub as the step does."""
    wanted = params()
    wanted["serve"] |= {"expect_kernel": None}
    parsed, port = profile.parse(wanted), free_port()
    argv = [sys.executable, "-I", str(STUB), str(port), mode]
    with serving(argv, os.environ, folder / "server.log", port, 20.0) as server:
        return main.soak(server, parsed, PROMPTS, seconds)


def judged(windows: list[Window]) -> Mapping[str, Outcome]:
    """Hold the figures of a soak against gates like a recipe's."""
    found = Evidence(measurements=tuple(figures(windows)), facts={"speculative_tokens": 2})
    verdicts = (judge(gate, Found(evidence={"soak": found})) for gate in parse_gates(GATES, ("soak",)))
    return {verdict.name: verdict.outcome for verdict in verdicts}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("mode", "memory", "acceptance"),
    [
        ("well", Outcome.PASS, Outcome.PASS),
        ("leaks", Outcome.FAIL, Outcome.PASS),
        ("tires", Outcome.PASS, Outcome.FAIL),
    ],
)
def test_what_drifts_is_caught_and_what_does_not_is_passed(
    tmp_path: Path, mode: str, memory: Outcome, acceptance: Outcome
) -> None:
    windows = soaked(mode, tmp_path)
    found = {figure.name: figure for figure in figures(windows)}
    assert judged(windows) == {"memory": memory, "acceptance": acceptance}, found


def test_too_few_passes_are_not_measured_and_fail() -> None:
    window = Window(at=1.0, requests=24, tokens=300, length=2.6, resident=10, used=20)
    assert judged([window] * 5) == {"memory": Outcome.NOT_MEASURED, "acceptance": Outcome.NOT_MEASURED}


def test_restless_passes_have_wide_bounds_and_fail() -> None:
    lengths = [2.9, 2.4, 2.8, 2.3, 2.9, 2.5, 2.8]
    windows = [
        Window(at=60.0 * at, requests=24, tokens=300, length=length, resident=10, used=20)
        for at, length in enumerate(lengths)
    ]
    assert judged(windows)["acceptance"] is Outcome.FAIL


def test_a_cache_that_fills_at_first_is_no_leak() -> None:
    filling = [min(2_800_000_000, 2_500_000_000 + 40_000_000 * at) for at in range(20)]
    windows = [
        Window(at=6.0 * at, requests=54, tokens=3600, length=2.93, resident=resident, used=1)
        for at, resident in enumerate(filling)
    ]
    assert judged(windows) == {"memory": Outcome.PASS, "acceptance": Outcome.PASS}


def test_without_a_draft_head_memory_alone_is_measured() -> None:
    windows = [
        Window(at=float(at), requests=2, tokens=9, length=None, resident=1 << 30, used=2 << 30)
        for at in range(14)
    ]
    found: list[Measurement] = figures(windows)
    assert {figure.name for figure in found} == {
        "minutes",
        "server_memory_growth",
        "server_memory_growth_high",
        "machine_memory_growth",
        "machine_memory_growth_high",
    }


@pytest.mark.timeout(60)
def test_a_server_that_dies_in_a_soak_is_told(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"(?s)died with exit code 139.*soak, pass \d+"):
        soaked("dies", tmp_path)


@pytest.mark.parametrize("minutes", [0, "5", None, True])
def test_minutes_are_a_number(minutes: object) -> None:
    with pytest.raises(StepError, match="minutes: expected an integer of at least 1") as caught:
        main.parse({**params(), "minutes": minutes})
    assert caught.value.code is Exit.CONFIG


@pytest.mark.heavy
@pytest.mark.slow  # starts vLLM and asks it for a minute
@pytest.mark.env
@pytest.mark.timeout(600)
def test_a_minute_of_the_tiny_model_on_the_real_engine(serve_python: Path, tmp_path: Path) -> None:
    prepare(tmp_path)
    asked = {**json.loads((tmp_path / "params.json").read_text()), "minutes": 1}
    (tmp_path / "params.json").write_text(json.dumps(asked))
    of_step(PROJECT, "soak").write(tmp_path / "soak")
    argv = [str(serve_python), "-I", str(tmp_path / "soak"), "--root", str(tmp_path)]
    done = subprocess.run(argv, env=environment(tmp_path), capture_output=True, text=True, cwd="/")
    updates = [progress.parse(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, updates[-1:]
    assert [update for update in updates if isinstance(update, progress.Update) and update.at == "soak"]
    found = {m.name: m for m in parse((tmp_path / "out" / EVIDENCE_FILE).read_text()).measurements}
    assert found["minutes"].value >= 1.0
    assert found["length_change_low"].value > -0.1
    windows = (tmp_path / "out" / main.WINDOWS_FILE).read_text().splitlines()
    assert len(windows) == found["minutes"].n
    assert json.loads(windows[0])["resident"] > 1 << 29, "vLLM is at least half a gigabyte"
