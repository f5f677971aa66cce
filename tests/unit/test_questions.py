"""``why`` names exactly what changed, and says what runs again because of it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from release import inquiry, questions
from release.errors import UsageError
from release.line import PROJECT
from release.plan import Planned, Status
from release.questions import Answer
from release.store import Store, gc
from tests.unit import mini_line

MEASURED = ("smoke-nvfp4", "smoke-master")
AFTER_GATE = {"card-nvfp4", "card-master", "report", "assemble-nvfp4", "assemble-master"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("GRAFTSMITH_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store, and a line of which everything is released as 0.1.0."""
    root = tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFTSMITH_STORE", str(root / "store"))
        mini_line.build(mini_line.make(root), "0.1.0")
    return root


@pytest.fixture
def home(tmp_path: Path, store: Store, released: Path) -> Path:
    """Return the folder of a released line that a test may change."""
    shutil.copytree(released, tmp_path, dirs_exist_ok=True)
    return tmp_path / "recipes" / "mini"


def statuses(home: Path) -> dict[str, Status]:
    return {item.step.name: item.status for item in inquiry.view(str(home), "").planned}


def ask(home: Path, step: str) -> Answer:
    view = inquiry.view(str(home), "")
    store = view.line.store
    last = {name: key for (_, name), key in store.realizations.lasts().items()}
    return questions.why(step, view.planned, last, store.roots.all("tiny"))


def said(home: Path, step: str) -> str:
    out = StringIO()
    inquiry.why(str(home), step, "", Console(file=out, soft_wrap=True, highlight=False), as_json=False)
    return out.getvalue()


def fields(item: Planned) -> list[tuple[str, tuple[str, ...]]]:
    return [(difference.field, difference.files) for difference in item.differences]


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_nothing_changed_nothing_runs(home: Path) -> None:
    assert set(statuses(home).values()) == {Status.HIT}
    assert "is in the store" in said(home, "smoke-nvfp4")
    assert "stands since 0.1.0" in said(home, "smoke-nvfp4")
    assert "lock" not in said(home, "smoke-nvfp4")


def test_one_changed_prompt_is_named_and_runs_smoke_and_what_follows(home: Path) -> None:
    lines = (home / "prompts.jsonl").read_text().splitlines()
    (home / "prompts.jsonl").write_text("\n".join([lines[0].replace("a", "e"), *lines[1:]]) + "\n")
    found = statuses(home)
    assert {name for name, status in found.items() if status is Status.BUILD} == set(MEASURED)
    assert {name for name, status in found.items() if status is Status.WAIT} == {
        "gate",
        "sbom-nvfp4",
        "sbom-master",
    } | AFTER_GATE
    answer = ask(home, "smoke-nvfp4")
    assert fields(answer.planned) == [("inputs.prompts", ("prompts.jsonl changed",))]
    assert set(answer.follows) == {"gate", "sbom-nvfp4"} | AFTER_GATE
    assert answer.released == ("0.1.0",)
    text = said(home, "smoke-nvfp4")
    assert "inputs.prompts" in text
    assert "prompts.jsonl changed" in text
    assert "stands since 0.1.0" in text
    assert "  prompts: path:prompts.jsonl" in text, "a release needs a new lock before it runs this"
    assert "→ if the change is wanted, type: invoke lock" in text


def test_a_step_that_waits_says_for_what_and_why_that_is_built(home: Path) -> None:
    (home / "prompts.jsonl").write_text((home / "prompts.jsonl").read_text() + "\n")
    answer = ask(home, "gate")
    assert answer.planned.waits_for == tuple(sorted(MEASURED))
    assert [cause.step.name for cause in answer.causes] == list(MEASURED)
    text = said(home, "gate")
    assert "gate waits for smoke-master, smoke-nvfp4" in text
    assert "smoke-nvfp4 will be built: changed: inputs.prompts (prompts.jsonl changed)" in text


def test_a_step_that_waits_says_what_differs_of_what_is_known(home: Path) -> None:
    replace(home / "recipe.toml", "at_least = 0.9\n", "at_least = 0.8\n")
    (home / "prompts.jsonl").write_text((home / "prompts.jsonl").read_text() + "\n")
    gate = ask(home, "gate").planned
    assert gate.status is Status.WAIT
    assert [d.field for d in gate.differences] == ["params.gates[replies-end-by-themselves].at_least"]


def test_a_changed_threshold_runs_gate_and_what_follows(home: Path) -> None:
    replace(home / "recipe.toml", "at_least = 0.9\n", "at_least = 0.8\n")
    found = statuses(home)
    assert {name for name, status in found.items() if status is Status.BUILD} == {"gate"}
    assert {name for name, status in found.items() if status is Status.WAIT} == AFTER_GATE
    (difference,) = ask(home, "gate").planned.differences
    assert difference.field == "params.gates[replies-end-by-themselves].at_least"
    assert (difference.before, difference.after) == ("0.9", "0.8")


def test_a_parameter_is_told_with_its_values(home: Path) -> None:
    replace(home / "recipe.toml", "max_seq_len = 256", "max_seq_len = 128")
    assert "params.max_seq_len: 256 → 128" in said(home, "calibrate")


def test_going_back_to_what_was_built_before_is_a_hit(home: Path) -> None:
    old = (home / "recipe.toml").read_text()
    replace(home / "recipe.toml", "at_least = 0.9\n", "at_least = 0.8\n")
    mini_line.build(home, "0.2.0")
    assert "stands since 0.2.0" in said(home, "gate")
    assert "stands since 0.1.0, last in 0.2.0" in said(home, "smoke-nvfp4")
    (home / "recipe.toml").write_text(old)
    assert statuses(home)["gate"] is Status.HIT


def test_a_step_never_run_has_nothing_to_compare_with(tmp_path: Path, store: Store) -> None:
    home = mini_line.make(tmp_path)
    answer = ask(home, "calibrate")
    assert answer.planned.why == "never built here"
    assert (answer.last, answer.planned.differences) == (None, ())
    assert "smoke-nvfp4 waits for configure-nvfp4" in said(home, "smoke-nvfp4")


def test_an_unknown_step_is_answered_with_those_there_are(home: Path) -> None:
    with pytest.raises(UsageError, match="no step 'smoke'") as error:
        ask(home, "smoke")
    assert "smoke-nvfp4" in error.value.hint


def test_status_counts_and_names_reasons(home: Path) -> None:
    (home / "prompts.jsonl").write_text((home / "prompts.jsonl").read_text() + "\n")
    out = StringIO()
    inquiry.status(str(home), "", Console(file=out, width=200), as_json=False)
    assert "changed: inputs.prompts (prompts.jsonl changed)" in out.getvalue()
    assert "20 steps: 10 in the store, 2 to build, 8 after that" in out.getvalue()


def test_machines_read_the_same_answers(home: Path) -> None:
    (home / "prompts.jsonl").write_text((home / "prompts.jsonl").read_text() + "\n")
    out = StringIO()
    console = Console(file=out, width=40)
    inquiry.status(str(home), "", console, as_json=True)
    status = json.loads(out.getvalue())
    assert status["summary"] == {"hit": 10, "cached": 0, "build": 2, "wait": 8, "download": 0}
    assert status["lock_out_of_step"]
    by_name = {step["step"]: step for step in status["steps"]}
    assert by_name["smoke-nvfp4"]["differences"][0]["files"] == ["prompts.jsonl changed"]
    out.truncate(0)
    out.seek(0)
    inquiry.why(str(home), "gate", "", console, as_json=True)
    assert [cause["step"] for cause in json.loads(out.getvalue())["causes"]] == list(MEASURED)


class Copy:
    """A copy of the project in which a file may be changed."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.home = home
        for folder in ("release", "images"):
            shutil.copytree(PROJECT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        skipped = shutil.ignore_patterns("__pycache__", "tiny")
        shutil.copytree(PROJECT / "recipes", root / "recipes", ignore=skipped)
        shutil.copyfile(PROJECT / "tasks.py", root / "tasks.py")

    def ask(self, *question: str) -> "dict[str, list[dict[str, object]]]":
        done = subprocess.run(
            [Path(sys.executable).with_name("invoke"), *question, "--json", "--recipe", str(self.home)],
            cwd=self.root,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
        return answer


@pytest.fixture
def copy(tmp_path: Path, home: Path) -> Copy:
    return Copy(tmp_path / "copy", home)


def test_a_comment_in_the_host_code_runs_nothing(copy: Copy) -> None:
    for file in (copy.root / "release").rglob("*.py"):
        file.write_text(file.read_text() + "# a comment\n")
    steps = copy.ask("status")["steps"]
    assert {step["status"] for step in steps} == {"hit"}


def test_the_locale_of_the_shell_runs_nothing(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    # A recipe holds more than ASCII: read in another encoding it would be another recipe.
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    assert {step["status"] for step in copy.ask("status")["steps"]} == {"hit"}


def test_a_changed_file_of_a_steps_code_is_named(copy: Copy) -> None:
    file = copy.root / "recipes" / "steps" / "smoke" / "battery.py"
    file.write_text(file.read_text() + "# a comment\n")
    answer = copy.ask("why", "smoke-nvfp4")
    assert [(d["field"], d["files"]) for d in answer["differences"]] == [
        ("code", ["recipes/steps/smoke/battery.py changed"])
    ]
    others = {step["step"] for step in copy.ask("status")["steps"] if step["status"] == "build"}
    assert others == set(MEASURED)


def test_a_changed_file_of_an_image_is_named(copy: Copy) -> None:
    file = copy.root / "images" / "serve" / "cpu" / "requirements.lock"
    file.write_text(file.read_text() + "# a comment\n")
    (difference,) = copy.ask("why", "smoke-nvfp4")["differences"]
    assert (difference["field"], difference["files"]) == ("image", ["cpu/requirements.lock changed"])


def printed(ask: "Callable[[Console], None]") -> str:
    out = StringIO()
    ask(Console(file=out, soft_wrap=True, highlight=False, width=200))
    return out.getvalue()


def test_the_log_of_the_last_run_is_printed_with_its_place(home: Path, store: Store) -> None:
    text = printed(lambda console: inquiry.log(str(home), "smoke-nvfp4", console))
    assert "smoke-nvfp4 said this" in text
    assert str(store.logs.folder) in text
    assert "finished; its log is" in text


def test_the_log_of_a_failed_run_is_the_last_one(home: Path, store: Store) -> None:
    store.logs.start("tiny", "smoke-nvfp4", "f" * 64).write_text("out of memory [/b]\n")
    text = printed(lambda console: inquiry.log(str(home), "smoke-nvfp4", console))
    assert "did not finish" in text
    assert "out of memory [/b]\n" in text


def test_a_step_without_a_log_says_why_there_is_none(home: Path) -> None:
    assert "prints nothing" in printed(lambda console: inquiry.log(str(home), "gate", console))
    with pytest.raises(UsageError, match="has not run in this store") as error:
        inquiry.log(str(home), "nosuch", Console(file=StringIO()))
    assert "smoke-nvfp4" in error.value.hint


def test_two_versions_are_compared_by_derivation_files_and_figures(home: Path) -> None:
    replace(home / "recipe.toml", "max_tokens = 128", "max_tokens = 64")
    mini_line.build(home, "0.2.0", figure=2.47)
    text = printed(lambda console: inquiry.diff(str(home), "0.1.0", "0.2.0", console))
    assert "params.sampling.max_tokens: 128 → 64" in text
    assert "  gate\n    inputs.smoke-master" in text
    assert "  quantize" not in text
    assert "changed  assemble-nvfp4.txt" in text
    (row,) = [line for line in text.splitlines() if line.startswith("smoke-nvfp4")]
    assert row.split() == ["smoke-nvfp4", "acceptance_length", "2.6", "2.47", "-5.0%", "tokens"]


def test_a_version_is_compared_with_itself_without_a_difference(home: Path) -> None:
    assert "steps: all alike" in printed(lambda c: inquiry.diff(str(home), "0.1.0", "0.1.0", c))


def test_an_unknown_version_is_answered_with_those_there_are(home: Path) -> None:
    with pytest.raises(UsageError, match=r"no release 9\.9\.9") as error:
        inquiry.diff(str(home), "0.1.0", "9.9.9", Console(file=StringIO()))
    assert "0.1.0" in error.value.hint


def test_what_was_collected_is_told_as_such(home: Path, store: Store) -> None:
    replace(home / "recipe.toml", "at_least = 0.9\n", "at_least = 0.8\n")
    mini_line.build(home, "0.2.0")
    gc.collect(store, keep=1, dry_run=False)
    replace(home / "recipe.toml", "at_least = 0.8\n", "at_least = 0.9\n")
    text = said(home, "gate")
    assert "collected by gc on 20" in text
    assert "params.gates[replies-end-by-themselves].at_least: 0.8 → 0.9" in text
    with pytest.raises(UsageError, match=r"no release 0\.1\.0 of tiny: collected by gc on 20"):
        inquiry.diff(str(home), "0.1.0", "0.2.0", Console(file=StringIO()))
