"""What must hold of an image before it counts (pure): its probe and layout against its lock."""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from release.container import Compiled
from release.errors import BuildError
from release.images import Image
from release.imaging.kernels import Kernels
from release.imaging.layout import Layout
from release.imaging.recipe import Build

MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|CREDENTIAL)", re.IGNORECASE)
SECRET_TEXT = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What the probe found inside the image."""

    machine: str
    python: str
    uid: int
    packages: Mapping[str, str]
    imports: Mapping[str, str]
    secrets: Sequence[str]


def of_layout(build: Build, layout: Layout) -> list[str]:
    """Return what is wrong with an image as its archive shows it."""
    names = [entry.partition("=")[0] for entry in layout.environment]
    texts = (*layout.environment, *layout.history)
    other = layout.platform != build.platform
    return [
        *([f"it is for {layout.platform}, not {build.platform}"] if other else []),
        *(f"its environment names a secret: {name}" for name in names if SECRET_NAME.search(name)),
        *(f"its history shows a token: {text[:40]}…" for text in texts if SECRET_TEXT.search(text)),
        *(f"a layer is no zstd: {kind}" for kind in layout.layers if not kind.endswith("+zstd")),
    ]


def of_probe(build: Build, probe: Probe) -> list[str]:
    """Return what is wrong with an image as it shows itself when it runs."""
    held = build.image.required_container()
    wrong = []
    if probe.machine != MACHINES.get(build.platform, probe.machine):
        wrong.append(f"its programs are for {probe.machine}, not {build.platform}")
    if ".".join(probe.python.split(".")[:2]) != held.python:
        wrong.append(f"its Python is {probe.python}, and image.toml says {held.python}")
    if probe.uid == 0:
        wrong.append("its user is root")
    wrong += [f"{name} does not import: {said}" for name, said in probe.imports.items() if said]
    wrong += [f"a file looks like a secret: {path}" for path in probe.secrets]
    return wrong + _versions(build.image.lock.read_text(), probe.packages, _overlaid(build.image))


def of_kernels(wanted: Compiled, found: Mapping[str, Kernels | None]) -> list[str]:
    """Return what is wrong with the kernels of an image: by library, None where there is no such file."""
    wrong = []
    for library, symbol in wanted.libraries.items():
        held = found[library]
        if held is None:
            wrong.append(f"{library} is not in it")
        elif not held.runs_on(wanted.gpu):
            wrong.append(f"{library} has no kernel for {wanted.gpu}: only {', '.join(held.cubins) or 'none'}")
        elif symbol and not held.symbol_for(wanted.gpu):
            wrong.append(f"{library} has no kernel for {wanted.gpu} that is named {symbol}")
    return wrong


def require(build: Build, wrong: Sequence[str]) -> None:
    """Raise BuildError when anything is wrong."""
    if wrong:
        raise BuildError(
            f"image {build.name} was built, and does not count:\n  " + "\n  ".join(wrong),
            why="What runs in it must be what its lock names, on the machine that it is for.",
            hint="correct the Dockerfile or the lock, then build it again",
        )


def _overlaid(image: Image) -> frozenset[str]:
    """Return the packages that the overlay brings."""
    folders = image.overlay.glob("*.dist-info") if image.overlay else ()
    return frozenset(_plain(folder.name.partition("-")[0]) for folder in folders)


def _versions(lock: str, installed: Mapping[str, str], overlaid: AbstractSet[str]) -> list[str]:
    """Compare the installed packages with the lock.

    A lock entry with a marker may be for another platform, so it may be missing, and of
    two with the same name either version is right. What is in neither is refused.
    """
    pinned: dict[str, set[str]] = {}
    required: set[str] = set()
    for name, version, marker in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)( ;)?", lock, re.MULTILINE):
        pinned.setdefault(_plain(name), set()).add(version)
        if not marker:
            required.add(_plain(name))
    found = {_plain(name): version for name, version in installed.items()}
    wrong = [f"{name} of the lock is not installed" for name in sorted(required - found.keys())]
    for name, version in sorted(found.items()):
        if name in pinned and version not in pinned[name]:
            wrong.append(f"{name} is {version}; the lock says {' or '.join(sorted(pinned[name]))}")
        if name not in pinned and name not in overlaid:
            wrong.append(f"{name} {version} is installed, and no lock names it")
    return wrong


def _plain(name: str) -> str:
    """Return a package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
