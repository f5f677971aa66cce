"""The speed of a single stream as a share of the byte roofline; see ``formats.serving.roofline``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from recipes.formats import strict_json
from recipes.formats.architecture import parse_architecture
from recipes.formats.byte_budget import count_bytes
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.evidence import Measurement
from recipes.formats.serving.profile import Serve
from recipes.formats.serving.roofline import StepBytes, step_bytes, tokens_per_second
from recipes.formats.step import Exit, StepError

SINGLE = "_c1"
CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The roofline of one drive: bytes of a step, tokens of a step, bytes a second, tokens a second."""

    step: StepBytes
    context: int
    length: float
    bandwidth: float

    @property
    def tokens_per_second(self) -> float:
        """The most that one stream could give."""
        return tokens_per_second(self.step.total, self.bandwidth, self.length)


def of_stream(
    tree: Path, serve: Serve, throughput: Sequence[Measurement], bandwidth: float
) -> tuple[list[Measurement], Mapping[str, object]]:
    """Return the share that the drive at one request reached, and the limit behind it.

    Nothing where no drive had one request in flight. Raises StepError for a tree without headers.
    """
    named = {figure.name: figure for figure in throughput}
    speed = named.get(f"output_tokens_per_second{SINGLE}")
    if speed is None:
        return [], {}
    length = named[f"tokens_per_step{SINGLE}"].value if serve.speculative_tokens else 1.0
    context = round(named[f"context_tokens{SINGLE}"].value)
    limit = _limit(tree, serve, context, length, bandwidth)
    step = limit.step
    how = (
        f"{speed.value:.4g} tokens/s over {limit.tokens_per_second:.4g}: {bandwidth / 1e9:.4g} GB/s of "
        f"measured bandwidth x {length:.4g} tokens a step / {step.total} bytes a step by its headers: "
        f"body {step.body}, output head {step.head}, draft head {step.draft_head}, cache {step.cache}, state "
        f"{step.state}"
    )
    share = Measurement(
        name="single_stream_roofline_share",
        value=speed.value / limit.tokens_per_second,
        unit="fraction",
        n=speed.n,
        how=how,
    )
    return [share], {"roofline": {**asdict(limit), "tokens_per_second": limit.tokens_per_second}}


def _limit(tree: Path, serve: Serve, context: int, length: float, bandwidth: float) -> Limit:
    try:
        architecture = parse_architecture(strict_json.read_table(tree / CONFIG_FILE))
        kinds = count_bytes(open_checkpoint(tree))
    except ValueError as error:
        raise StepError(f"the bytes of a step cannot be counted: {error}", Exit.PROOF) from error
    step = step_bytes(serve, architecture, kinds, context)
    return Limit(step=step, context=context, length=length, bandwidth=bandwidth)
