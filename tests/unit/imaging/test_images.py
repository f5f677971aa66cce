"""Which files decide which hash, and what image.toml may say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from release.errors import ConfigError
from release.images import Image, load
from release.store import Store

PROJECT = Path(__file__).resolve().parents[3]
UV, PLATFORM = "0.0.0", "linux/arm64"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "images", tmp_path / "images")
    return tmp_path / "images" / "serve"


def image(folder: Path, variant: str = "cpu") -> Image:
    return load(folder.parent, folder.name, variant, Store(folder.parent / "store").stat_cache)


@pytest.mark.parametrize("file", ["../cpu.Dockerfile", "../builder.lock"])
def test_what_only_a_container_is_made_of_is_in_the_build_hash_alone(folder: Path, file: str) -> None:
    before = image(folder)
    (folder / file).write_text((folder / file).read_text() + "\n# changed\n")
    after = image(folder)
    assert before.input_hash(UV) == after.input_hash(UV)
    assert before.build_hash(PLATFORM) != after.build_hash(PLATFORM)


@pytest.mark.parametrize("file", ["cpu/requirements.lock", "cpu/overlay/graftsmith_vllm_cpu.py"])
def test_what_is_installed_is_in_both_hashes(folder: Path, file: str) -> None:
    before = image(folder)
    (folder / file).write_text((folder / file).read_text() + "\n# changed\n")
    after = image(folder)
    assert before.input_hash(UV) != after.input_hash(UV)
    assert before.build_hash(PLATFORM) != after.build_hash(PLATFORM)


def test_a_variable_of_the_steps_is_in_their_key(folder: Path) -> None:
    before = image(folder)
    edit(folder, 'OMP_NUM_THREADS = "1"', 'OMP_NUM_THREADS = "2"')
    assert before.input_hash(UV) != image(folder).input_hash(UV)


def test_limits_comments_and_other_variants_are_in_neither(folder: Path) -> None:
    before = image(folder)
    edit(folder, 'memory = "16g"', 'memory = "12g"  # a smaller machine')
    (folder.parent / "gb10.Dockerfile").write_text("FROM scratch\n")
    after = image(folder)
    assert before.input_hash(UV) == after.input_hash(UV)
    assert before.build_hash(PLATFORM) == after.build_hash(PLATFORM)


def test_another_base_is_another_image(folder: Path) -> None:
    before = image(folder)
    text = (folder / "image.toml").read_text()
    (folder / "image.toml").write_text(
        re.sub(r"(3\.11-slim-bookworm)@sha256:\w{64}", rf"\1@sha256:{'0' * 64}", text)
    )
    assert before.build_hash(PLATFORM) != image(folder).build_hash(PLATFORM)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r"@sha256:\w{64}", "", "base: expected name:tag@sha256:digest"),
        ('memory = "16g"', 'memory = "a lot"', "memory: expected a number and k, m or g"),
        (
            'dockerfile = "cpu.Dockerfile"',
            'dockerfile = "../elsewhere"',
            "dockerfile: expected a file of",
        ),
    ],
)
def test_a_wrong_container_table_is_said(folder: Path, old: str, new: str, said: str) -> None:
    file = folder / "image.toml"
    file.write_text(re.sub(old, new, file.read_text(), count=1))
    with pytest.raises(ConfigError, match=said):
        image(folder)


@pytest.mark.parametrize("name", ["quantize", "serve"])
def test_the_images_of_a_gb10_are_pinned_for_it(name: str) -> None:
    held = image(PROJECT / "images" / name, "gb10").required_container()
    assert held.platforms == {"linux/arm64": "aarch64-manylinux_2_39"}
    assert held.env["TORCH_CUDA_ARCH_LIST"] == "12.1a"
    assert held.gpu


def test_a_build_that_finds_nothing_to_do_loads_nothing_that_computes() -> None:
    script = "import sys, release.imaging.command; print({'numpy', 'jinja2', 'pynvml'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("lock", sorted((PROJECT / "images").glob("*/*/apt.lock")), ids=str)
def test_a_lock_of_debian_packages_names_version_architecture_and_hash(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.+-]+=\S+ (amd64|arm64) [0-9a-f]{64}", line) for line in lines)
    named = {
        arch: [line.split()[0] for line in lines if line.split()[1] == arch] for arch in ("amd64", "arm64")
    }
    assert named["amd64"] == named["arm64"]


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "image.toml").read_text()
    assert old in text
    (folder / "image.toml").write_text(text.replace(old, new, 1))
