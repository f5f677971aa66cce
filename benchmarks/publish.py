"""Publishing against the bare client: one large blob, then one changed small file.

    python -m benchmarks.publish --mib 1024 --runs 3 --work DIR

Both ends send the same two trees to a local Hub of their own, in turns. The peer is what a
careful user writes with huggingface_hub: ``create_commit`` and ``create_tag`` on each repo. It
runs twice: hashing the blob as it does, and told the sha256 that we know. The physical limit is
one PUT of the blob to the same Hub, which hashes and keeps it,
by the standard library. Needs about 3 x MIB of disk.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import urllib.request
from pathlib import Path

from benchmarks.measure import Ran, run, warm
from release.digest import sha256_file
from tests.hub_server.running import TOKEN, running
from tests.unit.hub.release_trees import MASTER, NVFP4, release

WAYS = ("ours", "bare", "bare-known", "limit")


def main() -> None:
    """Print seconds, ratios and memory of every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--one", choices=WAYS, help="what the parent runs")
    parser.add_argument("--url", default="")
    asked = parser.parse_args()
    if asked.one:
        one(asked.one, asked.url, asked.work)
        return
    trees = asked.work / "trees"
    shutil.rmtree(asked.work, ignore_errors=True)
    _make(trees, asked.mib)
    warm(trees)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    processor: dict[str, list[float]] = {way: [] for way in WAYS}
    memory: dict[str, int] = dict.fromkeys(WAYS, 0)
    for number in range(asked.runs):
        for way in WAYS:
            ran, took = _in_turn(way, asked.work)
            processor[way].append(took)
            seconds[way].append(ran.seconds)
            memory[way] = max(memory[way], ran.anonymous)
            print(f"run {number + 1} {way:<11} {ran.seconds:7.2f} s  {took:6.2f} s of processor", flush=True)
    for name, found in (("seconds", seconds), ("seconds of processor", processor)):
        middle = {way: statistics.median(each) for way, each in found.items()}
        for way in WAYS:
            others = (other for other in WAYS if other != way)
            ratios = ", ".join(f"{middle[way] / middle[other]:.3f} of {other}" for other in others)
            print(f"{way:<11} {middle[way]:7.2f} {name}: {ratios}; {memory[way] / 1e6:.0f} MB")


def one(way: str, url: str, work: Path) -> None:
    """Publish once, one way, in this process."""
    trees = work / "trees"
    if way == "limit":
        _put(url, trees / "master" / "model.safetensors", (trees / "sha256").read_text())
    elif way == "ours":
        _ours(url, trees, work / "journals")
    else:
        _bare(url, trees, known=way == "bare-known")


def _make(trees: Path, mib: int) -> None:
    release(trees)
    blob = trees / "master" / "model.safetensors"
    blob.unlink()
    with blob.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    from tests.unit.hub.release_trees import manifest

    sums = trees / "master" / "SHA256SUMS"
    sums.unlink()
    sums.write_text(manifest(trees / "master").sums())
    (trees / "sha256").write_text(sha256_file(blob))


def _in_turn(way: str, work: Path) -> tuple[Ran, float]:
    """Run one way against a fresh Hub, in a process of its own; return what it took of processors too."""
    root = work / "hub"
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(work / "journals", ignore_errors=True)
    with running(root) as hub:
        from huggingface_hub import HfApi

        for name in (MASTER, NVFP4):
            HfApi(endpoint=hub.url, token=TOKEN).create_repo(name)
        command = [sys.executable, "-m", "benchmarks.publish", "--one", way, "--url", hub.url]
        environment = {**os.environ, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = run([*command, "--work", work], environment, work / f"{way}.log")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ran.code == 0, ran.log
        if way == "ours":
            _again(hub.url, work)
        return ran, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _again(url: str, work: Path) -> None:
    """Publish the next version with one changed small file and say what was sent."""
    from release.hub.huggingface import HuggingFaceHub
    from release.hub.transaction import publish
    from tests.unit.hub.release_trees import manifest

    trees = work / "next"
    shutil.rmtree(trees, ignore_errors=True)
    small = release(trees, version="1.1.0", figure=2.7)
    blob = trees / "master" / "model.safetensors"
    blob.unlink()
    blob.hardlink_to(work / "trees" / "master" / "model.safetensors")
    (trees / "master" / "SHA256SUMS").unlink()
    (trees / "master" / "SHA256SUMS").write_text(manifest(trees / "master").sums())
    os.environ["HF_TOKEN"] = TOKEN
    repos = tuple(type(r)(repo=r.repo, root=r.root, tree=manifest(r.root)) for r in small.repos)
    wanted = type(small)(version="1.1.0", repos=(repos[0], repos[1]))
    outcome = publish(HuggingFaceHub(endpoint=url, journals=work / "journals"), wanted)
    print(f"next version, small files changed: {[repo.sent for repo in outcome.repos]} bytes sent, no blob")


def _ours(url: str, trees: Path, journals: Path) -> None:
    from release.digest import File, Tree
    from release.hub.huggingface import HuggingFaceHub
    from release.hub.transaction import Release, RepoTree, publish
    from tests.unit.hub.release_trees import manifest

    sha256 = (trees / "sha256").read_text()
    repos = []
    for name, root in ((MASTER, trees / "master"), (NVFP4, trees / "nvfp4")):
        listed = (root / "SHA256SUMS").read_text().splitlines()
        digests = {line[66:]: line[:64] for line in listed}
        assert name != MASTER or digests["model.safetensors"] == sha256
        files = {path: File(digest, (root / path).stat().st_size) for path, digest in digests.items()}
        sums = root / "SHA256SUMS"
        files["SHA256SUMS"] = File(sha256_file(sums), sums.stat().st_size)
        repos.append(RepoTree(repo=name, root=root, tree=Tree(files)))
    assert manifest(trees / "nvfp4") == repos[1].tree
    wanted = Release(version="1.0.0", repos=(repos[0], repos[1]))
    publish(HuggingFaceHub(endpoint=url, journals=journals), wanted)


def _bare(url: str, trees: Path, *, known: bool) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.lfs import UploadInfo

    api = HfApi(endpoint=url, token=TOKEN)
    for name, root in ((MASTER, trees / "master"), (NVFP4, trees / "nvfp4")):
        files = sorted(path for path in root.rglob("*") if path.is_file())
        operations = [CommitOperationAdd(path.relative_to(root).as_posix(), path) for path in files]
        for operation in operations if known else []:
            if operation.path_in_repo == "model.safetensors" and name == MASTER:
                info = operation.upload_info
                digest = bytes.fromhex((trees / "sha256").read_text())
                operation.upload_info = UploadInfo(size=info.size, sample=info.sample, sha256=digest)
        made = api.create_commit(name, operations, commit_message="Release 1.0.0")
        api.create_tag(name, tag="v1.0.0", revision=made.oid)


def _put(url: str, blob: Path, sha256: str) -> None:
    """Ask where to send the blob, and send it: one request, one copy, nothing else."""
    wanted = {"operation": "upload", "transfers": ["basic"], "hash_algo": "sha256"}
    objects = [{"oid": sha256, "size": blob.stat().st_size}]
    batch = urllib.request.Request(  # noqa: S310 (our own server)
        f"{url}/{MASTER}.git/info/lfs/objects/batch",
        data=json.dumps({**wanted, "objects": objects}).encode(),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(batch) as answer:  # noqa: S310
        href = json.load(answer)["objects"][0]["actions"]["upload"]["href"]
    with blob.open("rb") as file:
        put = urllib.request.Request(href, data=file, method="PUT")  # noqa: S310
        put.add_header("Content-Length", str(blob.stat().st_size))
        urllib.request.urlopen(put).close()  # noqa: S310


if __name__ == "__main__":
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    main()
