"""Bad input through ``invoke``: a clear message, its exit code, nothing changed."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.house import House

MASTER_SHARD = "model-00001-of-00004.safetensors"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def rewrite_header(shard: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    data = shard.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    shard.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def lie(header: dict[str, dict[str, object]]) -> None:
    name = next(name for name in header if name != "__metadata__")
    header[name]["data_offsets"] = [0, 1 << 40]


def escape(header: dict[str, dict[str, object]]) -> None:
    name = next(name for name in header if name != "__metadata__")
    header["../" + name] = header.pop(name)


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "expected this shard"),
        (truncate, MASTER_SHARD),
        (lambda shard: rewrite_header(shard, lie), MASTER_SHARD),
        (lambda shard: rewrite_header(shard, escape), MASTER_SHARD),
    ],
    ids=["missing", "truncated", "lying offsets", "name with .."],
)
def test_a_damaged_checkpoint_is_refused(house: House, damage: Callable[[Path], None], message: str) -> None:
    recipe = house.recipe("damaged")
    before = (recipe / "recipe.lock").read_bytes()
    damage(recipe / "master" / MASTER_SHARD)
    done = house.invoke("lock", "--recipe", str(recipe))
    assert done.returncode == 3, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert (recipe / "recipe.lock").read_bytes() == before


def test_an_unknown_recipe_lists_the_known_ones(house: House) -> None:
    done = house.invoke("release", "--version", "0.1.0", "--recipe", "nothing")
    assert done.returncode == 2
    assert "tiny" in done.stderr


def test_a_malformed_recipe_names_file_key_expected_and_got(house: House) -> None:
    recipe = house.recipe("malformed")
    file = recipe / "recipe.toml"
    file.write_text(file.read_text().replace("samples = 20", "samples = 'many'"))
    done = house.invoke("lock", "--recipe", str(recipe))
    assert done.returncode == 3
    assert "recipe.toml: calibrate.samples: expected int, got str 'many'" in done.stderr


def test_text_that_is_no_toml_names_the_line(house: House) -> None:
    recipe = house.recipe("notoml")
    (recipe / "recipe.toml").write_text("format = = 1\n")
    done = house.invoke("lock", "--recipe", str(recipe))
    assert done.returncode == 3
    assert "line 1" in done.stderr


def test_a_lock_out_of_step_says_what_differs(house: House) -> None:
    recipe = house.recipe("drifted")
    with (recipe / "prompts.jsonl").open("a") as file:
        file.write("\n")
    done = house.invoke("release", "--version", "0.1.0", "--recipe", str(recipe), "--hub", str(house.hub))
    assert done.returncode == 4
    assert "prompts: path:prompts.jsonl" in done.stderr
    assert "invoke lock" in done.stderr
    assert not house.hub.exists()


@pytest.mark.parametrize("version", ["1", "v0.1.0", "0.1.0.0", "latest", "../0.1.0"])
def test_a_version_that_is_not_semver_is_refused(house: House, version: str) -> None:
    done = house.invoke("release", "--version", version, "--hub", str(house.hub))
    assert done.returncode == 2
    assert "is not a version" in done.stderr
    assert not house.hub.exists()


def test_a_dry_run_prints_the_plan_and_builds_nothing(house: House) -> None:
    done = house.release("--dry-run")
    assert done.returncode == 0, done.stderr
    for step in ("calibrate", "smoke-master", "assemble-nvfp4"):
        assert step in done.stdout
    assert not house.hub.exists()
    assert not (house.store / "realizations").exists()
