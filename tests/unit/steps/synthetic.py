"""A checkpoint of the architecture in a few kilobytes: a base, a master, and the trees made of them.

The NVFP4 body is packed with the project's own packer, so nothing here needs torch.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.formats import nvfp4
from recipes.formats.checkpoint import INDEX_FILE, SINGLE_FILE, open_checkpoint, shard_name, write_index
from recipes.formats.qwen3_5 import MTP_PREFIX, VISION_PREFIX, Layout, parse_layout
from recipes.formats.safetensors import Entry, write
from recipes.formats.step import Workdir, parse_tree
from recipes.steps.configure.main import main as configure
from recipes.steps.graft.main import main as graft
from tests.unit.steps.scratch import KEEP_BF16, REPOSITORY

HIDDEN, INTERMEDIATE, HEAD, VOCAB = 32, 48, 16, 24
SAMPLING: Mapping[str, object] = {"temperature": 0.7, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.1}
CONFIG: Mapping[str, object] = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "model_type": "qwen3_5",
    "tie_word_embeddings": False,
    "text_config": {
        "attn_output_gate": True,
        "head_dim": HEAD,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "layer_types": ["linear_attention", "full_attention"],
        "mtp_num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
    },
}
LAYOUT: Layout = parse_layout(CONFIG)

_MLP = {
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
    "input_layernorm": (HIDDEN,),
    "post_attention_layernorm": (HIDDEN,),
}
_LINEAR = {
    "linear_attn.conv1d": (64, 1, 4),
    "linear_attn.in_proj_qkv": (64, HIDDEN),
    "linear_attn.in_proj_z": (32, HIDDEN),
    "linear_attn.in_proj_a": (2, HIDDEN),
    "linear_attn.in_proj_b": (2, HIDDEN),
    "linear_attn.out_proj": (HIDDEN, 32),
    "linear_attn.norm": (HEAD,),
}
_FULL = {
    "self_attn.q_proj": (64, HIDDEN),
    "self_attn.k_proj": (HEAD, HIDDEN),
    "self_attn.v_proj": (HEAD, HIDDEN),
    "self_attn.o_proj": (HIDDEN, 32),
    "self_attn.q_norm": (HEAD,),
    "self_attn.k_norm": (HEAD,),
}
_VISION = {
    "patch_embed.proj.weight": (16, 3, 2, 4, 4),
    "blocks.0.attn.qkv.weight": (48, 16),
    "blocks.0.attn.proj.weight": (16, 16),
    "blocks.0.mlp.linear_fc1.weight": (32, 16),
    "merger.linear_fc2.weight": (HIDDEN, 16),
}

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The four folders that prove compares."""

    nvfp4: Path
    release_master: Path
    base: Path
    master: Path

    def copy(self, folder: Path) -> "Release":
        """Return a copy below ``folder`` that a test may damage."""
        for name in self.inputs():
            shutil.copytree(self.inputs()[name], folder / name)
        return Release(**{name: folder / name for name in self.inputs()})

    def inputs(self) -> dict[str, Path]:
        """Return the folders by prove's input names."""
        return {
            "nvfp4": self.nvfp4,
            "release_master": self.release_master,
            "base": self.base,
            "master": self.master,
        }


def build_release(folder: Path, in_proj_ab: bool = True) -> Release:
    """Build both release trees below ``folder`` by the real graft and configure steps."""
    sources = build_sources(folder)
    body = folder / "body"
    write_checkpoint(body, pack_body(sources["master"], in_proj_ab))
    _write_json(body / "config.json", {**CONFIG, "quantization_config": _quantization("ignore")})
    _write_json(body / "hf_quant_config.json", {"quantization": _quantization("exclude_modules")})
    ignore = [*KEEP_BF16, *([] if in_proj_ab else ["*in_proj_ba*"])]
    trees = {}
    for name, source, quantized in (("nvfp4", body, True), ("release_master", sources["master"], False)):
        grafted = run_here(graft, folder / f"graft-{name}", {"body": source, "head": sources["base"]}, {})
        trees[name] = run_here(
            configure,
            folder / f"configure-{name}",
            configure_inputs(grafted, sources["master"]),
            {"quantized": quantized, "ignore": ignore, "sampling": SAMPLING},
        )
    return Release(**trees, **sources)


def build_sources(folder: Path) -> dict[str, Path]:
    """Build a base and a master below ``folder``: another body, no draft head, the same vision tower."""
    base, master = folder / "base", folder / "master"
    tensors = random_tensors(0)
    trained = random_tensors(1)
    frozen = {name: value for name, value in tensors.items() if name.startswith(VISION_PREFIX)}
    write_checkpoint(base, tensors, shards=3)
    kept = {name: value for name, value in trained.items() if not name.startswith(MTP_PREFIX)}
    write_checkpoint(master, kept | frozen, shards=2)
    for checkpoint in (base, master):
        _write_json(checkpoint / "config.json", dict(CONFIG))
        _write_json(checkpoint / "generation_config.json", {"eos_token_id": [1, 2], "temperature": 1.0})
        _write_json(checkpoint / "tokenizer.json", {"model": {"vocab": {"auto_map": 3}}})
        _write_json(checkpoint / "tokenizer_config.json", {"eos_token": "<|im_end|>"})
    return {"base": base, "master": master}


def configure_inputs(tree: Path, master: Path) -> dict[str, Path]:
    """Return the inputs of the configure step with the project's own templates."""
    templates = REPOSITORY / "recipes" / "templates"
    return {"tree": tree, "master": master, "chat_template": templates, "templates": templates}


def random_tensors(seed: int) -> Tensors:
    """Return every tensor of the checkpoint with random BF16 weights."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (VOCAB, HIDDEN),
        "model.language_model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.language_model.norm.weight": (HIDDEN,),
        **{f"{VISION_PREFIX}{name}": shape for name, shape in _VISION.items()},
        **LAYOUT.mtp_shapes(),
    }
    for number, own in enumerate((_LINEAR, _FULL)):
        shapes |= {f"model.language_model.layers.{number}.{k}.weight": s for k, s in (own | _MLP).items()}
    shapes |= {f"model.language_model.layers.0.linear_attn.{name}": (2,) for name in ("A_log", "dt_bias")}
    return {name: ("BF16", shape, random_bf16(random, shape)) for name, shape in shapes.items()}


def random_bf16(random: np.random.Generator, shape: tuple[int, ...]) -> bytes:
    """Return random weights of ``shape`` as raw BF16 bytes."""
    values = (random.standard_normal(shape) * 0.02).astype(np.float32)
    return nvfp4.f32_to_bf16(values).tobytes()


def pack_body(master: Path, in_proj_ab: bool) -> Tensors:
    """Return the master's tensors with the body's Linears packed."""
    checkpoint = open_checkpoint(master)
    tensors: Tensors = {
        name: (place.tensor.dtype, place.tensor.shape, checkpoint.read(name))
        for name, place in checkpoint.tensors.items()
    }
    for group in LAYOUT.fused_groups(in_proj_ab=in_proj_ab):
        weights = {
            name: nvfp4.bf16(tensors[f"{name}.weight"][2], tensors[f"{name}.weight"][1]) for name in group
        }
        scale_2 = nvfp4.global_scale(weights.items())
        for name, bits in weights.items():
            tensors |= _packed(name, bits, scale_2)
    return tensors


def write_checkpoint(folder: Path, tensors: Tensors, shards: int = 1) -> None:
    """Write ``tensors`` to ``folder``: a single file, or shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    files = [SINGLE_FILE] if shards == 1 else [shard_name(n, shards) for n in range(1, shards + 1)]
    weight_map: dict[str, str] = {}
    for number, file in enumerate(files):
        mine = names[number::shards]
        write(folder / file, [Entry(n, tensors[n][0], tensors[n][1], [tensors[n][2]]) for n in mine])
        weight_map |= dict.fromkeys(mine, file)
    if shards > 1:
        write_index(folder / INDEX_FILE, weight_map, sum(len(value[2]) for value in tensors.values()))


def edit_tensor(folder: Path, name: str, edit: Callable[[bytes], bytes]) -> None:
    """Replace the bytes of tensor ``name`` in place; as many bytes as there were."""
    checkpoint = open_checkpoint(folder)
    place = checkpoint.locate(name)
    data = edit(checkpoint.read(name))
    assert len(data) == place.tensor.nbytes
    with (folder / place.file).open("r+b") as file:
        file.seek(checkpoint.headers[place.file].data_offset + place.tensor.begin)
        file.write(data)


def rewrite(folder: Path, edit: Callable[[Tensors], Tensors]) -> None:
    """Write the checkpoint in ``folder`` anew with edited tensors, in one shard with an index."""
    checkpoint = open_checkpoint(folder)
    tensors = edit(
        {n: (p.tensor.dtype, p.tensor.shape, checkpoint.read(n)) for n, p in checkpoint.tensors.items()}
    )
    for file in checkpoint.headers:
        (folder / file).unlink()
    write_checkpoint(folder, tensors)
    write_index(
        folder / INDEX_FILE, dict.fromkeys(tensors, SINGLE_FILE), sum(len(t[2]) for t in tensors.values())
    )


def run_here(
    main: Callable[[Workdir], None], root: Path, inputs: Mapping[str, Path], params: Mapping[str, object]
) -> Path:
    """Run a step's ``main`` in this process and return its tree."""
    for folder in ("in", "out", "state", "tree"):
        (root / folder).mkdir(parents=True)
    for name, given in inputs.items():
        (root / "in" / name).symlink_to(given.resolve(), target_is_directory=True)
    work = Workdir(root, params)
    main(work)
    work.finish()
    for path, taken in parse_tree((root / "out" / "tree.json").read_text()).items():
        source = root / "out" / path if taken is None else root / "in" / taken.input / taken.path
        shutil.copyfile(source, root / "tree" / path)
    return root / "tree"


def _packed(name: str, bits: nvfp4.U16, scale_2: np.float32) -> Tensors:
    packed = nvfp4.pack(name, bits, scale_2)
    rows, columns = bits.shape
    shapes = nvfp4.shapes(rows, columns)
    data = {
        nvfp4.WEIGHT: packed.codes.tobytes(),
        nvfp4.WEIGHT_SCALE: packed.scales.tobytes(),
        nvfp4.WEIGHT_SCALE_2: scale_2.tobytes(),
        nvfp4.INPUT_SCALE: np.float32(0.001).tobytes(),
    }
    return {f"{name}.{leaf}": (nvfp4.DTYPES[leaf], shapes[leaf], data[leaf]) for leaf in data}


def _quantization(list_key: str) -> dict[str, object]:
    return {"quant_algo": "NVFP4", "group_size": 16, list_key: ["lm_head", "model.visual*"]}


def _write_json(path: Path, data: Mapping[str, object]) -> None:
    path.write_text(json.dumps(data))
