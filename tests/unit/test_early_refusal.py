"""What a card would refuse at the end is refused before anything is built."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_a_licence_that_may_not_be_inherited_stops_a_release_at_its_start(tmp_path: Path) -> None:
    recipe = tmp_path / "recipes" / "tiny"
    shutil.copytree(PROJECT / "recipes" / "tiny", recipe)
    shutil.copytree(PROJECT / "recipes" / "templates", tmp_path / "recipes" / "templates")
    with (recipe / "recipe.toml").open("a") as file:
        file.write('\n[[card.datasets]]\nstage = "SFT"\nname = "a/b"\nlicense = "Apache-2.0"\n')
        file.write(
            '\n[[card.datasets.derives]]\nname = "corpus"\nlicense = "LicenseRef-NVIDIA-Open-Model-License"\n'
        )
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("invoke")),
            *("release", "--recipe", str(recipe), "--version", "0.1.0", "--hub", str(tmp_path / "hub")),
        ],
        cwd=PROJECT,
        env={**os.environ, "GRAFTSMITH_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "stage SFT → dataset a/b → source corpus: LicenseRef-NVIDIA-Open-Model-License" in done.stderr
    assert not (tmp_path / "hub").exists()
    assert not (tmp_path / "store" / "objects").exists()


def test_a_release_in_containers_without_an_engine_is_refused_before_its_first_step(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("invoke")), "build", "--step", "quantize", "--engine", "docker"],
        cwd=PROJECT,
        env={
            **os.environ,
            "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
            "GRAFTSMITH_STORE": str(tmp_path / "store"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 10
    assert "no Docker engine answers" in done.stderr and "--engine local" in done.stderr
    assert not (tmp_path / "store" / "objects").exists()  # not even a source was brought in


def test_status_of_a_release_in_containers_needs_no_engine(tmp_path: Path) -> None:
    said = {}
    for engine in ("local", "docker"):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("invoke")), "status", "--json", "--engine", engine],
            cwd=PROJECT,
            env={
                **os.environ,
                "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
                "GRAFTSMITH_STORE": str(tmp_path / "store"),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        said[engine] = {step["step"]: step["key"] for step in json.loads(done.stdout)["steps"]}
    assert said["docker"]["calibrate"] != said["local"]["calibrate"]  # it measures: in another place
    assert said["docker"]["sbom-nvfp4"] == said["local"]["sbom-nvfp4"]
