"""What the recipe asks of the smoke, and the server's command line that follows from it.

    profile = parse(work.params)
    argv(profile.serve, "0.32.0", python, model, port)
    # [".../python", "-I", ".../launch.py", "serve", ...]

Every parameter must be present and no other may be: a misspelt one would silently
measure something else. Pure: nothing is read but the argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.params import Table
from recipes.formats.serving.profile import Serve, parse_serve
from recipes.formats.serving.vllm import compile_vllm, draft_report
from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import launch
from recipes.steps.smoke.fitness import GB, Demand
from recipes.steps.smoke.loopback import HOST

MODEL_NAME = "model"

BOOTS = 3
"""An engine chooses kernels at each start; fewer draws say little of how far apart they are."""

FITNESS = 0.95

# Each names a cache that some part of the server would put into HOME otherwise. Kept in
# the step's state, a kernel compiled once is not compiled again after an interruption.
CACHES = (
    "CUDA_CACHE_PATH",
    "FLASHINFER_WORKSPACE_BASE",
    "HF_HOME",
    "NUMBA_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR",
    "VLLM_CACHE_ROOT",
    "VLLM_CONFIG_ROOT",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How each token is drawn; request ``i`` of a drive uses ``seed + i``."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One throughput drive: ``requests`` of exactly ``tokens`` tokens, so many at once."""

    concurrency: int
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything the recipe decides about a smoke.

    Throughput is driven in each of ``boots`` starts of the server, acceptance in the first.
    """

    serve: Serve
    sampling: Sampling
    acceptance_concurrency: int
    throughput: tuple[Load, ...]
    boots: int
    fitness: Demand
    startup_timeout_s: int
    request_timeout_s: int


def parse(params: Mapping[str, object]) -> Profile:
    """Parse the step's parameters. Raises StepError with key, expected and got."""
    try:
        return _profile(Table("params.json", params))
    except ValueError as error:
        raise StepError(str(error), Exit.CONFIG) from error


def _profile(top: Table) -> Profile:
    drives = top.table("drives")
    profile = Profile(
        serve=parse_serve(top.table("serve")),
        sampling=_sampling(top.table("sampling")),
        acceptance_concurrency=drives.count("acceptance_concurrency"),
        throughput=tuple(_load(load) for load in drives.tables("throughput")),
        boots=_boots(drives),
        fitness=_fitness(drives),
        startup_timeout_s=top.count("startup_timeout_s"),
        request_timeout_s=top.count("request_timeout_s"),
    )
    drives.finish()
    top.finish()
    return profile


def flags(serve: Serve, version: str) -> list[str]:
    """Return the flags that decide what is measured: no path and no port among them.

    Raises StepError for what ``version`` of vLLM has no word for.
    """
    try:
        # Each reply says how many drafts it took: figures per domain, and samples for a
        # paired bootstrap, without one drive per domain.
        return [*compile_vllm(serve, version).flags, *draft_report(serve, version)]
    except ValueError as error:
        raise StepError(f"params.json: serve: {error}; correct it in recipe.toml", Exit.CONFIG) from error


def drafts_untold(serve: Serve, version: str) -> bool:
    """Tell whether there are drafts and ``version`` cannot say in a reply how many it took."""
    return bool(serve.speculative_tokens) and not draft_report(serve, version)


def argv(serve: Serve, version: str, python: str, model: Path, port: int) -> list[str]:
    """Return the command that serves ``model`` on loopback ``port``."""
    command = [python, "-I", launch.__file__, "serve", str(model)]
    place = [f"--host={HOST}", f"--port={port}", f"--served-model-name={MODEL_NAME}"]
    return [*command, *place, "--disable-uvicorn-access-log", *flags(serve, version)]


def environment(serve: Serve, version: str, base: Mapping[str, str], state: Path) -> dict[str, str]:
    """Return ``base`` with the profile's variables and every cache of the server below ``state``."""
    caches = {name: str(state / "cache" / name.lower()) for name in CACHES}
    return {**base, **compile_vllm(serve, version).variables, **caches}


def _boots(table: Table) -> int:
    boots = table.optional_count("boots", BOOTS)
    if boots < 1:
        raise table.wrong("boots", "an integer of at least 1", boots)
    return boots


def _fitness(table: Table) -> Demand:
    at_least = table.optional_number("fitness")
    record = table.optional_number("bandwidth_gb_per_s")
    if at_least is not None and not 0 <= at_least <= 1:
        raise table.wrong("fitness", "a share from 0 to 1", at_least)
    return Demand(at_least=FITNESS if at_least is None else at_least, record=record and record * GB)


def _sampling(table: Table) -> Sampling:
    sampling = Sampling(
        temperature=table.number("temperature"),
        top_p=table.number("top_p"),
        top_k=table.count("top_k", at_least=-1),
        repetition_penalty=table.number("repetition_penalty"),
        max_tokens=table.count("max_tokens"),
        seed=table.count("seed", at_least=0),
    )
    table.finish()
    return sampling


def _load(table: Table) -> Load:
    load = Load(
        concurrency=table.count("concurrency"),
        requests=table.count("requests"),
        tokens=table.count("tokens"),
    )
    table.finish()
    return load
