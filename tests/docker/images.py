"""Images for tests: the project's own Dockerfile with less to install, and one with nothing."""

import re
import shutil
from pathlib import Path

from release.images import Image, load, this_platform
from release.imaging.recipe import Build
from release.store import Store

PROJECT = Path(__file__).resolve().parents[2]
SLIM = ("numpy", "llvmlite", "jinja2", "markupsafe")
"""What quantize (its stream exporter), graft, configure and prove import: 60 MB, not 5 GB."""
BARE = """\
ARG BASE
FROM ${BASE}
ARG SOURCE_DATE_EPOCH
RUN python3 -m venv --without-pip /opt/env && %s
USER 1000:1000
"""


def copy(folder: Path, name: str) -> Path:
    """Copy an image and what images share below ``folder``; return the image's folder."""
    shutil.copytree(PROJECT / "images" / name, folder / name)
    for path in (PROJECT / "images").iterdir():
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    return folder / name


def slim(folder: Path) -> Path:
    """Copy the image ``quantize`` below ``folder``, its lock cut down to SLIM; return ``folder``."""
    copy(folder, "quantize")
    lock = folder / "quantize" / "cpu" / "requirements.lock"
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    lock.write_text("".join(f"{entry}\n" for entry in entries if entry.split("==")[0] in SLIM))
    _set_imports(folder / "quantize" / "image.toml", '"numpy", "llvmlite", "jinja2"')
    return folder


def bare(folder: Path, command: str = "true") -> Path:
    """Write an image ``quantize`` that installs nothing and runs ``command``; return ``folder``."""
    slim(folder)
    (folder / "quantize" / "cpu" / "requirements.lock").write_text("")
    (folder / "cpu.Dockerfile").write_text(BARE % command)
    _set_imports(folder / "quantize" / "image.toml", "")
    return folder


def build_of(folder: Path, store: Store, base: str) -> Build:
    """Return the build of the image ``quantize`` in ``folder``."""
    return Build(image=image_of(folder, store), platform=this_platform(), base=base)


def image_of(folder: Path, store: Store) -> Image:
    """Return the image ``quantize`` in ``folder``."""
    return load(folder, "quantize", "cpu", store.stat_cache)


def _set_imports(file: Path, imports: str) -> None:
    file.write_text(re.sub(r"imports = \[.*\]", f"imports = [{imports}]", file.read_text()))
