"""Tasks of lm-evaluation-harness against the served tree: how they are started, what they say.

A task is a file of the recipe, ``tasks/<name>.yaml``, in the harness's own format, with its
documents beside it. Nothing is fetched: the step has no network and the harness no default tasks.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipes.formats.sanity import Answer
from recipes.formats.step import Exit, StepError
from recipes.steps.sanity import harness
from recipes.steps.sanity.asking import Asking
from recipes.steps.smoke.loopback import HOST
from recipes.steps.smoke.profile import MODEL_NAME

FOLDER = "tasks"
RESULT_FILE, LOG_FILE = "tasks.jsonl", "tasks.log"
CODE = "!function"
STARTUP_S = 180.0
"""What the harness may take to be imported, on a slow machine."""


def run(asking: Asking, names: Sequence[str], folder: Path, state: Path) -> list[Answer]:
    """Run the tasks and return their answers. Raises StepError when the harness fails."""
    _refuse(names, folder)
    result, log = state / RESULT_FILE, state / LOG_FILE
    result.unlink(missing_ok=True)
    argv = [sys.executable, "-I", harness.__file__, json.dumps(_asked(asking, names, folder)), str(result)]
    env = {**os.environ, "HF_HOME": str(state / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    patience_s = STARTUP_S + asking.wanted.request_timeout_s * len(names)
    with log.open("wb") as sink:
        try:
            code = subprocess.run(
                argv,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                timeout=patience_s,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise StepError(
                f"lm-evaluation-harness was not done after {patience_s:g} s: the server hangs, or "
                "request_timeout_s is too short for this machine",
                Exit.BUILD,
            ) from error
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise StepError(f"lm-evaluation-harness ended with {code}:\n{tail}", Exit.BUILD)
    return parse(result.read_text(), names)


def parse(text: str, names: Sequence[str]) -> list[Answer]:
    """Parse what the harness wrote. Raises StepError unless every task has answers."""
    answers = []
    for number, line in enumerate(text.splitlines(), 1):
        match json.loads(line):
            case {"task": str(task), "id": str(name), "right": bool(right), "said": str(said)}:
                answers.append(Answer(task=task, id=name, right=right, said=said))
            case _:
                raise StepError(f"{RESULT_FILE}:{number}: expected task, id, right and said", Exit.BUILD)
    missing = sorted(set(names) - {answer.task for answer in answers})
    if missing:
        raise StepError(f"lm-evaluation-harness gave no answers to {', '.join(missing)}", Exit.BUILD)
    return answers


def _asked(asking: Asking, names: Sequence[str], folder: Path) -> Mapping[str, object]:
    fields = asking.fields()
    # These the harness sends itself.
    own = {name: fields.pop(name, None) for name in ("model", "seed", "stream")}
    return {
        "tasks": list(names),
        "folder": str(folder),
        "url": f"http://{HOST}:{asking.port}/v1/chat/completions",
        "model": MODEL_NAME,
        "concurrency": asking.wanted.sanity.concurrency,
        "timeout_s": asking.wanted.request_timeout_s,
        "max_length": asking.serve.max_model_len,
        "seed": own["seed"] or asking.wanted.sanity.seed,
        "fields": fields,
    }


def _refuse(names: Sequence[str], folder: Path) -> None:
    for name in names:
        file = folder / f"{name}.yaml"
        if not file.is_file():
            known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none"
            raise StepError(f"{FOLDER}/{name}.yaml: no such task; there are: {known}", Exit.CONFIG)
        if CODE in file.read_text():
            raise StepError(
                f"{FOLDER}/{name}.yaml: {CODE} runs code of the recipe's folder; a task is data here",
                Exit.CONFIG,
            )
