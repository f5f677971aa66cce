"""A checkpoint of the architecture in a few kilobytes: a base, a master, and the trees made of them.

The NVFP4 body is packed with the project's own packer, so nothing here needs torch.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.formats import calibration, nvfp4
from recipes.formats.architecture import parse_architecture
from recipes.formats.calibration import Calibration, Range
from recipes.formats.checkpoint import INDEX_FILE, SINGLE_FILE, open_checkpoint, shard_name, write_index
from recipes.formats.qwen3_5 import MTP_PREFIX, VISION_PREFIX, Layout, parse_layout
from recipes.formats.release_files import TEMPLATE_FILE
from recipes.formats.safetensors import Entry, write
from recipes.formats.step import Workdir, parse_tree
from recipes.steps.configure.main import main as configure
from recipes.steps.graft.main import main as graft
from tests.unit.steps.scratch import PRECISION, REPOSITORY

TEMPLATES = REPOSITORY / "recipes" / "templates"
INPUT_SCALE = np.float32(0.001)
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
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": HEAD,
        "linear_num_key_heads": 1,
        "linear_num_value_heads": 2,
        "linear_value_head_dim": HEAD,
        "mtp_num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "vocab_size": VOCAB,
    },
    "vision_config": {
        "depth": 1,
        "hidden_size": 16,
        "in_channels": 3,
        "intermediate_size": 32,
        "num_position_embeddings": 4,
        "out_hidden_size": HIDDEN,
        "patch_size": 4,
        "spatial_merge_size": 1,
        "temporal_patch_size": 2,
    },
}
LAYOUT: Layout = parse_layout(CONFIG)

Table = dict[str, dict[str, object]]
Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The folders that prove compares, and what the recipe asked for."""

    nvfp4: Path
    release_master: Path
    base: Path
    master: Path
    calibration: Path
    chat_template: Path
    params: Mapping[str, object]

    def copy(self, folder: Path) -> "Release":
        """Return a copy below ``folder`` that a test may damage."""
        for name, source in self.inputs().items():
            shutil.copytree(source, folder / name)
        return Release(**{name: folder / name for name in self.inputs()}, params=self.params)

    def inputs(self) -> dict[str, Path]:
        """Return the folders by prove's input names."""
        return {
            "nvfp4": self.nvfp4,
            "release_master": self.release_master,
            "base": self.base,
            "master": self.master,
            "calibration": self.calibration,
            "chat_template": self.chat_template,
        }


def build_release(folder: Path, in_proj_ab: bool = True) -> Release:
    """Build both release trees below ``folder`` by the real graft and configure steps."""
    sources = build_sources(folder)
    body = folder / "body"
    write_checkpoint(body, pack_body(sources["master"], in_proj_ab))
    _write_json(body / "config.json", {**CONFIG, "quantization_config": _quantization("ignore")})
    _write_json(body / "hf_quant_config.json", {"quantization": _quantization("exclude_modules")})
    trees = {}
    for name, source, quantized in (("nvfp4", body, True), ("release_master", sources["master"], False)):
        grafted = run_here(graft, folder / f"graft-{name}", {"body": source, "head": sources["base"]}, {})
        trees[name] = run_here(
            configure,
            folder / f"configure-{name}",
            configure_inputs(grafted, sources["master"]),
            {"quantized": quantized, "sampling": SAMPLING},
        )
    return Release(
        **trees,
        **sources,
        calibration=build_calibration(folder / "calibration", in_proj_ab),
        chat_template=build_template(folder / "template"),
        params={**PRECISION, "in_proj_ab": "nvfp4" if in_proj_ab else "bf16"},
    )


def build_calibration(folder: Path, in_proj_ab: bool) -> Path:
    """Build the calibration that the packed body's input scales are of."""
    scale = float(INPUT_SCALE)
    groups = LAYOUT.fused_groups(in_proj_ab=in_proj_ab)
    ranges = tuple(Range(members=group, input_amax=1.0, input_scale=scale) for group in groups)
    made = Calibration(ranges=ranges, rows=1, tokens=1, max_seq_len=1, versions={})
    folder.mkdir()
    (folder / calibration.CALIBRATION_FILE).write_text(calibration.dump(made))
    return folder


def build_template(folder: Path) -> Path:
    """Build a folder that holds the locked chat template alone."""
    folder.mkdir()
    shutil.copyfile(TEMPLATES / TEMPLATE_FILE, folder / TEMPLATE_FILE)
    return folder


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
    return {"tree": tree, "master": master, "chat_template": TEMPLATES, "templates": TEMPLATES}


def random_tensors(seed: int) -> Tensors:
    """Return every tensor of the checkpoint with random BF16 weights."""
    random = np.random.default_rng(seed)
    shapes = parse_architecture(CONFIG).shapes()
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
            tensors |= pack_weight(name, bits, scale_2)
    return tensors


def pack_weight(name: str, bits: nvfp4.U16, scale_2: np.float32) -> Tensors:
    """Return the four tensors of Linear ``name`` with weight ``bits``."""
    packed = nvfp4.pack(name, bits, scale_2)
    rows, columns = bits.shape
    shapes = nvfp4.shapes(rows, columns)
    data = {
        nvfp4.WEIGHT: packed.codes.tobytes(),
        nvfp4.WEIGHT_SCALE: packed.scales.tobytes(),
        nvfp4.WEIGHT_SCALE_2: scale_2.tobytes(),
        nvfp4.INPUT_SCALE: INPUT_SCALE.tobytes(),
    }
    return {f"{name}.{leaf}": (nvfp4.DTYPES[leaf], shapes[leaf], data[leaf]) for leaf in data}


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


def edit_json(path: Path, edit: Callable[[Table], object] | None = None, **fields: object) -> None:
    """Edit a JSON table in place, by ``edit`` or field by field."""
    table = json.loads(path.read_text())
    table.update(fields)
    if edit:
        edit(table)
    path.write_text(json.dumps(table))


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


def _quantization(list_key: str) -> dict[str, object]:
    said = {"quant_method": "modelopt"} if list_key == "ignore" else {}
    return said | {"quant_algo": "NVFP4", "group_size": 16, list_key: ["lm_head", "model.visual*"]}


def _write_json(path: Path, data: Mapping[str, object]) -> None:
    path.write_text(json.dumps(data))
