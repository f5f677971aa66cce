"""The table of docs/images.md: for which GPUs the wheels of an image hold kernels.

    python -m benchmarks.kernels --name serve --variant gb10

No GPU, no engine and no emulation: each wheel of the lock is installed for the image's
platform into a folder of its own, looked into, and deleted. A wheel takes up to 2 GB.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from release.home import PROJECT
from release.images import Image, load
from release.imaging import kernels
from release.imaging.kernels import Kernels
from release.store.stat_cache import StatCache

PACKAGES = ("vllm", "flashinfer-python", "torch", "torchvision", "torchaudio", "nvidia-cublas")
"""Packages whose kernels multiply matrices or attend; others of the lock can be named."""
GEMM = r"MainloopSm120TmaWarpSpecializedBlockScaled.*float_e2m1_t.*float_ue4m3_t"
"""NVFP4 times NVFP4: E2M1 values under E4M3 scales, as CUTLASS names its main loop."""


def main() -> int:
    """Print the table as Markdown."""
    asked = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        image = load(PROJECT / "images", asked.name, asked.variant, StatCache(Path(scratch) / "stat.json"))
        held = image.required_container()
        gpu = held.compiled.gpu if held.compiled else asked.gpu
        print(f"| package | library | cubins that run on {gpu} | other cubins | PTX | NVFP4 GEMM |")
        print("|---|---|---|---|---|---|")
        for package in asked.packages or PACKAGES:
            entry = _entry(image, package)
            if not entry:
                continue
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                _install(entry, image, Path(folder))
                named = entry.partition(" ")[0].replace("==", " ")
                for row in list(_rows(Path(folder), gpu)) or [("no library with kernels", "", "", "", "")]:
                    print(f"| {named} | {' | '.join(row)} |", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--name", default="serve")
    parser.add_argument("--variant", default="gb10")
    parser.add_argument("--gpu", default="sm_121", help="where image.toml names none")
    parser.add_argument("packages", nargs="*", help=f"default: {' '.join(PACKAGES)}")
    return parser


def _entry(image: Image, package: str) -> str:
    """Return the lock's entry of a package, with its hashes; "" where it has none."""
    entries = re.split(r"\n(?=\S)", image.lock.read_text())
    return next((entry for entry in entries if entry.startswith(f"{package}==")), "")


def _install(entry: str, image: Image, folder: Path) -> None:
    held = image.required_container()
    platform = next(iter(held.platforms.values()))
    wanted = folder / "one.lock"
    wanted.write_text(entry + "\n")
    command = [
        *(str(Path(sys.executable).with_name("uv")), "--quiet", "--no-cache", "pip", "install"),
        *("--require-hashes", "--no-deps", "--no-build", "--target", str(folder / "files")),
        *("--python-platform", platform, "--python-version", held.python, "--requirement", str(wanted)),
    ]
    subprocess.run(command, check=True, env=os.environ | {"UV_SYSTEM_CERTS": "1"})


def _rows(folder: Path, gpu: str) -> Iterator[Sequence[str]]:
    for library in sorted(path for path in (folder / "files").rglob("*.so*") if path.is_file()):
        found = kernels.read(library, GEMM)
        if found.cubins or found.ptx:
            fitting = {target: count for target, count in found.cubins.items() if kernels.runs(target, gpu)}
            rest = {target: count for target, count in found.cubins.items() if target not in fitting}
            yield (
                f"`{library.name}`",
                _counted(fitting) or "none",
                _counted(rest),
                _counted(found.ptx),
                _gemm(found, gpu),
            )


def _gemm(found: Kernels, gpu: str) -> str:
    return ", ".join(target for target in found.runs_on(gpu) if target in found.symbols)


def _counted(targets: Mapping[str, int]) -> str:
    return ", ".join(f"{target} {count}" for target, count in sorted(targets.items(), key=_number))


def _number(item: tuple[str, int]) -> tuple[int, str]:
    digits = re.search(r"\d+", item[0])
    return int(digits[0]) if digits else 0, item[0]


if __name__ == "__main__":
    sys.exit(main())
