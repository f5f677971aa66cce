"""Sources on a Hub: what locking asks for, what fetching brings, and what happens when it fails.

The client reads ``HF_ENDPOINT`` when it is imported, so each question is asked in a process
of its own, by the command that a user types.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from release.digest import Tree
from release.store import default_root
from tests.unit.hub.plain_hub import COMMIT, REPO, Held, serving

PROJECT = Path(__file__).resolve().parents[3]
TINY = PROJECT / "recipes" / "tiny"


class Desk:
    """A recipe whose base is on a Hub, and a store of its own."""

    def __init__(self, root: Path, endpoint: str, revision: str = COMMIT) -> None:
        self.root = root
        self.endpoint = endpoint
        self.recipe = root / "recipes" / "tiny"
        self.store = root / "store"
        shutil.copytree(TINY, self.recipe)
        shutil.copytree(TINY.parent / "templates", root / "recipes" / "templates")
        text = (self.recipe / "recipe.toml").read_text()
        text = text.replace("path:base", f"hub:{REPO}@{revision}").replace("graftsmith/tiny-base", REPO)
        (self.recipe / "recipe.toml").write_text(text)

    def invoke(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run ``invoke`` with this recipe as a user does, without a token."""
        named = [arguments[0], "--recipe", str(self.recipe), *arguments[1:]]
        return self._run(str(Path(sys.executable).with_name("invoke")), *named)

    def fetch(self) -> "subprocess.CompletedProcess[str]":
        """Bring the locked base into the store."""
        return self._run(sys.executable, "-c", FETCH, str(self.recipe))

    def lock(self) -> dict[str, dict[str, object]]:
        """Return the sources of the lock."""
        sources: dict[str, dict[str, object]] = json.loads((self.recipe / "recipe.lock").read_text())[
            "sources"
        ]
        return sources

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        given = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        env = {
            **given,
            "GRAFTSMITH_STORE": str(self.store),
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.root / "hf"),
        }
        return subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)


FETCH = """
import sys
from release.errors import GraftsmithError
from release import line as lines, lock as locks, recipe as recipes
from release.hub import fetch
from release.store import Store, default_root
recipe = recipes.load(recipes.find(lines.PROJECT, sys.argv[1]))
done = []
try:
    repo = recipes.hub_sources(recipe)["base"].repo
    print(fetch.bring(Store(default_root()), repo, locks.pins(recipe)["base"], done.append))
except GraftsmithError as error:
    print(error, file=sys.stderr)
    sys.exit(error.code)
finally:
    print(sum(done))
"""


@pytest.fixture
def held() -> Held:
    """Return the tiny base as a repo, its shards in LFS, with a file of the server's own."""
    files = {path.name: path.read_bytes() for path in sorted((TINY / "base").iterdir())}
    lfs = frozenset(name for name in files if name.endswith(".safetensors"))
    return Held(files={**files, ".gitattributes": b"*.safetensors filter=lfs\n"}, lfs=lfs)


@pytest.fixture
def desk(tmp_path: Path, held: Held) -> Iterator[Desk]:
    with serving(held) as endpoint:
        yield Desk(tmp_path, endpoint)


def test_a_source_is_locked_without_downloading_its_weights(desk: Desk, held: Held) -> None:
    done = desk.invoke("lock", "--update", "base")
    assert done.returncode == 0, done.stderr
    base = desk.lock()["base"]
    assert base["commit"] == COMMIT
    assert Tree.from_json(base["files"]).digest == base["tree"]
    assert ".gitattributes" not in str(base["files"])
    # The same files in a folder have the same digest: where a source comes from does not count.
    assert base["tree"] == json.loads((TINY / "recipe.lock").read_text())["sources"]["base"]["tree"]
    read = [path for path, _ in held.asked if path.endswith(".safetensors")]
    assert read == []


def test_a_branch_is_locked_to_its_commit(tmp_path: Path, held: Held) -> None:
    with serving(held) as endpoint:
        desk = Desk(tmp_path, endpoint, revision="main")
        assert desk.invoke("lock", "--update", "all").returncode == 0
    assert desk.lock()["base"]["source"] == f"hub:{REPO}@main"
    assert desk.lock()["base"]["commit"] == COMMIT


def test_without_asking_the_source_stands_as_unresolved(desk: Desk, held: Held) -> None:
    done = desk.invoke("lock")
    assert done.returncode == 0, done.stderr
    assert f"type: invoke lock --recipe {desk.recipe} --update base" in done.stdout
    assert desk.lock()["base"] == {"source": f"hub:{REPO}@{COMMIT}", "tree": None}
    assert held.asked == []


def test_an_unresolved_release_prints_its_plan_and_is_refused(desk: Desk) -> None:
    desk.invoke("lock")
    plan = desk.invoke("release", "--version", "0.1.0", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    for words in ("assemble-nvfp4", "after base", f"source base: hub:{REPO}@{COMMIT}"):
        assert words in plan.stdout
    refused = desk.invoke("release", "--version", "0.1.0")
    assert refused.returncode == 4
    assert f"type: invoke lock --recipe {desk.recipe} --update base" in refused.stderr


def test_a_locked_source_is_not_asked_for_again(desk: Desk, held: Held) -> None:
    desk.invoke("lock", "--update", "base")
    held.asked.clear()
    again = desk.invoke("lock")
    assert "the lock is in step" in again.stdout
    plan = desk.invoke("release", "--version", "0.1.0", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "to download: base, 3.2 MB of 3.2 MB" in plan.stdout
    assert held.asked == []


def test_another_revision_in_the_recipe_takes_the_pin_away(desk: Desk) -> None:
    desk.invoke("lock", "--update", "base")
    recipe = desk.recipe / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(COMMIT, "main"))
    refused = desk.invoke("release", "--version", "0.1.0", "--dry-run")
    assert refused.returncode == 4
    assert f"base: hub:{REPO}@{COMMIT}" in refused.stderr
    assert "unresolved" in refused.stderr


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        (f"hub:{REPO}@v9", 4, "has no revision @v9"),
        ("hub:owner/other@main", 4, "no repo owner/other"),
        ("hub:owner/name", 3, "sources.base: expected path:FOLDER"),
        ("hub:../name@main", 3, "sources.base: expected path:FOLDER"),
    ],
)
def test_a_source_that_is_not_there_is_named(desk: Desk, source: str, code: int, words: str) -> None:
    recipe = desk.recipe / "recipe.toml"
    text = recipe.read_text().replace(f"hub:{REPO}@{COMMIT}", source)
    recipe.write_text(text.replace(f'"{REPO}"', '"owner/other"') if "owner/other" in source else text)
    before = (desk.recipe / "recipe.lock").read_bytes()
    done = desk.invoke("lock", "--update", "base")
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert (desk.recipe / "recipe.lock").read_bytes() == before


def test_a_hub_that_does_not_answer_is_a_network_error(desk: Desk) -> None:
    desk.endpoint = "http://127.0.0.1:1"
    done = desk.invoke("lock", "--update", "base")
    assert done.returncode == 11
    assert "did not answer" in done.stderr


def test_a_name_that_is_no_source_on_a_hub_is_a_usage_error(desk: Desk) -> None:
    done = desk.invoke("lock", "--update", "prompts")
    assert done.returncode == 2
    assert "base; or all" in done.stderr


def test_a_small_file_that_arrives_otherwise_is_refused(desk: Desk, held: Held) -> None:
    whole = held.files["config.json"]
    held.files["config.json"] = Shifting(whole)
    done = desk.invoke("lock", "--update", "base")
    assert done.returncode == 11
    assert "config.json did not arrive as the Hub lists it" in done.stderr


class Shifting(bytes):
    """Bytes that are sent changed: what a broken mirror does. Only the listing sees the right ones."""

    def __getitem__(self, key: object) -> bytes:  # type: ignore[override]
        return b"x" * len(self)


def test_a_fetch_brings_the_locked_tree(desk: Desk, held: Held) -> None:
    desk.invoke("lock", "--update", "base")
    done = desk.fetch()
    assert done.returncode == 0, done.stderr
    digest, read = done.stdout.split()
    assert digest == desk.lock()["base"]["tree"]
    assert int(read) == sum(len(data) for name, data in held.files.items() if name != ".gitattributes")
    held.asked.clear()
    assert desk.fetch().returncode == 0
    assert held.asked == []


def test_a_killed_fetch_goes_on_where_it_was(desk: Desk, held: Held) -> None:
    desk.invoke("lock", "--update", "base")
    shard = "model.safetensors-00003-of-00004.safetensors"
    file = Tree.from_json(desk.lock()["base"]["files"]).files[shard]
    part = desk.store / "scratch" / file.sha256 / "part"
    part.parent.mkdir(parents=True)
    part.write_bytes(held.files[shard][:100_000])
    done = desk.fetch()
    assert done.returncode == 0, done.stderr
    assert [asked for path, asked in held.asked if path.endswith(shard)] == ["bytes=100000-"]
    assert not part.exists()


def test_a_server_without_ranges_is_read_from_the_start(desk: Desk, held: Held) -> None:
    held.ranges = False
    desk.invoke("lock", "--update", "base")
    shard = "model.safetensors-00003-of-00004.safetensors"
    file = Tree.from_json(desk.lock()["base"]["files"]).files[shard]
    part = desk.store / "scratch" / file.sha256 / "part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"another beginning" * 100)
    done = desk.fetch()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == desk.lock()["base"]["tree"]


def test_bytes_that_are_not_the_locked_ones_are_thrown_away(desk: Desk, held: Held) -> None:
    desk.invoke("lock", "--update", "base")
    shard = "model.safetensors-00003-of-00004.safetensors"
    right = held.files[shard]
    held.files[shard] = bytes(len(right))
    done = desk.fetch()
    assert done.returncode == 11
    assert "the lock says" in done.stderr
    held.files[shard] = right
    assert desk.fetch().returncode == 0


@pytest.mark.env
def test_a_build_fetches_what_it_needs_and_asks_for_nothing_else(desk: Desk, held: Held) -> None:
    for name in ("envs", "cache/uv"):
        link = desk.store / name
        link.parent.mkdir(parents=True, exist_ok=True)
        (default_root() / name).mkdir(parents=True, exist_ok=True)
        link.symlink_to(default_root() / name)
    desk.invoke("lock", "--update", "base")
    held.asked.clear()
    done = desk.invoke("build", "--step", "graft-master")
    assert done.returncode == 0, done.stderr
    assert "fetch-base" in done.stdout
    locked = desk.lock()["base"]["files"]
    assert isinstance(locked, dict)
    of_the_repo = [path for path, _ in held.asked if REPO in path]
    assert sorted(path.rpartition("/")[2] for path in of_the_repo) == sorted(locked)
    held.asked.clear()
    assert desk.invoke("build", "--step", "graft-master").returncode == 0
    assert [path for path, _ in held.asked if REPO in path] == []
