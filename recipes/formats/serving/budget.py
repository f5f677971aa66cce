"""The memory that a server takes, counted from headers and profile before it starts.

    budget = memory_budget(serve, architecture, tensors, floors, pool=130_000_000_000)
    budget.fits          # weights + state + cache + overhead under pool - floor

On unified memory ``gpu_memory_utilization`` is no bound: a server that takes too much takes the
machine with it. Recurrent state of a sequence is kept 1 + k times, once for each token of a step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recipes.formats.architecture import Architecture
from recipes.formats.params import Table
from recipes.formats.qwen3_5 import LINEAR, Kind
from recipes.formats.serving.profile import STATE_BYTES, Serve

GIB = 1 << 30
BF16_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """What a server must leave free, in bytes, and when it is stopped.

    ``floor`` is held while it serves, ``startup_floor`` while it loads. ``pressure`` is the
    share of the last ten seconds, in percent, that every task waited for memory. After the stop
    all but ``return_within`` must be free again; 0 asks for nothing.
    """

    overhead: int
    floor: int
    startup_floor: int
    swap_growth: int
    pressure: float
    return_within: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """Bytes by what they are for. ``pool`` is all the memory there is."""

    weights: int
    state: int
    cache: int
    overhead: int
    floor: int
    pool: int

    @property
    def need(self) -> int:
        """Bytes that the server takes."""
        return self.weights + self.state + self.cache + self.overhead

    @property
    def room(self) -> int:
        """Bytes that it may take."""
        return self.pool - self.floor

    @property
    def fits(self) -> bool:
        """Tell whether it may be started."""
        return self.need <= self.room


def parse_floors(table: Table) -> Floors:
    """Parse ``[smoke.memory]``; what is left out is what a machine with unified memory needs.

    Raises ValueError with key, expected and got.
    """
    floors = Floors(
        overhead=table.optional_count("overhead_bytes", 10 * GIB),
        floor=table.optional_count("floor_bytes", 16 * GIB),
        startup_floor=table.optional_count("startup_floor_bytes", 8 * GIB),
        swap_growth=table.optional_count("swap_growth_bytes", 512 << 20),
        pressure=table.optional_number("pressure_percent") or 50.0,
        return_within=table.optional_count("return_within_bytes", 2 * GIB),
    )
    table.finish()
    return floors


def memory_budget(
    serve: Serve, architecture: Architecture, tensors: Mapping[Kind, int], floors: Floors, pool: int
) -> MemoryBudget:
    """Count the memory of serving a tree that has ``tensors`` bytes of each class of module."""
    vision = tensors.get(Kind.VISION, 0) if serve.language_model_only else 0
    return MemoryBudget(
        weights=sum(tensors.values()) - vision,
        state=state_bytes(serve, architecture) * serve.max_num_seqs,
        cache=serve.kv_cache_bytes,
        overhead=floors.overhead,
        floor=floors.floor,
        pool=pool,
    )


def state_bytes(serve: Serve, architecture: Architecture) -> int:
    """Return the recurrent state of one sequence, in bytes, in all its 1 + k copies.

    A layer keeps [value heads, value dim, key dim] in the state's dtype, float32 where the
    profile leaves it to the engine, and the last inputs of its convolution in BF16.
    """
    (key_heads, key_dim), (value_heads, value_dim) = architecture.keys, architecture.values
    matrix = matrix_bytes(serve, architecture)
    mixed = 2 * key_heads * key_dim + value_heads * value_dim
    tail = mixed * (architecture.conv - 1 + serve.speculative_tokens) * BF16_BYTES
    layers = sum(kind == LINEAR for kind in architecture.layout.layers)
    return layers * (matrix + tail) * (1 + serve.speculative_tokens)


def matrix_bytes(serve: Serve, architecture: Architecture) -> int:
    """Return the bytes of the matrix that one layer of linear attention keeps of a sequence."""
    (_, key_dim), (value_heads, value_dim) = architecture.keys, architecture.values
    return value_heads * value_dim * key_dim * STATE_BYTES[serve.recurrent_state_dtype or "float32"]
