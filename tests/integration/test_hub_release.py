"""The tiny release on a local Hub, through ``invoke``, and what strangers do with it then."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download

from tests.hub_server.running import TOKEN, RunningHub, running
from tests.integration.house import PROJECT, House

MASTER = "graftsmith/tiny-cascade"
NVFP4 = "graftsmith/tiny-cascade-NVFP4-MTP"
TAG = "v0.1.0"

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # what is published is a whole release, with its model servers
    pytest.mark.timeout(1500),
]


class Remote:
    """A house whose Hub is a server."""

    def __init__(self, house: House, server: RunningHub) -> None:
        self.house = house
        self.server = server

    def invoke(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(Path(sys.executable).with_name("invoke")), *arguments],
            cwd=PROJECT,
            env={
                **self.house.environment,
                "HF_ENDPOINT": self.server.url,
                "HF_TOKEN": TOKEN,
                "HF_HUB_DISABLE_XET": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def release(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.invoke("release", "--version", "0.1.0", "--hub", "hf", *arguments)

    @property
    def reader(self) -> dict[str, str]:
        """The environment of a stranger: no token, no cache of ours."""
        cache = str(self.server.root / "reader")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        return {**kept, "HF_ENDPOINT": self.server.url, "HF_HOME": cache, "HF_HUB_DISABLE_XET": "1"}


@pytest.fixture(scope="module")
def remote(released: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """Return the released line, published to a server as well."""
    with running(tmp_path_factory.mktemp("server")) as server:
        remote = Remote(released, server)
        early = remote.release("--yes")
        assert early.returncode == 12, early.stdout + early.stderr
        assert "hub-setup" in early.stderr
        made = remote.invoke("hub-setup")
        assert made.returncode == 0, made.stderr
        assert remote.invoke("hub-setup").returncode == 0
        planned = remote.release("--dry-run")
        assert planned.returncode == 0, planned.stderr
        assert f"{NVFP4}: " in planned.stdout and " to send" in planned.stdout
        asked = remote.release()
        assert asked.returncode == 2, asked.stdout + asked.stderr
        assert "--yes" in asked.stderr
        done = remote.release("--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{server.url}/{NVFP4}/tree/{TAG}" in done.stdout
        yield remote


def test_a_staged_version_is_seen_by_nobody_until_it_is_promoted(remote: Remote, tmp_path: Path) -> None:
    before = [remote.server.git(repo, "rev-parse", "main") for repo in (MASTER, NVFP4)]
    for _ in range(2):
        staged = remote.invoke("release", "--version", "0.2.0", "--hub", "hf", "--stage", "--yes")
        assert staged.returncode == 0, staged.stdout + staged.stderr
        assert "invoke promote --version 0.2.0" in staged.stdout
    assert [remote.server.git(repo, "rev-parse", "main") for repo in (MASTER, NVFP4)] == before
    for more in ((), ("--stage",)):
        planned = remote.invoke("release", "--version", "0.2.0", "--hub", "hf", "--dry-run", *more)
        assert planned.returncode == 0, planned.stdout + planned.stderr
        assert "; deletes" not in planned.stdout
        assert ("; pull request #1 is open" in planned.stdout) == bool(more)
    subprocess.run(
        [
            *(str(Path(sys.executable).with_name("hf")), "download", NVFP4),
            *("--revision", "refs/pr/1", "--local-dir", str(tmp_path)),
        ],
        env=remote.reader,
        check=True,
        capture_output=True,
    )
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    start = len(remote.server.asked())
    promoted = remote.invoke("promote", "--version", "0.2.0", "--yes")
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    assert "0.2.0 is released" in promoted.stdout
    assert not [asked for asked in remote.server.asked(start) if asked["method"] == "PUT"]
    for repo in (MASTER, NVFP4):
        assert remote.invoke("verify", f"{repo}@v0.2.0").returncode == 0
    again = remote.invoke("promote", "--version", "0.2.0", "--yes")
    assert "nothing changed" in again.stdout, again.stdout + again.stderr
    assert remote.invoke("promote", "--version", "0.3.0", "--yes").returncode == 2


def test_on_a_folder_a_staged_version_waits_hidden(remote: Remote, tmp_path: Path) -> None:
    hub = ("--hub", str(tmp_path))
    staged = remote.invoke("release", "--version", "0.2.0", "--stage", *hub)
    assert staged.returncode == 0, staged.stdout + staged.stderr
    assert not list(tmp_path.glob("*/*/v0.2.0"))
    assert remote.invoke("promote", "--version", "0.2.0", *hub).returncode == 0
    assert len(list(tmp_path.glob("*/*/v0.2.0/model.safetensors*"))) >= 2


def test_the_same_command_again_sends_nothing(remote: Remote) -> None:
    start = len(remote.server.asked())
    done = remote.release("--yes")
    assert done.returncode == 0, done.stderr
    assert "nothing changed" in done.stdout
    assert {asked["method"] for asked in remote.server.asked(start)} <= {"GET", "HEAD"}


def test_the_token_is_in_no_file_of_the_store_and_in_no_output(remote: Remote) -> None:
    done = remote.release("--yes")
    assert TOKEN not in done.stdout + done.stderr
    looked = 0
    for folder in ("realizations", "trees", "roots", "publishing", "logs", "scratch"):
        for file in (remote.house.store / folder).rglob("*"):
            if file.is_file():
                assert TOKEN.encode() not in file.read_bytes(), file
                looked += 1
    assert looked > 10


def test_snapshot_download_gives_the_bytes_that_the_folder_hub_shows(remote: Remote, tmp_path: Path) -> None:
    for repo in (MASTER, NVFP4):
        got = Path(
            snapshot_download(repo, revision=TAG, endpoint=remote.server.url, cache_dir=tmp_path, token=False)
        )
        shown = remote.house.hub / repo / TAG
        for path in (path for path in shown.rglob("*") if path.is_file()):
            assert (got / path.relative_to(shown)).read_bytes() == path.read_bytes(), path


def test_the_hf_command_downloads_what_sha256sum_accepts(remote: Remote, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("hf")), "download", NVFP4, "--revision", TAG]
    subprocess.run(
        [*command, "--local-dir", str(tmp_path)], env=remote.reader, check=True, capture_output=True
    )
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_headers_are_read_by_ranges_without_the_weights(remote: Remote) -> None:
    start = len(remote.server.asked())
    metadata = HfApi(endpoint=remote.server.url, token=False).get_safetensors_metadata(NVFP4, revision=TAG)
    assert any(name.startswith("mtp.") for name in metadata.weight_map)
    record = json.loads((remote.house.hub / NVFP4 / TAG / "model.safetensors.index.json").read_text())
    assert set(metadata.weight_map) == set(record["weight_map"])
    got = [asked for asked in remote.server.asked(start) if "/_blobs/" in str(asked["path"])]
    assert got and all(asked["status"] == 206 for asked in got)


def test_transformers_loads_config_and_tokenizer_by_name_and_tag(
    remote: Remote, quantize_python: Path
) -> None:
    code = (
        "import sys; from transformers import AutoConfig, AutoTokenizer\n"
        "for repo in sys.argv[2:]:\n"
        "    config = AutoConfig.from_pretrained(repo, revision=sys.argv[1])\n"
        "    assert config.architectures == ['Qwen3_5ForConditionalGeneration'], config\n"
        "    assert AutoTokenizer.from_pretrained(repo, revision=sys.argv[1]).chat_template\n"
    )
    done = subprocess.run(
        [str(quantize_python), "-c", code, TAG, MASTER, NVFP4],
        env=remote.reader,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_stranger_verifies_without_weights_and_sees_what_was_changed(remote: Remote) -> None:
    start = len(remote.server.asked())
    for repo in (MASTER, NVFP4):
        done = remote.invoke("verify", f"{repo}@{TAG}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "tensors" in done.stdout
    blobs = [asked for asked in remote.server.asked(start) if "/_blobs/" in str(asked["path"])]
    assert blobs and all(asked["status"] == 206 for asked in blobs), "ranges only"
    api = HfApi(endpoint=remote.server.url, token=TOKEN)
    wrong = api.create_commit(
        NVFP4, [CommitOperationAdd("config.json", b"{}")], commit_message="meddle", revision="main"
    )
    api.create_tag(NVFP4, tag="v0.1.1", revision=wrong.oid)
    told = remote.invoke("verify", f"{NVFP4}@v0.1.1")
    assert told.returncode == 6, told.stdout + told.stderr
    assert "config.json" in told.stdout
    assert remote.invoke("verify", f"{NVFP4}@v9.9.9").returncode == 2
