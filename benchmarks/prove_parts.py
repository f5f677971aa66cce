"""What benchmarks.prove times, each in a process of its own, which prints what it found as JSON.

python -m benchmarks.prove_parts headers TREE
python -m benchmarks.prove_parts repack TREE MASTER
python -m benchmarks.prove_parts read TREE MASTER
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from recipes.formats.architecture import parse_architecture
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.nvfp4 import WEIGHT, WEIGHT_SCALE
from recipes.formats.proofs.claim import NotGiven, Status, prove
from recipes.formats.proofs.claims_packed import fused_groups
from recipes.formats.proofs.ledger import ledgers
from recipes.formats.proofs.proving import of_headers
from recipes.formats.proofs.repack import repack
from recipes.formats.proofs.subject import NVFP4, Subject, read_body, read_tree
from recipes.steps.quantize.kernels.kernel import choose

NONE = NotGiven("a benchmark")
CHUNK = 8 << 20


def main() -> None:
    """Do one part and print its figures."""
    part, *folders = sys.argv[1:]
    tree, *master = map(Path, folders)
    match part:
        case "headers":
            found = headers(tree)
        case "repack":
            found = packed_again(tree, master[0])
        case "read":
            found = read(tree, master[0])
        case _:
            raise SystemExit(f"no such part: {part}")
    sys.stdout.write(json.dumps(found) + "\n")


def headers(tree: Path) -> dict[str, float]:
    """Open a release, prove what headers can prove, count every byte."""
    began = time.monotonic()
    subject = _subject(tree)
    outcomes = [prove(claim) for claim in of_headers(subject)]
    (counted,) = ledgers(subject)
    failed = [outcome for outcome in outcomes if outcome.status is Status.FAILS]
    if failed:
        raise SystemExit(f"{failed[0].name}: {failed[0].found}")
    return {
        "seconds": time.monotonic() - began,
        "claims": sum(outcome.status is Status.HOLDS for outcome in outcomes),
        "tensors": counted.totals.tensors,
        "bytes": counted.totals.bytes,
        "implied": counted.implied.bytes,
        "parameters": counted.totals.parameters,
        "linears": len(subject.body.modules) if subject.body else 0,
    }


def packed_again(tree: Path, master: Path) -> dict[str, float]:
    """Pack the master again and hold it against the tree."""
    subject, source = _subject(tree), open_checkpoint(master)
    assert subject.body is not None
    groups = fused_groups(subject, subject.body)
    packer = choose(subject.body.tree.checkpoint.data_bytes)
    began, busy = time.monotonic(), time.process_time()
    flaws = list(repack(source, subject.body.tree.checkpoint, groups, packer, subject.depth, lambda *_: None))
    if flaws:
        raise SystemExit(f"{len(flaws)} flaws: {flaws[0]}")
    return {
        "seconds": time.monotonic() - began,
        "cpu": time.process_time() - busy,
        "bf16": sum(source.locate(f"{name}.{WEIGHT}").tensor.nbytes for name in subject.body.modules),
    }


def read(tree: Path, master: Path) -> dict[str, float]:
    """Read the bytes that ``packed_again`` reads, in the order of the files, and do nothing with them."""
    subject, source = _subject(tree), open_checkpoint(master)
    assert subject.body is not None
    modules, packed = subject.body.modules, subject.body.tree.checkpoint
    spans = [*_spans(source, modules, (WEIGHT,)), *_spans(packed, modules, (WEIGHT, WEIGHT_SCALE))]
    buffer = memoryview(bytearray(CHUNK))
    began = time.monotonic()
    for path, begin, end in sorted(spans):
        with path.open("rb", buffering=0) as file:
            file.seek(begin)
            for at in range(begin, end, CHUNK):
                file.readinto(buffer[: min(CHUNK, end - at)])
    return {
        "seconds": time.monotonic() - began,
        "bytes": sum(end - begin for _, begin, end in spans),
        "threads": len(os.sched_getaffinity(0)),
    }


def _spans(
    checkpoint: Checkpoint, modules: tuple[str, ...], leaves: tuple[str, ...]
) -> Iterator[tuple[Path, int, int]]:
    for module in modules:
        for leaf in leaves:
            place = checkpoint.locate(f"{module}.{leaf}")
            at = checkpoint.headers[place.file].data_offset
            yield checkpoint.root / place.file, at + place.tensor.begin, at + place.tensor.end


def _subject(folder: Path) -> Subject:
    tree = read_tree(folder, NVFP4)
    return Subject(
        architecture=parse_architecture(tree.config),
        body=read_body(tree),
        plain=None,
        base=NONE,
        master=NONE,
        calibration=NONE,
        template=NONE,
        recipe=NONE,
        is_release=False,
        told=lambda *_: None,
    )


if __name__ == "__main__":
    main()
