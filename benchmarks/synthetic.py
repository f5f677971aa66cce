"""A checkpoint of Qwen3.5 names and shapes with random weights, and a calibration for it.

    make(folder / "master", SMALL)
    calibrate(folder / "calibration", SMALL)

Names, config and vision tower are those of recipes/tiny; the body and the embeddings are as
large as the size says.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from recipes.formats import calibration, nvfp4
from recipes.formats.architecture import parse_architecture
from recipes.formats.calibration import Calibration, Range
from recipes.formats.checkpoint import INDEX_FILE, open_checkpoint, shard_name, write_index
from recipes.formats.packing import MODELOPT
from recipes.formats.qwen3_5 import FULL, LINEAR, VISION_PREFIX, parse_layout
from recipes.formats.safetensors import ITEM_BYTES, Entry, header_bytes, write

TINY = Path(__file__).parents[1] / "recipes" / "tiny" / "master"
LAYERS = "model.language_model.layers"
CHUNK = 8 << 20
POOL = 1 << 24
# A machine may be given its memory little by little, while it is used.
MEMORY_FLOOR = 2 << 30
MEMORY_WAIT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The dimensions of a text model; heads as in Qwen3.5: 128 wide in linear attention, 256 in full."""

    layers: int
    hidden: int
    intermediate: int
    vocab: int
    linear_key_heads: int
    linear_value_heads: int
    heads: int
    kv_heads: int

    @property
    def kinds(self) -> list[str]:
        """The layers' types: every fourth is full attention."""
        return [LINEAR if (number + 1) % 4 else FULL for number in range(self.layers)]


SMALL = Size(
    layers=12,
    hidden=2048,
    intermediate=6144,
    vocab=32768,
    linear_key_heads=16,
    linear_value_heads=32,
    heads=16,
    kv_heads=4,
)

# Qwen3.6-27B's text model; the vision tower stays tiny's.
FLAGSHIP = Size(
    layers=64,
    hidden=5120,
    intermediate=17408,
    vocab=248320,
    linear_key_heads=16,
    linear_value_heads=48,
    heads=24,
    kv_heads=4,
)
# For a try of what is meant for the flagship, on a CPU and in seconds.
MINIATURE = Size(
    layers=4,
    hidden=256,
    intermediate=512,
    vocab=1024,
    linear_key_heads=2,
    linear_value_heads=4,
    heads=2,
    kv_heads=1,
)

TOWER_27B: Mapping[str, int] = {
    "depth": 27,
    "hidden_size": 1152,
    "in_channels": 3,
    "intermediate_size": 4304,
    "num_position_embeddings": 2304,
    "out_hidden_size": 5120,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
KEEP_BF16 = ("*visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*")


def make_holes(folder: Path, size: Size, tower: Mapping[str, int], shards: int = 5) -> None:
    """Write an NVFP4 release with draft head: real configs, index and headers, holes for tensors."""
    folder.mkdir(parents=True)
    found = {**config(size), "vision_config": dict(tower)}
    said = {"quant_algo": "NVFP4", "group_size": nvfp4.GROUP_SIZE}
    new = {"quant_method": "modelopt", **said, "ignore": KEEP_BF16}
    (folder / "config.json").write_text(json.dumps({**found, "quantization_config": new}))
    old = {"quantization": {**said, "exclude_modules": KEEP_BF16}}
    (folder / "hf_quant_config.json").write_text(json.dumps(old))
    packed = set(parse_layout(found).body_linears())
    entries: list[Entry] = []
    for name, shape in parse_architecture(found).shapes().items():
        module = name.removesuffix(".weight")
        parts = MODELOPT.tensors(*shape, activations=True) if module in packed else {}
        entries += [Entry(f"{module}.{leaf}", dtype, form, ()) for leaf, (dtype, form) in parts.items()]
        entries += [] if parts else [Entry(name, "BF16", shape, ())]
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file, mine = shard_name(number + 1, shards), entries[number::shards]
        head = header_bytes(mine, file)
        (folder / file).write_bytes(head)
        os.truncate(folder / file, len(head) + sum(map(_nbytes, mine)))
        weight_map |= dict.fromkeys((entry.name for entry in mine), file)
    write_index(folder / INDEX_FILE, weight_map, sum(map(_nbytes, entries)))


def make(folder: Path, size: Size, shards: int = 4, *, round_robin: bool = False, workers: int = 1) -> None:
    """Write the checkpoint: contiguous runs of tensors a shard, or one by one in turn."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(size), indent=1))
    (folder / "generation_config.json").write_text((TINY / "generation_config.json").read_text())
    every = shapes(size)
    names = list(every)
    per = math.ceil(len(names) / shards)
    files: dict[str, list[str]] = {
        shard_name(number + 1, shards): names[number::shards]
        if round_robin
        else names[number * per : (number + 1) * per]
        for number in range(shards)
    }
    shapes_of = [{name: every[name] for name in mine} for mine in files.values()]
    paths = [folder / file for file in files]
    if workers == 1:
        list(map(_write_shard, paths, shapes_of))
    else:
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(_write_shard, paths, shapes_of))
    weight_map = {name: file for file, mine in files.items() for name in mine}
    write_index(folder / INDEX_FILE, weight_map, nbytes(size))


def nbytes(size: Size) -> int:
    """Return the bytes of all tensors of the checkpoint."""
    return sum(2 * math.prod(shape) for shape in shapes(size).values())


def entries(wanted: Mapping[str, tuple[int, ...]]) -> Iterator[Entry]:
    """Yield ``wanted`` tensors with random BF16 weights."""
    pool = nvfp4.f32_to_bf16((np.random.default_rng(0).standard_normal(POOL) * 0.02).astype(np.float32))
    for name, shape in wanted.items():
        yield Entry(name, "BF16", shape, _random(pool, shape, seed=len(name)))


def calibrate(folder: Path, size: Size) -> None:
    """Write a calibration that gives each fused group a range of its own."""
    folder.mkdir(parents=True)
    groups = parse_layout(config(size)).fused_groups(in_proj_ab=True)
    ranges = []
    for number, members in enumerate(groups):
        amax = np.float32(3 + number / 8)
        scale = float(nvfp4.input_scale(amax))
        ranges.append(Range(members=members, input_amax=float(amax), input_scale=scale))
    made = Calibration(ranges=tuple(ranges), rows=1, tokens=1, max_seq_len=1, versions={})
    (folder / calibration.CALIBRATION_FILE).write_text(calibration.dump(made))


def config(size: Size) -> dict[str, object]:
    """Return config.json: tiny's, with the dimensions of ``size``."""
    found: dict[str, dict[str, object]] = json.loads((TINY / "config.json").read_text())
    found["vision_config"]["out_hidden_size"] = size.hidden
    found["text_config"] |= {
        "head_dim": 256,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "layer_types": size.kinds,
        "linear_key_head_dim": 128,
        "linear_num_key_heads": size.linear_key_heads,
        "linear_num_value_heads": size.linear_value_heads,
        "linear_value_head_dim": 128,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "num_key_value_heads": size.kv_heads,
        "vocab_size": size.vocab,
    }
    # A rotary table is as wide as a quarter of a head.
    rope = found["text_config"].get("rope_parameters")
    if isinstance(rope, dict):
        rope["mrope_section"] = [11, 11, 10]
    return dict(found)


def shapes(size: Size) -> dict[str, tuple[int, ...]]:
    """Return tensor → shape, in the order of the layers."""
    hidden = size.hidden
    found: dict[str, tuple[int, ...]] = {"model.language_model.embed_tokens.weight": (size.vocab, hidden)}
    for number, kind in enumerate(size.kinds):
        own = _linear(size) if kind == LINEAR else _full(size)
        found |= {f"{LAYERS}.{number}.{name}": shape for name, shape in (own | _mlp(size)).items()}
    found["model.language_model.norm.weight"] = (hidden,)
    found["lm_head.weight"] = (size.vocab, hidden)
    return found | dict(_vision(hidden))


def _write_shard(path: Path, wanted: Mapping[str, tuple[int, ...]]) -> None:
    write(path, list(entries(wanted)))


def _nbytes(entry: Entry) -> int:
    return math.prod(entry.shape) * ITEM_BYTES[entry.dtype]


def _linear(size: Size) -> dict[str, tuple[int, ...]]:
    key, value, heads = 128 * size.linear_key_heads, 128 * size.linear_value_heads, size.linear_value_heads
    return {
        "linear_attn.A_log": (heads,),
        "linear_attn.dt_bias": (heads,),
        "linear_attn.conv1d.weight": (2 * key + value, 1, 4),
        "linear_attn.in_proj_a.weight": (heads, size.hidden),
        "linear_attn.in_proj_b.weight": (heads, size.hidden),
        "linear_attn.in_proj_qkv.weight": (2 * key + value, size.hidden),
        "linear_attn.in_proj_z.weight": (value, size.hidden),
        "linear_attn.norm.weight": (128,),
        "linear_attn.out_proj.weight": (size.hidden, value),
    }


def _full(size: Size) -> dict[str, tuple[int, ...]]:
    query, key = 256 * size.heads, 256 * size.kv_heads
    return {
        "self_attn.q_proj.weight": (2 * query, size.hidden),
        "self_attn.k_proj.weight": (key, size.hidden),
        "self_attn.v_proj.weight": (key, size.hidden),
        "self_attn.o_proj.weight": (size.hidden, query),
        "self_attn.q_norm.weight": (256,),
        "self_attn.k_norm.weight": (256,),
    }


def _mlp(size: Size) -> dict[str, tuple[int, ...]]:
    return {
        "mlp.gate_proj.weight": (size.intermediate, size.hidden),
        "mlp.up_proj.weight": (size.intermediate, size.hidden),
        "mlp.down_proj.weight": (size.hidden, size.intermediate),
        "input_layernorm.weight": (size.hidden,),
        "post_attention_layernorm.weight": (size.hidden,),
    }


def _vision(hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, place in open_checkpoint(TINY).tensors.items():
        if name.startswith(VISION_PREFIX):
            last = name.startswith(f"{VISION_PREFIX}merger.linear_fc2.")
            yield name, (hidden, *place.tensor.shape[1:]) if last else place.tensor.shape


def _random(pool: nvfp4.U16, shape: tuple[int, ...], seed: int) -> Iterator[bytes]:
    left, at = math.prod(shape), seed * 7919
    while left:
        _wait_for_memory()
        begin = at % (pool.size - CHUNK)
        take = min(left, CHUNK // 2)
        yield pool[begin : begin + take].tobytes()
        left, at = left - take, at + take + 1


def _wait_for_memory() -> None:
    for _ in repeat(None, MEMORY_WAIT_S):
        lines = Path("/proc/meminfo").read_text().splitlines()
        if next(1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line) > MEMORY_FLOOR:
            return
        time.sleep(1)
