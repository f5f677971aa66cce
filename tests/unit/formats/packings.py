"""Ways to pack the body of a checkpoint, for which an ignore list has to be found."""

import json
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.architecture import Architecture, parse_architecture
from recipes.formats.ignore_compiler import may_be_packed
from recipes.formats.qwen3_5 import LINEAR, LM_HEAD, module_of

CONFIG = Path(__file__).parents[3] / "recipes" / "tiny" / "base" / "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What is packed and what a quantizer left, by module names of the checkpoint."""

    name: str
    packed: frozenset[str]
    kept: frozenset[str]


def architecture(layers: int = 8) -> Architecture:
    """Return the architecture of tiny with more layers, so that layer 1 is not the only one of its kind."""
    config = json.loads(CONFIG.read_text())
    config["text_config"] |= {
        "num_hidden_layers": layers,
        "layer_types": ["full_attention" if number % 4 == 3 else LINEAR for number in range(layers)],
    }
    return parse_architecture(config)


def packing(name: str, *left: str, gates: bool = True, also: tuple[str, ...] = ()) -> Packing:
    """Return a packing of the body that leaves every Linear with one of ``left`` in its name."""
    found = architecture()
    modules = {module for module in map(module_of, found.shapes()) if may_be_packed(module)}
    body = {module for group in found.layout.fused_groups(in_proj_ab=gates) for module in group}
    packed = {module for module in body if not any(part in module for part in left)} | set(also)
    return Packing(name=name, packed=frozenset(packed), kept=frozenset(modules - packed))


PACKINGS = (
    packing("the whole body"),
    packing("gates kept", gates=False),
    packing("linear attention kept", "linear_attn."),
    packing("all attention kept", "linear_attn.", "self_attn."),
    packing("the last layers' MLP kept", "layers.6.mlp", "layers.7.mlp"),
    packing("one layer kept", "layers.1."),
    packing("one output projection kept", "layers.3.self_attn.o_proj"),
    packing("the output head packed too", also=(LM_HEAD,)),
)
