"""What ``invoke build-image`` was asked for, and what it says."""

import sys
from dataclasses import dataclass

from recipes.formats.progress import Update
from release.derivation import Step
from release.errors import UsageError
from release.home import PROJECT
from release.images import IMAGES, load, this_platform
from release.imaging import build as building
from release.imaging.recipe import Build, check_base, platform_of
from release.report.terminal import Terminal, size
from release.store import Store, default_root
from release.store.built import LOCKED, BuiltImage

NVIDIA = "nvidia/"
TERMS = "https://docs.nvidia.com/cuda/eula/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was typed: which images, how, and where to push them."""

    name: str
    variant: str
    rebuild: bool
    push: str
    base: str
    accept_terms: bool


def run(asked: Question, terminal: Terminal) -> None:
    """Build the images that were asked for, say what they are, and push them."""
    names = IMAGES if not asked.name else (asked.name,)
    if asked.name and asked.name not in IMAGES:
        raise UsageError(f"no image {asked.name!r}", hint=f"there are: {', '.join(IMAGES)}")
    store = Store(default_root())
    for name in names:
        image = load(PROJECT / "images", name, asked.variant, store.stat_cache)
        build = Build(image=image, platform=platform_of(image, this_platform()), base=check_base(asked.base))
        if asked.push:
            _ask_terms(build, accepted=asked.accept_terms)
        built = _one(build, store, terminal, rebuild=asked.rebuild)
        if asked.push:
            terminal.say(f"  pushed: {building.push(built, asked.push)}")
    store.stat_cache.save()


def _one(build: Build, store: Store, terminal: Terminal, *, rebuild: bool) -> BuiltImage:
    step = Step(name=build.name, does="image")
    started = False

    def tell(text: str) -> None:
        nonlocal started
        if not started:
            terminal.started(step, build.inputs)
            started = True
        terminal.progress(step, Update(at=text))

    try:
        make = building.rebuild_image if rebuild else building.build_image
        outcome = make(build, store, tell)
    finally:
        terminal.stop()
    image = outcome.image
    how = "built" if outcome.built else "hit"
    again = "; built again, and the same" if rebuild else ""
    said = f"{image.inputs[:8]}  {how:<8} {size(image.size)}  {image.seconds} s{again}"
    terminal.say(f"  {build.name:<18} {said}")
    terminal.say(f"    {image.tag}\n    {image.digest}")
    if image.base != LOCKED:
        terminal.say(f"    base: {image.base} in place of {build.image.required_container().base}")
    if outcome.built:
        terminal.say("    " + "; ".join(f"{name} {found}" for name, found in image.checks.items()))
    return image


def _ask_terms(build: Build, *, accepted: bool) -> None:
    """Ask for NVIDIA's terms before an image that holds their software leaves this machine."""
    base = build.image.required_container().tag
    if not base.startswith(NVIDIA) or accepted:
        return
    why = f"It holds {base}; whether you may pass it on is between you and NVIDIA: {TERMS}"
    if not sys.stdin.isatty():
        raise UsageError(
            f"{build.name} is not pushed: nobody is here to answer for NVIDIA's terms",
            why=why,
            hint="read them, see that the registry is private, then add --accept-nvidia-terms",
        )
    sys.stderr.write(f"{why}\nIs the registry private, and do their terms allow it? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError(f"{build.name} is not pushed", why=why)
