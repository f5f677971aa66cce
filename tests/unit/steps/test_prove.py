"""Every way in which a release can lie fails at the claim that names it."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recipes.formats import evidence
from recipes.formats.checkpoint import INDEX_FILE, open_checkpoint
from recipes.formats.nvfp4 import bf16, bf16_to_f32, f32_to_bf16
from recipes.formats.qwen3_5 import MTP_PREFIX, VISION_PREFIX
from recipes.formats.step import Exit, StepError
from recipes.steps.prove.main import main as prove
from tests.unit.steps.scratch import KEEP_BF16, run_step
from tests.unit.steps.synthetic import (
    Release,
    Tensors,
    build_release,
    edit_tensor,
    random_bf16,
    random_tensors,
    rewrite,
    run_here,
)

Q_PROJ = "model.language_model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def release(sound: Release, tmp_path: Path) -> Release:
    return sound.copy(tmp_path / "release")


def failed(release: Release, tmp_path: Path) -> dict[str, str]:
    """Prove ``release``; return what does not hold: claim → what was found."""
    tree = run_here(prove, tmp_path / "prove", release.inputs(), {})
    found = evidence.parse((tree / "evidence.json").read_text())
    return {proof.name: proof.found for proof in found.failed()}


def test_a_sound_release_holds_in_a_process_of_its_own(sound: Release, tmp_path: Path) -> None:
    ran = run_step("prove", tmp_path, sound.inputs(), {"in_proj_ab": "nvfp4"})
    assert ran.code == 0, ran.log
    found = evidence.parse((ran.tree / "evidence.json").read_text())
    assert found.proofs and not found.failed()
    assert found.facts["quantized_linears"] == 15


def test_gates_kept_in_bf16_hold_when_the_ignore_list_says_so(tmp_path: Path) -> None:
    release = build_release(tmp_path / "release", in_proj_ab=False)
    assert failed(release, tmp_path) == {}


def test_ledger_counts_what_headers_say(sound: Release, tmp_path: Path) -> None:
    tree = run_here(prove, tmp_path / "prove", sound.inputs(), {})
    trees = json.loads((tree / "ledger.json").read_text())["trees"]
    packed, plain = trees["nvfp4"], trees["master"]
    assert packed["totals"]["parameters"] == plain["totals"]["parameters"]
    assert packed["totals"]["bytes"] == open_checkpoint(sound.nvfp4).data_bytes < plain["totals"]["bytes"]
    assert packed["classes"]["mtp"] == plain["classes"]["mtp"]
    assert packed["classes"]["mlp"]["dtypes"] == {"F32": 12, "F8_E4M3": 6, "U8": 6}


def test_swapped_halves_of_the_draft_input_are_found(release: Release, tmp_path: Path) -> None:
    def swap(data: bytes) -> bytes:
        left, right = np.split(bf16(data, (32, 64)), 2, axis=1)
        return np.concatenate((right, left), axis=1).tobytes()

    edit_tensor(release.nvfp4, "mtp.fc.weight", swap)
    assert list(failed(release, tmp_path)) == ["mtp-verbatim-nvfp4"]


def test_norms_with_one_added_are_found(release: Release, tmp_path: Path) -> None:
    for tree in (release.nvfp4, release.release_master):
        edit_tensor(tree, "model.language_model.norm.weight", _plus_one)
        edit_tensor(tree, "mtp.norm.weight", _plus_one)
    found = failed(release, tmp_path)
    assert {"norms-verbatim", "mtp-verbatim-nvfp4", "mtp-verbatim-master"} <= found.keys()
    assert "model.language_model.norm.weight" in found["norms-verbatim"]


def test_a_random_draft_head_is_found(release: Release, tmp_path: Path) -> None:
    other = random_tensors(7)
    for name in (name for name in other if name.startswith(MTP_PREFIX)):
        edit_tensor(release.release_master, name, lambda _, name=name: other[name][2])  # type: ignore[misc]
    assert list(failed(release, tmp_path)) == ["mtp-verbatim-master"]


def test_a_missing_draft_head_is_named(release: Release, tmp_path: Path) -> None:
    rewrite(release.nvfp4, lambda tensors: {n: t for n, t in tensors.items() if not n.startswith(MTP_PREFIX)})
    found = failed(release, tmp_path)
    assert {"mtp-15-tensors", "mtp-bf16", "mtp-verbatim-nvfp4"} <= found.keys()
    assert "mtp.fc.weight" in found["mtp-15-tensors"]


def test_one_missing_draft_norm_is_named(release: Release, tmp_path: Path) -> None:
    rewrite(release.nvfp4, lambda tensors: {n: t for n, t in tensors.items() if n != "mtp.norm.weight"})
    assert "mtp.norm.weight" in failed(release, tmp_path)["mtp-15-tensors"]


def test_a_quantized_vision_tower_is_found(release: Release, tmp_path: Path) -> None:
    module = f"{VISION_PREFIX}blocks.0.attn.qkv"

    def quantize(tensors: Tensors) -> Tensors:
        scales = {
            f"{module}.weight": ("U8", (48, 8), bytes(48 * 8)),
            f"{module}.weight_scale": ("F8_E4M3", (48, 1), b"\x38" * 48),
            f"{module}.weight_scale_2": ("F32", (), struct.pack("<f", 1)),
            f"{module}.input_scale": ("F32", (), struct.pack("<f", 1)),
        }
        return tensors | scales

    rewrite(release.nvfp4, quantize)
    found = failed(release, tmp_path)
    assert {"vision-verbatim-nvfp4", "nvfp4-body", "ignore-list-vllm"} <= found.keys()
    assert module in found["vision-verbatim-nvfp4"]


def test_the_ignore_list_that_misses_the_vision_tower_is_found(release: Release, tmp_path: Path) -> None:
    wrong = ["*model.visual*", *KEEP_BF16[1:]]
    _edit_json(release.nvfp4 / "config.json", lambda c: c["quantization_config"].update(ignore=wrong))
    _edit_json(
        release.nvfp4 / "hf_quant_config.json", lambda c: c["quantization"].update(exclude_modules=wrong)
    )
    found = failed(release, tmp_path)
    assert list(found) == ["ignore-list-vllm"]
    assert f"{VISION_PREFIX}blocks.0.attn.qkv" in found["ignore-list-vllm"]


def test_an_ignore_list_that_covers_the_body_is_found(release: Release, tmp_path: Path) -> None:
    wrong = [*KEEP_BF16, "*o_proj*"]
    _edit_json(release.nvfp4 / "config.json", lambda c: c["quantization_config"].update(ignore=wrong))
    assert {"ignore-list-vllm", "configs-agree"} == failed(release, tmp_path).keys()


def test_one_flipped_bit_of_a_packed_weight_is_found(release: Release, tmp_path: Path) -> None:
    edit_tensor(release.nvfp4, f"{Q_PROJ}.weight", lambda data: bytes([data[0] ^ 1]) + data[1:])
    found = failed(release, tmp_path)
    assert list(found) == ["repack"]
    assert f"{Q_PROJ}.weight" in found["repack"]


@pytest.mark.parametrize("leaf", ["weight_scale_2", "input_scale"])
def test_scales_that_differ_in_a_fused_group_are_found(release: Release, tmp_path: Path, leaf: str) -> None:
    edit_tensor(release.nvfp4, f"{Q_PROJ}.{leaf}", lambda _: struct.pack("<f", 0.5))
    found = failed(release, tmp_path)
    assert Q_PROJ in found["one-scale-per-fused-group"]


@pytest.mark.parametrize(
    ("leaf", "bad"),
    [
        ("weight_scale", b"\x7f" * 128),
        ("weight_scale", b"\x00" * 128),
        ("weight_scale", b"\xb8" * 128),
        ("weight_scale_2", struct.pack("<f", 0)),
        ("input_scale", struct.pack("<f", float("nan"))),
        ("input_scale", struct.pack("<f", float("inf"))),
    ],
)
def test_unusable_scales_are_named(release: Release, tmp_path: Path, leaf: str, bad: bytes) -> None:
    edit_tensor(release.nvfp4, f"{Q_PROJ}.{leaf}", lambda _: bad)
    assert f"{Q_PROJ}.{leaf}" in failed(release, tmp_path)["scales-finite-positive"]


def test_a_missing_input_scale_is_named(release: Release, tmp_path: Path) -> None:
    rewrite(release.nvfp4, lambda tensors: {n: t for n, t in tensors.items() if n != f"{Q_PROJ}.input_scale"})
    found = failed(release, tmp_path)
    assert f"{Q_PROJ}.input_scale" in found["nvfp4-four-tensors"]
    assert "could not be evaluated" in found["one-scale-per-fused-group"]


def test_a_linear_left_unpacked_is_named(release: Release, tmp_path: Path) -> None:
    plain = random_bf16(np.random.default_rng(0), (64, 32))

    def unpack(tensors: Tensors) -> Tensors:
        rest = {name: value for name, value in tensors.items() if not name.startswith(f"{Q_PROJ}.")}
        return rest | {f"{Q_PROJ}.weight": ("BF16", (64, 32), plain)}

    rewrite(release.nvfp4, unpack)
    found = failed(release, tmp_path)
    assert Q_PROJ in found["nvfp4-body"]
    assert Q_PROJ in found["ignore-list-vllm"]


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("lm_head.weight", "lm-head-verbatim"),
        ("model.language_model.embed_tokens.weight", "embeddings-verbatim"),
        ("model.language_model.layers.0.linear_attn.conv1d.weight", "conv1d-verbatim"),
        ("model.language_model.layers.0.linear_attn.A_log", "unpacked-verbatim"),
        (f"{VISION_PREFIX}merger.linear_fc2.weight", "vision-verbatim-nvfp4"),
    ],
)
def test_a_changed_tensor_is_named(release: Release, tmp_path: Path, name: str, claim: str) -> None:
    edit_tensor(release.nvfp4, name, lambda data: data[:-1] + bytes([data[-1] ^ 0x80]))
    assert name in failed(release, tmp_path)[claim]


def test_a_changed_body_of_the_master_tree_is_named(release: Release, tmp_path: Path) -> None:
    edit_tensor(release.release_master, f"{Q_PROJ}.weight", lambda data: data[::-1])
    found = failed(release, tmp_path)
    assert list(found) == ["master-verbatim"]


def test_an_output_head_in_another_dtype_is_named(release: Release, tmp_path: Path) -> None:
    def widen(tensors: Tensors) -> Tensors:
        _, shape, data = tensors["lm_head.weight"]
        return tensors | {"lm_head.weight": ("F32", shape, data * 2)}

    rewrite(release.nvfp4, widen)
    assert "lm_head.weight: F32" in failed(release, tmp_path)["lm-head-bf16"]


def test_a_wrong_total_is_found(release: Release, tmp_path: Path) -> None:
    _edit_json(release.nvfp4 / INDEX_FILE, lambda index: index["metadata"].update(total_size=1))
    assert list(failed(release, tmp_path)) == ["index-totals"]


@pytest.mark.parametrize("file", ["modeling.py", "pytorch_model.bin"])
def test_code_in_a_tree_is_named(release: Release, tmp_path: Path, file: str) -> None:
    (release.release_master / file).write_text("")
    assert file in failed(release, tmp_path)["no-code"]


def test_a_config_that_asks_for_code_is_named(release: Release, tmp_path: Path) -> None:
    for tree in (release.nvfp4, release.release_master):
        _edit_json(tree / "config.json", lambda config: config.update(auto_map={"AutoModel": "x.Y"}))
    assert list(failed(release, tmp_path)) == ["no-code"]


def test_two_chat_templates_are_found(release: Release, tmp_path: Path) -> None:
    (release.nvfp4 / "chat_template.jinja").write_text("{{ messages }}")
    assert "chat_template.jinja" in failed(release, tmp_path)["same-interface"]


def test_a_truncated_shard_ends_the_step(release: Release, tmp_path: Path) -> None:
    shard = sorted(release.nvfp4.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(StepError, match=shard.name) as caught:
        failed(release, tmp_path)
    assert caught.value.code is Exit.PROOF


def test_another_architecture_ends_the_step(release: Release, tmp_path: Path) -> None:
    _edit_json(release.master / "config.json", lambda config: config.update(model_type="llama"))
    with pytest.raises(StepError, match="model_type") as caught:
        failed(release, tmp_path)
    assert caught.value.code is Exit.CONFIG


def _plus_one(data: bytes) -> bytes:
    values = bf16_to_f32(bf16(data, (len(data) // 2,)))
    return f32_to_bf16(values + np.float32(1)).tobytes()


def _edit_json(path: Path, edit: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
