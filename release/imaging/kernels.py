"""Which GPUs a library holds compiled kernels for: read from its fat binary, without a GPU.

    found = read(Path("torch/lib/libtorch_cuda.so"))
    found.runs_on("sm_121")          # sm_120 cubins do, and those of the family sm_120f

NVIDIA's cuobjdump takes the fat binary apart; its package is a dependency of this project.
"""

import importlib.metadata
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release.errors import MachineError

PACKAGE = "nvidia-cuda-cuobjdump"
TARGET = re.compile(r"sm_(?P<major>\d+)(?P<minor>\d)(?P<only>[af]?)")
NO_CODE = "does not contain device code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """What a library holds: cubins and PTX texts by target, and where a wanted symbol stands.

    ``symbols`` gives one matching symbol of each target that has one.
    """

    cubins: Mapping[str, int]
    ptx: Mapping[str, int]
    symbols: Mapping[str, str] = field(default_factory=dict)

    def runs_on(self, gpu: str) -> tuple[str, ...]:
        """Return the targets whose cubins run on ``gpu`` as they are, sorted."""
        return tuple(sorted(target for target in self.cubins if runs(target, gpu)))

    def symbol_for(self, gpu: str) -> str:
        """Return the wanted symbol in a cubin that runs on ``gpu``; "" when there is none."""
        return next((self.symbols[target] for target in self.runs_on(gpu) if target in self.symbols), "")


def runs(target: str, gpu: str) -> bool:
    """Tell whether a cubin for ``target`` runs on ``gpu`` (both as ``sm_121``).

    One without a letter runs on its own major version from its minor on; so does a
    family's (``f``); one of an architecture (``a``) on that alone. CUDA's programming
    guide, "Compute Capability and Feature Set".
    """
    built, here = TARGET.fullmatch(target), TARGET.fullmatch(gpu)
    if built is None or here is None:
        return False
    if built["major"] != here["major"]:
        return False
    return built["minor"] == here["minor"] if built["only"] == "a" else built["minor"] <= here["minor"]


def read(library: Path, symbol: str = "") -> Kernels:
    """Return what ``library`` holds; nothing for one without device code.

    ``symbol`` is a regular expression for the kernel that is looked for, in its mangled
    name. Raises MachineError when cuobjdump is not here or cannot read it.
    """
    command = [str(cuobjdump()), "--dump-elf-symbols", str(library)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found = parse(process.stdout, symbol)
        complained = process.stderr.read().strip()
    if process.returncode != 0 and NO_CODE not in complained:
        raise MachineError(
            f"cuobjdump cannot read {library}: {complained[-500:]}",
            hint="see whether the file is whole: invoke build-image --rebuild",
        )
    return found


def cuobjdump() -> Path:
    """Return the program. Raises MachineError where its package is not installed."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "cuobjdump":
            return Path(str(file.locate()))
    raise MachineError(
        "cuobjdump is not here: kernels in an image cannot be looked at",
        why="It reads from a library which GPUs it was compiled for.",
        hint="type: uv sync (its package is there for Linux on x86_64 and aarch64)",
    )


def parse(lines: Iterable[str], symbol: str = "") -> Kernels:
    """Read what ``cuobjdump --dump-elf-symbols`` says (pure)."""
    found: dict[str, Counter[str]] = {"elf": Counter(), "ptx": Counter()}
    symbols: dict[str, str] = {}
    wanted, kind, target = re.compile(symbol), "elf", ""
    for line in lines:
        if line.startswith("Fatbin "):
            kind = line.split()[1]
        elif line.startswith("arch = "):
            target = line.split()[-1]
            found[kind][target] += 1
        elif symbol and target not in symbols and line.startswith("FUNC") and wanted.search(line):
            symbols[target] = line.split()[-1]
    return Kernels(cubins=found["elf"], ptx=found["ptx"], symbols=symbols)
