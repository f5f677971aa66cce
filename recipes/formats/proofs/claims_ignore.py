"""Claims about the ignore list: right for each engine that reads it, and the shortest that is."""

from collections.abc import Iterator
from functools import partial

from recipes.formats.ignore_compiler import (
    COMPRESSED_TENSORS,
    ENGINES,
    SGLANG,
    VLLM,
    Engine,
    compile_ignore,
    may_be_packed,
)
from recipes.formats.packing import MODELOPT
from recipes.formats.proofs.claim import Claim, Finding, count, find, given
from recipes.formats.proofs.subject import Body, Recipe, Subject, ignore_list_of
from recipes.formats.qwen3_5 import is_linear, module_of


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claims about the ignore list; none for a tree that packs nothing."""
    body = subject.body
    if body is None:
        return
    for name, engine in _readers(body):
        yield Claim(
            f"ignore-list-{name}",
            f"what {engine.title} keeps BF16 under the ignore list: modules without scales, both ways",
            partial(_read_right, engine, body),
        )
    yield Claim(
        "ignore-list-shortest",
        "the ignore list: the shortest that is right, derived from the bytes",
        given(subject.recipe, partial(_shortest, body)),
    )


def shortest_lists(body: Body) -> dict[str, list[str]]:
    """Return engine → the shortest right list; an engine that no list serves is left out."""
    kept, packed = _modules(body)
    found = {}
    for name, engine in ENGINES.items():
        try:
            found[name] = list(compile_ignore(kept, packed, engine))
        except ValueError:
            continue
    return found


def _readers(body: Body) -> tuple[tuple[str, Engine], ...]:
    if body.scheme is MODELOPT:
        return (("vllm", VLLM), ("sglang", SGLANG))
    return (("vllm", COMPRESSED_TENSORS),)


def _read_right(engine: Engine, body: Body) -> Finding:
    patterns = ignore_list_of(body.tree)
    kept, packed = _modules(body)
    linears = [module for module in kept if is_linear(module)]
    number = count([*linears, *packed], "Linear")
    flaws = list(engine.flaws(linears, packed, patterns))
    shown = str(patterns) if len(patterns) <= 8 else f"{len(patterns)} entries"
    return find(flaws, f"{len(packed)} of {number} Linears built NVFP4, the others BF16, under {shown}")


def _shortest(body: Body, _: Recipe) -> Finding:
    kept, packed = _modules(body)
    wanted, found = list(compile_ignore(kept, packed, _readers(body)[0][1])), ignore_list_of(body.tree)
    flaws = [f"it is {found}, the shortest is {wanted}"] if sorted(found) != sorted(wanted) else []
    return find(flaws, f"{wanted}")


def _modules(body: Body) -> tuple[list[str], list[str]]:
    """Return the modules that could have been packed and were not, and those that were, in 4 or 8 bits."""
    packed = {*body.modules, *body.eight_bit}
    modules = set(map(module_of, body.tree.checkpoint.tensors)) - packed
    return sorted(filter(may_be_packed, modules)), sorted(packed)
