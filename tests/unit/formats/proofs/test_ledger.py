"""Every byte of a tree is in one line of the ledger, and packed bytes count the weights they stand for."""

from pathlib import Path

import pytest

from recipes.formats.packing import COMPRESSED_TENSORS, MODELOPT, scheme_of
from recipes.formats.proofs.ledger import ledgers, parameters, part_of, to_json
from recipes.formats.safetensors import Tensor
from release.proving import Asked, read_subject
from tests.unit.steps.synthetic import Release, build_release


@pytest.mark.parametrize(
    ("scheme", "name", "dtype", "shape", "part", "weights"),
    [
        (MODELOPT, "a.weight", "U8", (4, 8), "codes", 64),
        (MODELOPT, "a.weight", "BF16", (4, 8), "plain", 32),
        (MODELOPT, "a.weight_scale", "F8_E4M3", (4, 1), "block_scales", 0),
        (MODELOPT, "a.weight_scale_2", "F32", (), "global_scales", 0),
        (MODELOPT, "a.input_scale", "F32", (), "global_scales", 0),
        (MODELOPT, "a.weight_scale", "F32", (), "global_scales", 0),  # of an 8-bit Linear
        (COMPRESSED_TENSORS, "a.weight_packed", "U8", (4, 8), "codes", 64),
        (COMPRESSED_TENSORS, "a.weight_global_scale", "F32", (1,), "global_scales", 0),
        (COMPRESSED_TENSORS, "a.weight", "U8", (4, 8), "plain", 32),
    ],
)
def test_what_a_tensors_bytes_are(
    scheme: object, name: str, dtype: str, shape: tuple[int, ...], part: str, weights: int
) -> None:
    tensor = Tensor(name, dtype, shape, 0, 1)
    assert (part_of(tensor, scheme), parameters(tensor, scheme)) == (part, weights)  # type: ignore[arg-type]


def test_the_scheme_is_read_from_names() -> None:
    assert scheme_of(["a.weight", "a.weight_scale"]) is MODELOPT
    assert scheme_of(["b.weight", "a.weight_packed"]) is COMPRESSED_TENSORS


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build_release(tmp_path_factory.mktemp("release"))


@pytest.mark.parametrize("kind", ["nvfp4", "release_master"])
def test_lines_add_up_to_the_files_on_disk(release: Release, kind: str) -> None:
    folder: Path = getattr(release, kind)
    (ledger,) = ledgers(read_subject(Asked(path=str(folder)), lambda *_: None))
    for key in ("tensors", "parameters", "bytes"):
        assert sum(getattr(line, key) for line in ledger.classes.values()) == getattr(ledger.totals, key)
        assert getattr(ledger.totals, key) == getattr(ledger.implied, key)
    sizes = sum(path.stat().st_size for path in folder.iterdir())
    assert ledger.totals.bytes + ledger.headers + ledger.other == sizes
    assert sum(ledger.totals.parts.values()) == ledger.totals.bytes


def test_equal_trees_give_equal_text(release: Release) -> None:
    found = [ledgers(read_subject(Asked(path=str(release.nvfp4)), lambda *_: None)) for _ in range(2)]
    assert to_json(found[0]) == to_json(found[1])
