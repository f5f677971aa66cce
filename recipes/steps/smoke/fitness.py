"""Whether the machine is fit to be measured: probed before the first boot and after each.

Some machines flip between a fast and a slow state that no tool shows. A probe that falls behind
the best one, or behind the record that the recipe states, is the machine's failure and no gate's.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recipes.formats.evidence import Measurement
from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import probe

PATIENCE_S = 300.0
GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """``at_least`` is the share of the best probe that each must reach; 0 only writes them down.

    ``record`` is what this machine is known to copy, in bytes a second, or None.
    """

    at_least: float
    record: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One look at the machine; see ``probe``. ``clocks`` is what nvidia-smi said just after."""

    device: str
    copied_bytes: int
    bytes_per_second: float
    product_side: int
    flops_per_second: float
    clocks: Mapping[str, str] = field(default_factory=dict)


def measure(python: str, env: Mapping[str, str], log: Path) -> Probe:
    """Probe the machine in a process of its own, so that nothing of it stays. Raises StepError."""
    argv = [python, "-I", probe.__file__]
    with log.open("ab") as sink:
        try:
            done = subprocess.run(
                argv, env=dict(env), stdout=subprocess.PIPE, stderr=sink, text=True, timeout=PATIENCE_S
            )
        except subprocess.TimeoutExpired as error:
            raise StepError(
                f"the machine could not copy memory for {PATIENCE_S:g} s; what else runs on it?",
                Exit.ENVIRONMENT,
            ) from error
    try:
        return Probe(**json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, TypeError, IndexError) as error:
        raise StepError(
            f"the probe of the machine ended with {done.returncode} and said {done.stdout[-200:]!r}:\n"
            f"{log.read_text(errors='replace')[-1000:]}",
            Exit.ENVIRONMENT,
        ) from error


def require(demand: Demand, probes: Sequence[Probe]) -> None:
    """Raise StepError, as a fault of the machine, when a probe fell behind."""
    shares = _shares(demand, probes)
    for number, (copied, computed) in enumerate(shares):
        if min(copied, computed) < demand.at_least:
            raise StepError(
                f"the machine is not fit to be measured: {_when(number)} it copied memory at {copied:.0%} "
                f"and multiplied at {computed:.0%} of its best, and {demand.at_least:.0%} is asked for. "
                f"Clocks: {json.dumps(dict(probes[number].clocks))}. No figure of this run is kept: end what "
                "else runs, let it cool or start it again, then type the same command",
                Exit.ENVIRONMENT,
            )


def bandwidth(probes: Sequence[Probe]) -> float:
    """Return the best copy, in bytes read and written a second."""
    return max(each.bytes_per_second for each in probes)


def figures(demand: Demand, probes: Sequence[Probe]) -> list[Measurement]:
    """Return the memory bandwidth and the worst probe as a share of the best."""
    best = probes[0]
    how = (
        f"copy of {best.copied_bytes >> 20} MiB from one part of the memory of {best.device} to another, "
        f"bytes read and written; the best of {probe.TRIES} in each of {len(probes)} probes around the boots"
    )
    worst = min(min(pair) for pair in _shares(demand, probes))
    slowest = f"copy or product, the worst of {len(probes)} probes over the best or over the recipe's record"
    return [
        Measurement(
            name="memory_bandwidth", value=bandwidth(probes) / GB, unit="GB/s", n=len(probes), how=how
        ),
        Measurement(name="fitness", value=worst, unit="fraction", n=len(probes), how=slowest),
    ]


def facts(demand: Demand, probes: Sequence[Probe]) -> Mapping[str, object]:
    """Return the verdict and what it rests on."""
    verdict = "fit" if demand.at_least else "not judged: the recipe asks for no share"
    return {"verdict": verdict, "demand": asdict(demand), "probes": [asdict(each) for each in probes]}


def _shares(demand: Demand, probes: Sequence[Probe]) -> list[tuple[float, float]]:
    copied = max(bandwidth(probes), demand.record or 0.0)
    computed = max(each.flops_per_second for each in probes)
    return [(each.bytes_per_second / copied, each.flops_per_second / computed) for each in probes]


def _when(number: int) -> str:
    return f"after boot {number}" if number else "before the first boot"
