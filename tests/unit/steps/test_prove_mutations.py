"""Every way in which a release can lie fails at the claim that names it, with the tensor named.

The clean release that each of these is made of raises no alarm: ``test_prove.py`` and, for
one that we did not make, ``tests/unit/test_proving.py``.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recipes.formats import evidence, nvfp4
from recipes.formats.checkpoint import INDEX_FILE, open_checkpoint
from recipes.formats.nvfp4 import bf16, bf16_to_f32, f32_to_bf16
from recipes.formats.qwen3_5 import MTP_PREFIX, VISION_PREFIX
from recipes.steps.prove.main import main as prove
from tests.unit.steps.scratch import KEEP_BF16
from tests.unit.steps.synthetic import (
    Release,
    Tensors,
    build_release,
    edit_json,
    edit_tensor,
    pack_weight,
    random_bf16,
    random_tensors,
    rewrite,
    run_here,
)

LAYER = "model.language_model.layers.0"
FULL = "model.language_model.layers.1.self_attn"
Q_PROJ = f"{FULL}.q_proj"
UP_PROJ = f"{LAYER}.mlp.up_proj"
TOWER = f"{VISION_PREFIX}blocks.0.attn.qkv"
CONFIG, QUANT_CONFIG = "config.json", "hf_quant_config.json"


Edit = Callable[[Release], object]


@dataclass(frozen=True, slots=True)
class Mutation:
    """A way to break a release: ``claim`` fails and names ``named``."""

    name: str
    claim: str
    named: str
    edit: Edit
    alone: bool = False


def tensor(name: str, edit: Callable[[bytes], bytes], tree: str = "nvfp4") -> Edit:
    """Return a mutation that replaces the bytes of one tensor."""
    return lambda release: edit_tensor(getattr(release, tree), name, edit)


def tensors(edit: Callable[[Tensors], Tensors], tree: str = "nvfp4") -> Edit:
    """Return a mutation that writes a tree anew; its index stays right."""
    return lambda release: rewrite(getattr(release, tree), edit)


def without(*names: str) -> Edit:
    """Return a mutation that drops tensors."""
    return tensors(lambda found: {n: t for n, t in found.items() if not n.startswith(names)})


def quantized(module: str) -> Edit:
    """Return a mutation that packs a module which was to stay BF16."""

    def edit(found: Tensors) -> Tensors:
        _, shape, data = found[f"{module}.weight"]
        bits = bf16(data, shape)
        return found | pack_weight(module, bits, nvfp4.global_scale([(module, bits)]))

    return tensors(edit)


def unpacked(module: str) -> Edit:
    """Return a mutation that leaves a Linear of the body BF16."""

    def edit(release: Release) -> None:
        place = open_checkpoint(release.master)
        name = f"{module}.weight"
        plain: Tensors = {name: ("BF16", place.locate(name).tensor.shape, place.read(name))}
        without(f"{module}.")(release)
        rewrite(release.nvfp4, lambda found: found | plain)

    return edit


def ignore(*patterns: str) -> Edit:
    """Return a mutation that writes another ignore list into both config files."""

    def edit(release: Release) -> None:
        _config(release.nvfp4, ignore=list(patterns))
        _quant_config(release.nvfp4, exclude_modules=list(patterns))

    return edit


def both(*edits: Edit) -> Edit:
    """Return several mutations as one."""

    def edit(release: Release) -> None:
        for each in edits:
            each(release)

    return edit


def _config(tree: Path, **fields: object) -> None:
    edit_json(tree / CONFIG, lambda table: table["quantization_config"].update(fields))


def _quant_config(tree: Path, **fields: object) -> None:
    edit_json(tree / QUANT_CONFIG, lambda table: table["quantization"].update(fields))


def _text(tree: Path, **fields: object) -> None:
    edit_json(tree / CONFIG, lambda table: table["text_config"].update(fields))


def _swap_halves(data: bytes) -> bytes:
    left, right = np.split(bf16(data, (32, 64)), 2, axis=1)
    return np.concatenate((right, left), axis=1).tobytes()


def _plus_one(data: bytes) -> bytes:
    return f32_to_bf16(bf16_to_f32(bf16(data, (len(data) // 2,))) + np.float32(1)).tobytes()


def _swap_nibbles(data: bytes) -> bytes:
    codes = np.frombuffer(data, np.uint8)
    return (codes >> 4 | codes << 4).tobytes()


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 0x80])


def _scalar(value: float) -> Callable[[bytes], bytes]:
    return lambda _: struct.pack("<f", value)


def _one_step(data: bytes) -> bytes:
    return (np.frombuffer(data, np.uint8) - 1).tobytes()


def _random_head(release: Release) -> None:
    other = random_tensors(7)
    for name in (name for name in other if name.startswith(MTP_PREFIX)):
        edit_tensor(release.release_master, name, lambda _, data=other[name][2]: data)  # type: ignore[misc]


def _double(module: str) -> Edit:
    """Return a mutation that scales one fused member alone: other codes, the same weights."""

    def edit(release: Release) -> None:
        master = open_checkpoint(release.master)
        place = master.locate(f"{module}.weight").tensor
        bits = bf16(master.read(f"{module}.weight"), place.shape)
        rewrite(
            release.nvfp4,
            lambda found: (
                found | pack_weight(module, bits, nvfp4.global_scale([(module, bits)]) * np.float32(2))
            ),
        )

    return edit


def _write(tree: str, file: str, text: str) -> Edit:
    return lambda release: (getattr(release, tree) / file).write_text(text)


def _widen(name: str) -> Callable[[Tensors], Tensors]:
    return lambda found: found | {name: ("F32", found[name][1], found[name][2] * 2)}


MUTATIONS = (
    # the ignore list
    Mutation(
        "the tower's pattern matches nothing in vLLM",
        "ignore-list-vllm",
        TOWER,
        ignore("*model.visual*", *KEEP_BF16[1:]),
    ),
    Mutation(
        "a pattern covers part of the body",
        "ignore-list-vllm",
        f"{FULL}.o_proj",
        ignore(*KEEP_BF16, "*o_proj*"),
    ),
    Mutation("the draft head is not listed", "ignore-list-vllm", "mtp.layers.0", ignore(*KEEP_BF16[:3])),
    Mutation("the head is not listed", "ignore-list-sglang", "lm_head", ignore(*KEEP_BF16[:2], "*mtp*")),
    Mutation(
        "patterns of another dialect", "ignore-list-vllm", "mtp.layers.0", ignore(*KEEP_BF16[:3], "re:^mtp.*")
    ),
    Mutation(
        "one part of a fused module is listed", "ignore-list-vllm", "qkv_proj", ignore(*KEEP_BF16, Q_PROJ)
    ),
    Mutation(
        "a longer list than there need be",
        "ignore-list-shortest",
        "*linear_attn.conv1d*",
        ignore(*KEEP_BF16, "model.visual*"),
        alone=True,
    ),
    Mutation(
        "hf_quant_config is stale",
        "configs-agree",
        "exclude_modules",
        lambda release: _quant_config(release.nvfp4, exclude_modules=["lm_head"]),
        alone=True,
    ),
    Mutation(
        "another algorithm",
        "configs-agree",
        "quant_algo",
        lambda release: _config(release.nvfp4, quant_algo="W4A16_NVFP4"),
    ),
    Mutation(
        "another group size",
        "configs-agree",
        "group_size",
        lambda release: _quant_config(release.nvfp4, group_size=32),
        alone=True,
    ),
    # what is quantized
    Mutation("the output head is quantized", "lm-head-bf16", "lm_head.weight: U8", quantized("lm_head")),
    Mutation("the vision tower is quantized", "vision-bf16", f"{TOWER}.weight: U8", quantized(TOWER)),
    Mutation("the draft head is quantized", "mtp-bf16", "mtp.fc.weight: U8", quantized("mtp.fc")),
    Mutation("a Linear of the body is left BF16", "nvfp4-body", UP_PROJ, unpacked(UP_PROJ)),
    Mutation(
        "a gate is not packed as the recipe says",
        "in-proj-ab",
        f"{LAYER}.linear_attn.in_proj_a",
        unpacked(f"{LAYER}.linear_attn.in_proj_a"),
    ),
    Mutation(
        "the head in another dtype", "lm-head-bf16", "lm_head.weight: F32", tensors(_widen("lm_head.weight"))
    ),
    Mutation(
        "a convolution in another dtype",
        "conv1d-bf16",
        f"{LAYER}.linear_attn.conv1d.weight: F32",
        tensors(_widen(f"{LAYER}.linear_attn.conv1d.weight")),
    ),
    # what is there
    Mutation("the draft head is dropped", "mtp-15-tensors", "mtp.fc.weight", without(MTP_PREFIX)),
    Mutation(
        "one norm of the draft head is dropped", "mtp-15-tensors", "mtp.norm.weight", without("mtp.norm.")
    ),
    Mutation(
        "a norm of the body is dropped",
        "architecture-nvfp4",
        f"{LAYER}.input_layernorm.weight",
        without(f"{LAYER}.input_layernorm."),
    ),
    Mutation("the vision tower is dropped", "architecture-nvfp4", f"{TOWER}.weight", without(VISION_PREFIX)),
    Mutation(
        "an input scale is missing",
        "nvfp4-four-tensors",
        f"{Q_PROJ}.input_scale",
        without(f"{Q_PROJ}.input_scale"),
    ),
    Mutation(
        "a tensor that the config does not imply",
        "architecture-nvfp4",
        "model.language_model.layers.9.extra.weight",
        tensors(lambda t: t | {"model.language_model.layers.9.extra.weight": ("BF16", (1,), b"\0\0")}),
    ),
    Mutation(
        "the config is of a larger model",
        "architecture-nvfp4",
        "model.language_model.embed_tokens.weight",
        lambda release: _text(release.nvfp4, vocab_size=48),
    ),
    Mutation(
        "the config says two draft layers",
        "mtp-layers",
        "says 2",
        lambda release: _text(release.nvfp4, mtp_num_hidden_layers=2),
    ),
    # bytes that nobody may have changed
    Mutation(
        "halves of the draft input swapped",
        "mtp-verbatim-nvfp4",
        "mtp.fc.weight",
        tensor("mtp.fc.weight", _swap_halves),
        alone=True,
    ),
    Mutation(
        "a draft norm plus one", "mtp-verbatim-nvfp4", "mtp.norm.weight", tensor("mtp.norm.weight", _plus_one)
    ),
    Mutation("a random draft head", "mtp-verbatim-master", "mtp.fc.weight", _random_head, alone=True),
    Mutation(
        "a norm of the body plus one",
        "norms-verbatim",
        "model.language_model.norm.weight",
        tensor("model.language_model.norm.weight", _plus_one),
    ),
    Mutation("one bit of the head", "lm-head-verbatim", "lm_head.weight", tensor("lm_head.weight", _flip)),
    Mutation(
        "one bit of the embedding",
        "embeddings-verbatim",
        "model.language_model.embed_tokens.weight",
        tensor("model.language_model.embed_tokens.weight", _flip),
    ),
    Mutation(
        "one bit of a convolution",
        "conv1d-verbatim",
        f"{LAYER}.linear_attn.conv1d.weight",
        tensor(f"{LAYER}.linear_attn.conv1d.weight", _flip),
    ),
    Mutation(
        "one bit of a decay",
        "unpacked-verbatim",
        f"{LAYER}.linear_attn.A_log",
        tensor(f"{LAYER}.linear_attn.A_log", _flip),
        alone=True,
    ),
    Mutation(
        "one bit of the tower", "vision-verbatim-nvfp4", f"{TOWER}.bias", tensor(f"{TOWER}.bias", _flip)
    ),
    Mutation(
        "the tower of both trees trained further",
        "vision-verbatim-master",
        f"{TOWER}.weight",
        both(*(tensor(f"{TOWER}.weight", _flip, tree) for tree in ("nvfp4", "release_master", "master"))),
    ),
    Mutation(
        "another body in the master tree",
        "master-verbatim",
        f"{Q_PROJ}.weight",
        tensor(f"{Q_PROJ}.weight", lambda data: data[::-1], "release_master"),
        alone=True,
    ),
    # scales and codes
    Mutation(
        "the global scale of one fused member",
        "one-scale-per-fused-group",
        f"{Q_PROJ}=0.5",
        tensor(f"{Q_PROJ}.weight_scale_2", _scalar(0.5)),
    ),
    Mutation(
        "the input scale of one fused member",
        "one-scale-per-fused-group",
        f"{Q_PROJ}=0.5",
        tensor(f"{Q_PROJ}.input_scale", _scalar(0.5)),
    ),
    Mutation(
        "a fused member packed under its own scale", "repack", f"{Q_PROJ}.weight_scale_2", _double(Q_PROJ)
    ),
    Mutation(
        "input scales of another calibration",
        "input-scales-calibrated",
        f"{FULL}.o_proj.input_scale",
        tensor(f"{FULL}.o_proj.input_scale", _scalar(0.002)),
        alone=True,
    ),
    Mutation(
        "nibbles swapped", "relative-error", f"{UP_PROJ}.weight", tensor(f"{UP_PROJ}.weight", _swap_nibbles)
    ),
    Mutation(
        "one bit of a packed weight",
        "repack",
        f"{Q_PROJ}.weight",
        tensor(f"{Q_PROJ}.weight", lambda data: bytes([data[0] ^ 1]) + data[1:]),
        alone=True,
    ),
    Mutation(
        "block scales one step too small",
        "repack",
        f"{Q_PROJ}.weight_scale",
        tensor(f"{Q_PROJ}.weight_scale", _one_step),
    ),
    Mutation(
        "a block scale is NaN",
        "scales-finite-positive",
        f"{Q_PROJ}.weight_scale",
        tensor(f"{Q_PROJ}.weight_scale", lambda data: b"\x7f" + data[1:]),
    ),
    Mutation(
        "a block scale is zero",
        "scales-finite-positive",
        f"{Q_PROJ}.weight_scale",
        tensor(f"{Q_PROJ}.weight_scale", lambda data: b"\0" + data[1:]),
    ),
    Mutation(
        "a block scale is negative",
        "scales-finite-positive",
        f"{Q_PROJ}.weight_scale",
        tensor(f"{Q_PROJ}.weight_scale", lambda data: b"\xb8" + data[1:]),
    ),
    Mutation(
        "a global scale is zero",
        "scales-finite-positive",
        f"{Q_PROJ}.weight_scale_2",
        tensor(f"{Q_PROJ}.weight_scale_2", _scalar(0)),
    ),
    Mutation(
        "an input scale is NaN",
        "scales-finite-positive",
        f"{Q_PROJ}.input_scale",
        tensor(f"{Q_PROJ}.input_scale", _scalar(float("nan"))),
    ),
    Mutation(
        "an input scale is infinite",
        "scales-finite-positive",
        f"{Q_PROJ}.input_scale",
        tensor(f"{Q_PROJ}.input_scale", _scalar(float("inf"))),
    ),
    Mutation(
        "packed from another master",
        "relative-error",
        f"{UP_PROJ}.weight",
        tensor(f"{UP_PROJ}.weight", lambda data: random_bf16(np.random.default_rng(3), (len(data) // 2,))),
    ),
    Mutation(
        "packed from a master that was packed before",
        "relative-error",
        f"{UP_PROJ}.weight",
        lambda release: _round_master(release),
    ),
    # the small files
    Mutation(
        "total_size is off",
        "index-totals",
        "total_size",
        lambda release: edit_json(release.nvfp4 / INDEX_FILE, lambda t: t["metadata"].update(total_size=1)),
        alone=True,
    ),
    Mutation(
        "total_size is not said",
        "index-totals",
        "got None",
        lambda release: edit_json(release.nvfp4 / INDEX_FILE, lambda t: t["metadata"].clear()),
        alone=True,
    ),
    Mutation(
        "Python code", "no-code", "modeling.py", _write("release_master", "modeling.py", "x"), alone=True
    ),
    Mutation(
        "a pickle", "no-code", "pytorch_model.bin", _write("nvfp4", "pytorch_model.bin", "x"), alone=True
    ),
    Mutation(
        "a config that asks for code",
        "no-code",
        "config.json: auto_map",
        both(
            *(
                lambda release, tree=tree: edit_json(
                    getattr(release, tree) / CONFIG, auto_map={"AutoModel": "x.Y"}
                )
                for tree in ("nvfp4", "release_master")
            )
        ),
        alone=True,
    ),
    Mutation(
        "another chat template in one tree",
        "same-interface",
        "chat_template.jinja",
        _write("nvfp4", "chat_template.jinja", "{{ messages }}"),
    ),
    Mutation(
        "another chat template in both trees",
        "chat-template-locked",
        "chat_template.jinja",
        both(
            *(_write(tree, "chat_template.jinja", "{{ messages }}") for tree in ("nvfp4", "release_master"))
        ),
        alone=True,
    ),
    Mutation(
        "a second chat template",
        "one-chat-template",
        "tokenizer_config.json",
        both(
            *(
                lambda release, tree=tree: edit_json(
                    getattr(release, tree) / "tokenizer_config.json", chat_template="x"
                )
                for tree in ("nvfp4", "release_master")
            )
        ),
        alone=True,
    ),
    Mutation(
        "the trees' configs differ",
        "same-config",
        "eos_token_id",
        lambda release: edit_json(release.nvfp4 / CONFIG, eos_token_id=7),
        alone=True,
    ),
    Mutation(
        "the tokenizers differ",
        "same-interface",
        "tokenizer.json",
        _write("nvfp4", "tokenizer.json", "{}"),
        alone=True,
    ),
    Mutation(
        "hf_quant_config.json is missing",
        "configs-agree",
        QUANT_CONFIG,
        lambda release: (release.nvfp4 / QUANT_CONFIG).unlink(),
        alone=True,
    ),
)


def _round_master(release: Release) -> None:
    """Give the master, and the BF16 tree, weights that NVFP4 holds exactly."""
    packed = open_checkpoint(release.nvfp4)
    codes = np.frombuffer(packed.read(f"{UP_PROJ}.weight"), np.uint8).reshape(48, 16)
    scales = np.frombuffer(packed.read(f"{UP_PROJ}.weight_scale"), np.uint8).reshape(48, 2)
    scale_2 = np.frombuffer(packed.read(f"{UP_PROJ}.weight_scale_2"), "<f4")[0]
    rounded = f32_to_bf16(nvfp4.unpack(codes, scales, scale_2)).tobytes()
    for tree in (release.master, release.release_master):
        edit_tensor(tree, f"{UP_PROJ}.weight", lambda _: rounded)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build_release(tmp_path_factory.mktemp("release"))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_a_lie_is_named(mutation: Mutation, sound: Release, tmp_path: Path) -> None:
    release = sound.copy(tmp_path / "release")
    mutation.edit(release)
    tree = run_here(prove, tmp_path / "prove", release.inputs(), release.params)
    failed = {p.name: p.found for p in evidence.parse((tree / evidence.EVIDENCE_FILE).read_text()).failed()}
    assert mutation.named in failed.get(mutation.claim, ""), failed
    if mutation.alone:
        assert list(failed) == [mutation.claim]
