"""The calibrate step on a checkpoint of 2 GB: what it holds in memory, beside one layer and one row.

    python -m benchmarks.calibrate [--folder DIR] [--rows N] [--tokens N]

Prints the peak of anonymous memory with one row and with several, above that of the same step
on a miniature of 9 MB, beside the bytes of the largest layer and of the master. Say what else
the machine was doing: the times are for the record, the memory is the point.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import synthetic
from benchmarks.measure import Ran, run
from benchmarks.quantize import PRECISION, PROJECT, quantize_python
from recipes.formats.checkpoint import open_checkpoint
from release import closure

TINY = PROJECT / "recipes" / "tiny"
TEMPLATES = PROJECT / "recipes" / "templates"
SIZE = synthetic.SMALL


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="where to make the checkpoint (default: the temp folder)")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bench-calibrate-") as folder:
        for line in report(Path(folder), asked.rows, asked.tokens):
            print(line, flush=True)


def report(folder: Path, rows: int, tokens: int) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    python = quantize_python()
    for name, size in (("master", SIZE), ("miniature", synthetic.MINIATURE)):
        _make(folder / name, size)
    _make_rows(folder / "rows", rows)
    layer, whole = _largest_layer(folder / "master"), synthetic.nbytes(SIZE)
    yield f"machine: {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before"
    yield f"master {_mb(whole)}, {SIZE.layers} layers; the largest layer {_mb(layer)}"
    least = _step(folder, "miniature", python, 1, tokens).anonymous
    yield f"the step on the miniature: peak {_mb(least)}"
    peaks = {}
    for count in (1, rows):
        ran = _step(folder, "master", python, count, tokens)
        peaks[count] = ran.anonymous
        yield f"{count} rows of {tokens} tokens: peak {_mb(ran.anonymous)}, {ran.seconds:.1f} s"
    over = max(peaks.values()) - least
    yield f"above the miniature's: {over / layer:.2f} layers, {over / whole:.2f} of the master"
    yield f"load {os.getloadavg()[0]:.1f} after"


def _make(folder: Path, size: synthetic.Size) -> None:
    synthetic.make(folder, size)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / "master" / name, folder / name)


def _make_rows(folder: Path, rows: int) -> None:
    lines = [json.loads(line) for line in (TINY / "calibration.jsonl").read_text().splitlines()]
    text = " ".join(str(message["content"]) for line in lines for message in line["messages"])
    folder.mkdir()
    with (folder / "calibration.jsonl").open("w") as file:
        for number in range(rows):
            row = {"id": f"{number}", "messages": [{"role": "user", "content": text}], "thinking": False}
            file.write(json.dumps(row) + "\n")


def _step(folder: Path, master: str, python: Path, rows: int, tokens: int) -> Ran:
    root = folder / f"{master}-{rows}"
    for name in ("in", "out", "state"):
        (root / name).mkdir(parents=True)
    for name, source in (
        ("master", folder / master),
        ("rows", folder / "rows"),
        ("chat_template", TEMPLATES),
    ):
        (root / "in" / name).symlink_to(source)
    params = {"samples": rows, "max_seq_len": tokens, "rows_license": "Apache-2.0"}
    told = {**PRECISION, **params, "slow_linear_attention": False}
    (root / "params.json").write_text(json.dumps(told))
    closure.of_step(PROJECT, "calibrate").write(root / "code")
    ran = run([python, "-I", root / "code", "--root", root], _env(), root / "log")
    if ran.code != 0:
        raise SystemExit(f"calibrate failed: {ran.lines[-1:]}\n{ran.log[-2000:]}")
    return ran


def _largest_layer(master: Path) -> int:
    sizes: dict[str, int] = {}
    for name, place in open_checkpoint(master).tensors.items():
        if name.startswith(f"{synthetic.LAYERS}."):
            number = name.removeprefix(f"{synthetic.LAYERS}.").partition(".")[0]
            sizes[number] = sizes.get(number, 0) + place.tensor.nbytes
    return max(sizes.values())


def _env() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"}


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
