"""lm-evaluation-harness on the recipe's own task files, in a process of its own.

python -I harness.py '{"tasks": [...], "folder": "...", "url": "...", ...}' RESULT

It runs alone in the image: standard library and lm-eval. The folder is the working directory, so
that a task names its documents beside it. One line of RESULT for each document: task, id, right, said.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(asked: dict[str, Any], result: Path) -> None:
    """Run the tasks and write one line for each document."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model="local-chat-completions",
        model_args={
            "model": asked["model"],
            "base_url": asked["url"],
            "num_concurrent": asked["concurrency"],
            "timeout": asked["timeout_s"],
            "max_retries": 1,
            "max_length": asked["max_length"],
            "seed": asked["seed"],
        },
        tasks=asked["tasks"],
        task_manager=TaskManager(include_path=asked["folder"], include_defaults=False),
        gen_kwargs=asked["fields"],
        apply_chat_template=True,
        bootstrap_iters=0,
        log_samples=True,
    )
    lines = [
        json.dumps({"task": task, "version": str(found["versions"].get(task)), **row})
        for task, samples in found["samples"].items()
        for row in rows(samples)
    ]
    result.write_text("".join(f"{line}\n" for line in lines))


def rows(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return id, right and said of each document, by the task's first filter and first metric.

    Raises ValueError for a metric that is neither 0 nor 1, and for documents without their own id.
    """
    first = samples[0]["filter"] if samples else None
    found = []
    for sample in samples:
        if sample["filter"] != first:
            continue
        metric = sample["metrics"][0]
        score = float(sample[metric])
        if score not in (0.0, 1.0):
            raise ValueError(f"{metric} of a document is {score}: expected right or wrong, 1 or 0")
        found.append(
            {"id": str(sample["doc"]["id"]), "right": score == 1.0, "said": str(sample["resps"][0][0])}
        )
    if len({row["id"] for row in found}) != len(found):
        raise ValueError("two documents of one task have the same id")
    return found


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
