"""What the recipe asks of the sanity step. Pure: nothing is read but the argument."""

from collections.abc import Mapping
from dataclasses import dataclass

from recipes.formats.params import Table
from recipes.formats.sanity import Sanity, parse_sanity, refuse_unfit
from recipes.formats.serving.profile import Serve, parse_serve
from recipes.formats.step import Exit, StepError
from recipes.steps.smoke.profile import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How the tree is served, and what it is asked.

    ``sampling`` is what users are told to sample with; ``at`` is how every part but termination
    is asked.
    """

    serve: Serve
    sampling: Sampling
    sanity: Sanity
    startup_timeout_s: int
    request_timeout_s: int

    @property
    def greedy(self) -> bool:
        """Whether answers are the likeliest ones: then no seed is sent."""
        return self.sanity.temperature == 0


def parse(params: Mapping[str, object]) -> Wanted:
    """Parse the step's parameters. Raises StepError with key, expected and got."""
    try:
        return _wanted(Table("params.json", params))
    except ValueError as error:
        raise StepError(str(error), Exit.CONFIG) from error


def _wanted(top: Table) -> Wanted:
    sanity = parse_sanity(top.table("sanity"))
    wanted = Wanted(
        serve=parse_serve(top.table("serve")),
        sampling=_sampling(top.table("sampling"), sanity),
        sanity=sanity,
        startup_timeout_s=top.count("startup_timeout_s"),
        request_timeout_s=top.count("request_timeout_s"),
    )
    top.finish()
    refuse_unfit(sanity, wanted.serve)
    return wanted


def _sampling(table: Table, sanity: Sanity) -> Sampling:
    sampling = Sampling(
        temperature=table.number("temperature"),
        top_p=table.number("top_p"),
        top_k=table.count("top_k", at_least=-1),
        repetition_penalty=table.number("repetition_penalty"),
        max_tokens=sanity.max_tokens,
        seed=sanity.seed,
    )
    table.finish()
    return sampling
