"""``invoke prove`` on folders of every origin: ours, plain exports, other layouts, hostile ones."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recipes.formats.checkpoint import INDEX_FILE, open_checkpoint
from recipes.formats.qwen3_5 import MTP_PREFIX
from release.errors import ConfigError, MachineError, ProofError, UsageError
from release.proving import Asked, prove_path
from tests.unit.steps.scratch import KEEP_BF16, REPOSITORY
from tests.unit.steps.synthetic import (
    Release,
    Tensors,
    build_release,
    edit_json,
    edit_tensor,
    rewrite,
)

LEAVES = {
    "weight": "weight_packed",
    "weight_scale_2": "weight_global_scale",
    "input_scale": "input_global_scale",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def release(sound: Release, tmp_path: Path) -> Release:
    return sound.copy(tmp_path / "release")


@dataclass(frozen=True, slots=True)
class Said:
    """What ``--json`` said: proof → status, proof → found, the picture, and the error if any."""

    status: dict[str, str]
    found: dict[str, str]
    picture: Path
    facts: dict[str, object]
    error: str


@pytest.fixture
def prove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(path: Path, against: Path | str = "", master: Path | str = "", *, quick: bool = False) -> Said:
        capsys.readouterr()
        error = ""
        asked = Asked(path=str(path), against=str(against), master=str(master), quick=quick)
        try:
            prove_path(asked, tmp_path / "pictures", as_json=True)
        except ProofError as raised:
            error = str(raised)
        table = json.loads(capsys.readouterr().out)
        return Said(
            status={proof["name"]: proof["status"] for proof in table["proofs"]},
            found={proof["name"]: proof["found"] for proof in table["proofs"]},
            picture=Path(table["picture"]),
            facts=table["facts"],
            error=error,
        )

    return run


def failing(said: Said) -> set[str]:
    return {name for name, status in said.status.items() if status == "fails"}


def test_a_release_of_ours_raises_no_alarm(sound: Release, prove: Callable[..., Said]) -> None:
    said = prove(sound.nvfp4, sound.base, sound.master)
    assert not said.error and not failing(said)
    assert said.status["repack"] == said.status["mtp-verbatim-nvfp4"] == "holds"
    assert said.picture.read_text().startswith("<svg")
    said = prove(sound.release_master, sound.base, sound.master)
    assert not said.error and said.status["master-verbatim"] == "holds"


def test_what_was_not_given_is_not_checked_and_no_pass(sound: Release, prove: Callable[..., Said]) -> None:
    said = prove(sound.nvfp4)
    assert not said.error
    assert said.found["repack"] == "no --master" and said.found["mtp-verbatim-nvfp4"] == "no --against"
    assert {said.status[n] for n in ("repack", "mtp-verbatim-nvfp4", "in-proj-ab")} == {"not checked"}
    assert "lineage" not in said.facts


def test_the_calibration_of_a_downloaded_release_is_used(
    release: Release, prove: Callable[..., Said]
) -> None:
    shutil.copytree(release.calibration, release.nvfp4 / "evidence" / "calibrate")
    assert prove(release.nvfp4).status["input-scales-calibrated"] == "holds"
    name = "model.language_model.layers.1.self_attn.o_proj.input_scale"
    edit_tensor(release.nvfp4, name, lambda _: struct.pack("<f", 0.5))
    said = prove(release.nvfp4)
    assert failing(said) == {"input-scales-calibrated"} and name in said.error


def test_a_lie_is_told_in_one_line_and_with_exit_code_6(release: Release, prove: Callable[..., Said]) -> None:
    edit_tensor(release.nvfp4, "mtp.norm.weight", lambda data: data[::-1])
    said = prove(release.nvfp4, release.base)
    assert failing(said) == {"mtp-verbatim-nvfp4"}
    assert "1 claim does not hold:\n  mtp-verbatim-nvfp4: mtp.norm.weight: bytes differ\n" in said.error
    assert ProofError.code == 6


def test_a_quick_look_finds_a_swapped_tensor(release: Release, prove: Callable[..., Said]) -> None:
    assert prove(release.nvfp4, release.base, release.master, quick=True).facts["depth"] == "quick"
    edit_tensor(release.nvfp4, "lm_head.weight", lambda data: data[::-1])
    assert "lm-head-verbatim" in failing(prove(release.nvfp4, release.base, release.master, quick=True))


def test_other_shard_names_and_a_master_with_a_head_of_its_own(
    release: Release, prove: Callable[..., Said]
) -> None:
    _rename_shards(release.nvfp4, "weights.part{}.safetensors")
    head = {n: t for n, t in _tensors(release.base).items() if n.startswith(MTP_PREFIX)}
    rewrite(release.master, lambda found: found | {n: (d, s, data[::-1]) for n, (d, s, data) in head.items()})
    said = prove(release.nvfp4, release.base, release.master)
    assert not said.error, said.error
    lineage = said.facts["lineage"]
    assert isinstance(lineage, dict) and lineage["classes"]["mtp"]["changed"] == 15


def test_a_head_that_the_base_has_and_the_repo_lost(release: Release, prove: Callable[..., Said]) -> None:
    rewrite(release.nvfp4, lambda t: {n: v for n, v in t.items() if not n.startswith(MTP_PREFIX)})
    alone = prove(release.nvfp4)
    assert not alone.error and "engines draft nothing" in alone.found["mtp-15-tensors"]
    assert {"mtp-15-tensors", "mtp-verbatim-nvfp4"} <= failing(prove(release.nvfp4, release.base))


def test_a_repo_in_the_layout_of_compressed_tensors(release: Release, prove: Callable[..., Said]) -> None:
    _to_compressed_tensors(release.nvfp4)
    said = prove(release.nvfp4, release.base, release.master)
    assert not said.error, said.error
    assert said.status["relative-error"] == said.status["ignore-list-vllm"] == "holds"
    assert "another rule" in said.found["repack"]
    # Shell patterns mean nothing in that dialect: the tower would be built NVFP4.
    edit_json(release.nvfp4 / "config.json", lambda t: t["quantization_config"].update(ignore=[*KEEP_BF16]))
    assert "model.visual" in prove(release.nvfp4).found["ignore-list-vllm"]


def test_a_config_that_says_nothing_of_the_packing(release: Release, prove: Callable[..., Said]) -> None:
    edit_json(release.nvfp4 / "config.json", lambda table: table.pop("quantization_config"))
    (release.nvfp4 / "hf_quant_config.json").unlink()
    assert {"configs-agree", "ignore-list-vllm"} <= failing(prove(release.nvfp4))


def test_hf_quant_config_alone_is_enough_elsewhere(release: Release, prove: Callable[..., Said]) -> None:
    edit_json(release.nvfp4 / "config.json", lambda table: table.pop("quantization_config"))
    assert not prove(release.nvfp4).error


def test_a_text_model_has_no_tower_to_prove(release: Release, prove: Callable[..., Said]) -> None:
    _to_text_model(release.nvfp4)
    said = prove(release.nvfp4, release.base)
    assert not said.error, said.error
    assert "text model" in said.found["vision-verbatim-nvfp4"]


def test_the_hubs_cache_is_made_of_symbolic_links(release: Release, prove: Callable[..., Said]) -> None:
    snapshot = release.nvfp4.parent / "snapshot"
    snapshot.mkdir()
    for path in release.nvfp4.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert not prove(snapshot, release.base, release.master).error


def _missing_shard(folder: Path) -> None:
    next(iter(sorted(folder.glob("*.safetensors")))).unlink()


def _missing_index(folder: Path) -> None:
    shard = next(iter(sorted(folder.glob("*.safetensors"))))
    shutil.copy(shard, folder / "other.safetensors")
    (folder / INDEX_FILE).unlink(missing_ok=True)


def _no_weights(folder: Path) -> None:
    for path in (*folder.glob("*.safetensors"), folder / INDEX_FILE):
        path.unlink(missing_ok=True)


def _index_of(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / INDEX_FILE).write_text(
        json.dumps({"weight_map": {"mtp.fc.weight": name}})
    )


def _replace_shard(data: bytes) -> Callable[[Path], object]:
    return lambda folder: sorted(folder.glob("*.safetensors"))[0].write_bytes(data)


def _shard_is(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        shard = sorted(folder.glob("*.safetensors"))[0]
        shard.unlink()
        make(shard)

    return edit


def _config_is_a_pipe(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def _index_is_a_pipe(folder: Path) -> None:
    (folder / INDEX_FILE).unlink()
    os.mkfifo(folder / INDEX_FILE)


HOSTILE: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("a missing shard", _missing_shard, "expected this shard in the folder"),
    ("a missing index", _missing_index, "expected an index"),
    ("no weights", _no_weights, "expected this shard in the folder"),
    ("a path out of the folder", _index_of("../base/model.safetensors"), "expected the name of a shard"),
    ("an absolute path", _index_of("/etc/passwd"), "expected the name of a shard"),
    ("a hidden shard", _index_of(".x.safetensors"), "expected the name of a shard"),
    ("a huge header", _replace_shard(struct.pack("<Q", 1 << 62) + b"{}"), "header size"),
    ("an empty shard", _replace_shard(b""), "header size"),
    ("a link to nothing", _shard_is(lambda shard: shard.symlink_to("nowhere")), "readable file"),
    ("a link to itself", _shard_is(lambda shard: shard.symlink_to(shard.name)), "safetensors: "),
    ("a link to a device", _shard_is(lambda shard: shard.symlink_to("/dev/zero")), "Not a regular file"),
    ("a pipe for a shard", _shard_is(os.mkfifo), "Not a regular file"),
    ("a folder for a shard", _shard_is(Path.mkdir), "readable file"),
    ("a pipe for a config", _config_is_a_pipe, "Not a regular file"),
    ("a pipe for an index", _index_is_a_pipe, "Not a regular file"),
    ("a key twice", lambda folder: (folder / "config.json").write_text('{"a":1,"a":2}'), "'a' twice"),
    ("deep nesting", lambda folder: (folder / "config.json").write_text("[" * 100_000), "expected JSON"),
)


@pytest.mark.parametrize(("edit", "words"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_hostile_folder_is_refused_by_name(
    release: Release, tmp_path: Path, edit: Callable[[Path], object], words: str
) -> None:
    edit(release.nvfp4)
    with pytest.raises(ProofError, match=words):
        prove_path(Asked(path=str(release.nvfp4)), tmp_path / "pictures", as_json=True)


def test_a_quantization_table_of_another_form_is_a_finding(
    release: Release, prove: Callable[..., Said]
) -> None:
    edit_json(release.nvfp4 / "config.json", quantization_config=3)
    assert {"configs-agree", "ignore-list-vllm"} <= failing(prove(release.nvfp4))


@pytest.mark.parametrize("layers", [10**6, 1 << 40, -1, True])
def test_a_config_of_a_million_layers_fills_no_memory(release: Release, tmp_path: Path, layers: int) -> None:
    edit_json(release.nvfp4 / "config.json", lambda t: t["text_config"].update(num_hidden_layers=layers))
    with pytest.raises(ConfigError, match="num_hidden_layers"):
        prove_path(Asked(path=str(release.nvfp4)), tmp_path / "pictures", as_json=True)


@pytest.mark.parametrize(
    ("flag", "paths"),
    [("PATH", ("none", "", "")), ("--against", (".", "none", "")), ("--master", (".", "", "none"))],
)
def test_a_folder_that_is_not_there(
    release: Release, tmp_path: Path, flag: str, paths: tuple[str, str, str]
) -> None:
    path, against, master = (str(release.nvfp4 / path) if path else "" for path in paths)
    with pytest.raises(UsageError, match=f"{flag}: .*no such folder"):
        prove_path(Asked(path=path, against=against, master=master), tmp_path / "pictures", as_json=True)


def test_another_model_is_no_failed_proof(release: Release, tmp_path: Path) -> None:
    edit_json(release.nvfp4 / "config.json", model_type="llama")
    with pytest.raises(ConfigError, match="llama"):
        prove_path(Asked(path=str(release.nvfp4)), tmp_path / "pictures", as_json=True)


def test_a_picture_that_cannot_be_written_is_the_machines_fault(release: Release, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"\.svg"):
        prove_path(Asked(path=str(release.nvfp4)), tmp_path / "file" / "pictures", as_json=True)


def test_the_command_prints_a_table_and_ends_with_6(release: Release) -> None:
    invoke = Path(sys.executable).with_name("invoke")
    given = ("--against", str(release.base), "--master", str(release.master))
    line = [str(invoke), "prove", str(release.nvfp4), *given]
    fine = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert fine.returncode == 0, fine.stderr
    for piece in ("15 Linears NVFP4", "lineage: every tensor", "✓  repack", "picture of the bytes: "):
        assert piece in fine.stdout
    edit_tensor(release.nvfp4, "mtp.norm.weight", lambda data: data[::-1])
    broken = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert broken.returncode == 6
    assert "✗  mtp-verbatim-nvfp4" in broken.stdout and "mtp.norm.weight" in broken.stderr
    Path(fine.stdout.rpartition("picture of the bytes: ")[2].strip()).unlink()


@pytest.mark.env
@pytest.mark.parametrize("gates", ["bf16", "nvfp4"])
def test_a_plain_modelopt_export_raises_no_alarm(
    quantize_python: Path, tmp_path: Path, prove: Callable[..., Said], gates: str
) -> None:
    master, export = REPOSITORY / "recipes" / "tiny" / "master", tmp_path / "export"
    (tmp_path / "tokens.json").write_text(json.dumps([list(range(3, 40))]))
    subprocess.run(
        [
            *(quantize_python, "-m", "tests.unit.steps.reference_export"),
            *(master, tmp_path / "tokens.json", export, gates),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    said = prove(export, master=master)
    assert not said.error, said.error
    assert said.status["repack"] == said.status["ignore-list-vllm"] == "holds"
    assert said.facts["in_proj_ab"] == gates


def _tensors(folder: Path) -> Tensors:
    checkpoint = open_checkpoint(folder)
    return {n: (p.tensor.dtype, p.tensor.shape, checkpoint.read(n)) for n, p in checkpoint.tensors.items()}


def _rename_shards(folder: Path, form: str) -> None:
    names = {
        path.name: form.format(number) for number, path in enumerate(sorted(folder.glob("*.safetensors")))
    }
    for old, new in names.items():
        (folder / old).rename(folder / new)
    edit_json(
        folder / INDEX_FILE,
        lambda table: table.update(weight_map={n: names[str(f)] for n, f in table["weight_map"].items()}),
    )


def _to_compressed_tensors(folder: Path) -> None:
    """Write a packed tree anew under the names, scalars and config of compressed-tensors."""

    def edit(found: Tensors) -> Tensors:
        packed = {name.rpartition(".")[0] for name in found if name.endswith(".weight_scale_2")}
        return dict(_renamed(name, value, packed) for name, value in found.items())

    rewrite(folder, edit)
    four = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
    said = {
        "quant_method": "compressed-tensors",
        "format": "nvfp4-pack-quantized",
        "config_groups": {"group_0": {"weights": four, "input_activations": four, "targets": ["Linear"]}},
        "ignore": ["lm_head", "re:.*visual.*", "re:.*mtp.*"],
    }
    edit_json(folder / "config.json", quantization_config=said)
    (folder / "hf_quant_config.json").unlink()


def _renamed(
    name: str, value: tuple[str, tuple[int, ...], bytes], packed: set[str]
) -> tuple[str, tuple[str, tuple[int, ...], bytes]]:
    module, _, leaf = name.rpartition(".")
    dtype, shape, data = value
    if module not in packed:
        return name, value
    if dtype == "F32":
        shape, data = (1,), (np.float32(1) / np.frombuffer(data, "<f4")).tobytes()
    return f"{module}.{LEAVES.get(leaf, leaf)}", (dtype, shape, data)


def _to_text_model(folder: Path) -> None:
    """Make a tree the language model alone: its tensors below ``model.``, its config at the top."""

    def edit(found: Tensors) -> Tensors:
        kept = {n: v for n, v in found.items() if not n.startswith("model.visual.")}
        return {n.replace("model.language_model.", "model."): v for n, v in kept.items()}

    rewrite(folder, edit)
    table = json.loads((folder / "config.json").read_text())
    text = table["text_config"] | {"model_type": "qwen3_5_text"}
    (folder / "config.json").write_text(
        json.dumps(text | {"quantization_config": table["quantization_config"]})
    )
