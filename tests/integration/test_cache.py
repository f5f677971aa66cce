"""A release built on one machine and pulled on another, through a real S3 server."""

import json
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from release.store import Store
from tests.integration import s3_server
from tests.integration.house import House
from tests.integration.s3_server import SECRET, Server
from tests.integration.small import release as small
from tests.integration.small import state

STEPS = {
    "quantize",
    "graft-nvfp4",
    "graft-master",
    "configure-nvfp4",
    "configure-master",
    "prove",
    "assemble-nvfp4",
    "assemble-master",
}
KILLS = 4
SEED = 20261123

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # releases with real steps, each of some seconds
    pytest.mark.timeout(600),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A server that holds a finished small release, and what a reader's shell has."""

    server: Server
    key: Path
    builder: Path
    said: str = ""

    @property
    def reads(self) -> Mapping[str, str]:
        """The environment of somebody who trusts the builder."""
        return {
            **self.server.environment,
            "GRAFTSMITH_CACHE": self.server.uri,
            "GRAFTSMITH_CACHE_TRUST": str(self.key.with_suffix(".pub")),
        }

    @property
    def writes(self) -> Mapping[str, str]:
        """The environment of the builder."""
        return {**self.reads, "GRAFTSMITH_CACHE_KEY": str(self.key), "SMALL_CACHE_PUSH": "1"}

    def names(self, kind: str) -> list[str]:
        """Return what lies in one folder of the cache."""
        return [name for name in self.server.names() if name.startswith(f"team/v1/{kind}/")]


def make_key(folder: Path) -> Path:
    path, key = folder / "cache-key", Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b" builder\n")
    return path


@contextmanager
def fill(folder: Path, finished: small.Finished) -> Iterator[Filled]:
    """Push the results of a release that was finished before."""
    with s3_server.serve(folder) as server:
        found = Filled(server=server, key=make_key(folder), builder=folder / "builder")
        state.copy(finished.root, found.builder)
        done = small.run(found.builder, **found.writes)
        assert done.returncode == 0, done.stderr
        assert small.parse(done.stdout).built == ()
        assert not done.stderr
        yield replace(found, said=done.stdout)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, small_release: small.Finished) -> Iterator[Filled]:
    with fill(tmp_path_factory.mktemp("filled"), small_release) as found:
        yield found


def pull(root: Path, finished: small.Finished, env: Mapping[str, str]) -> tuple[small.Report, str]:
    """Release on a machine that has the sources and an empty store; return the report and warnings."""
    if not root.exists():
        state.begin(finished.root, root)
    done = small.run(root, **env)
    assert done.returncode == 0, done.stderr
    return small.parse(done.stdout), done.stderr


def test_an_empty_store_gets_the_same_release_and_builds_nothing(
    filled: Filled, small_release: small.Finished, tmp_path: Path
) -> None:
    before = len(filled.server.asked("GET"))
    report, warnings = pull(tmp_path / "reader", small_release, filled.reads)
    assert (report.built, set(report.cached), warnings) == ((), STEPS, "")
    assert report.digests == small_release.report.digests
    assert not state.rotten(tmp_path / "reader")
    got = [name for name in filled.server.asked("GET")[before:] if "/objects/" in name]
    assert len(got) == len(set(got)) == len(filled.names("objects")), "an object came twice, or for nothing"


def test_nothing_is_sent_twice_and_no_source(filled: Filled, small_release: small.Finished) -> None:
    sent = filled.server.asked("PUT")
    assert len(sent) == len(set(sent))
    assert small.run(filled.builder, **filled.writes).returncode == 0
    assert filled.server.asked("PUT") == sent
    store = Store(small_release.root / "store")
    sources = {
        file.sha256
        for tree in store.roots.sources()["tiny"].values()
        for file in (store.manifest(tree) or pytest.fail("a source has no manifest")).files.values()
    }
    assert not sources & {name.rpartition("/")[2] for name in filled.names("objects")}


def test_an_entry_is_sent_after_all_that_it_names(filled: Filled) -> None:
    seen: set[str] = set()
    for name in filled.server.asked("PUT"):
        if "/realizations/" in name:
            entry = json.loads(filled.server.ask("GET", name).partition(b"\n")[2])
            manifest = f"team/v1/trees/{entry['tree']}.json"
            files = json.loads(filled.server.ask("GET", manifest)).values()
            objects = {f"team/v1/objects/{file['sha256'][:2]}/{file['sha256']}" for file in files}
            assert {manifest, *(objects & set(filled.names("objects")))} <= seen
        seen.add(name)


def test_poisoned_entries_are_refused_and_only_their_steps_built(
    small_release: small.Finished, tmp_path: Path
) -> None:
    with fill(tmp_path, small_release) as filled:
        keys, poisoned = poison(filled, small_release)
        report, warnings = pull(tmp_path / "reader", small_release, filled.reads)
    assert set(report.built) == poisoned
    assert set(report.cached) == STEPS - poisoned
    assert report.digests == small_release.report.digests
    for step in poisoned:
        line = next(line for line in warnings.splitlines() if line.startswith(f"warning: {step}: refused"))
        assert keys[step] in line


def poison(filled: Filled, small_release: small.Finished) -> tuple[Mapping[str, str], set[str]]:
    """Poison five entries, each in its own way; return the keys of all steps, and which five."""
    server, store = filled.server, Store(small_release.root / "store")
    keys = {found.name: found.key for found in store.realizations.all()}

    def entry(step: str) -> str:
        return next(name for name in filled.names("realizations") if keys[step] in name)

    def new_object(step: str) -> str:
        tree = json.loads(server.ask("GET", entry(step)).partition(b"\n")[2])["tree"]
        files = json.loads(server.ask("GET", f"team/v1/trees/{tree}.json")).values()
        objects = [f"team/v1/objects/{f['sha256'][:2]}/{f['sha256']}" for f in files]
        return next(name for name in objects if name in filled.names("objects"))

    body = server.ask("GET", new_object("quantize"))
    server.ask("PUT", new_object("quantize"), body[:-1] + bytes([body[-1] ^ 1]))
    server.ask("PUT", entry("graft-master"), server.ask("GET", entry("graft-nvfp4")))
    server.ask("PUT", entry("graft-nvfp4"), server.ask("GET", entry("graft-nvfp4")).partition(b"\n")[2])
    server.ask("PUT", new_object("prove"), server.ask("GET", new_object("prove"))[:-1])
    tree = json.loads(server.ask("GET", entry("configure-master")).partition(b"\n")[2])["tree"]
    server.ask("DELETE", f"team/v1/trees/{tree}.json")
    return keys, {"quantize", "graft-master", "graft-nvfp4", "prove", "configure-master"}


def test_a_pull_that_is_killed_is_finished_by_the_same_command(
    filled: Filled, small_release: small.Finished, tmp_path: Path
) -> None:
    traced = tmp_path / "traced"
    pull(traced, small_release, {**filled.reads, "GRAFTSMITH_TRACE": str(tmp_path / "trace")})
    lines = (tmp_path / "trace").read_text().splitlines()
    arriving = [int(line.split()[0]) for line in lines if "/arrived" in line or "/objects/" in line]
    dice = random.Random(SEED)  # noqa: S311 (a sample, not a secret)
    for number in sorted(dice.sample(arriving, KILLS)):
        root = tmp_path / f"killed-{number}"
        state.begin(small_release.root, root)
        env = {**filled.reads, "GRAFTSMITH_TRACE": str(root / "trace")}
        killed = small.run(root, **env, GRAFTSMITH_KILL_AT=str(number))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not state.rotten(root)
        here = {path.name for path in (root / "store" / "scratch").glob("*/arrived/[!.]*")}
        asked = len(filled.server.asked("GET"))
        report, warnings = pull(root, small_release, filled.reads)
        assert (report.built, warnings) == ((), "")
        assert report.digests == small_release.report.digests
        again = {name.rpartition("/")[2] for name in filled.server.asked("GET")[asked:]}
        assert not here & again, "what had arrived was asked for again"


def test_a_server_that_is_gone_costs_a_warning(
    filled: Filled, small_release: small.Finished, tmp_path: Path
) -> None:
    gone = {**filled.writes, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}  # the port of discard: nobody listens
    report, warnings = pull(tmp_path / "reader", small_release, gone)
    assert set(report.built) == STEPS
    assert report.digests == small_release.report.digests
    assert len(warnings.splitlines()) == 1
    assert "does not answer" in warnings


def test_no_secret_is_written_or_said(filled: Filled, small_release: small.Finished, tmp_path: Path) -> None:
    _, warnings = pull(tmp_path / "reader", small_release, filled.reads)
    secrets = (SECRET, filled.key.read_text().splitlines()[2])
    said = [
        filled.said,
        warnings,
        *(filled.server.ask("GET", n).decode("latin-1") for n in filled.server.names()),
    ]
    for root in (filled.builder, tmp_path / "reader"):
        for path in (root / "store").rglob("*"):
            if path.is_file() and "envs" not in path.parts:
                said.append(path.read_bytes().decode("latin-1"))
    assert not [text[:80] for text in said if any(secret in text for secret in secrets)]


def test_the_tasks_push_show_and_pull(tmp_path: Path, quantize_python: Path) -> None:
    key, cache = make_key(tmp_path), tmp_path / "cache"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = House(tmp_path / "one"), House(tmp_path / "two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFTSMITH_CACHE_KEY", str(key))
        done = one.invoke("build", "--step", "graft-master", "--cache", str(cache), "--cache-push")
    assert done.returncode == 0, done.stdout + done.stderr
    reads = ("--cache", str(cache), "--cache-trust", str(key.with_suffix(".pub")))
    shown = two.invoke("status", "--json", *reads)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    status = json.loads(shown.stdout)
    assert {step["step"] for step in status["steps"] if step["status"] == "cached"} == {"graft-master"}
    assert status["summary"]["download"] > 0
    assert "1 in the cache" in two.invoke("status", *reads).stdout
    pulled = two.invoke("build", "--step", "graft-master", *reads)
    assert pulled.returncode == 0, pulled.stdout + pulled.stderr
    assert [line for line in pulled.stdout.splitlines() if "graft-master" in line and "cached" in line]
    assert "it ran elsewhere" in two.invoke("log", "graft-master").stdout
    refused = two.invoke("status", "--cache", "s3://me:hunter2@builds/x")
    assert (refused.returncode, "hunter2" in refused.stdout + refused.stderr) == (2, False)


def test_a_whole_release_is_pulled_with_its_figures_and_no_model_is_served(
    released: House, tmp_path: Path
) -> None:
    key, cache = make_key(tmp_path), tmp_path / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFTSMITH_CACHE_KEY", str(key))
        pushed = released.release("--cache", str(cache), "--cache-push")
    assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    (tmp_path / "two").mkdir()
    two = House(tmp_path / "two")
    pulled = two.release("--cache", str(cache), "--cache-trust", str(key.with_suffix(".pub")))
    assert pulled.returncode == 0, pulled.stdout + pulled.stderr
    steps = len(Store(two.store).roots.get("tiny", "0.1.0") or {})
    assert f"0 to build, {steps} in the cache" in pulled.stdout
    assert f"steps: 0 built, 0 in the store, {steps} from the cache (" in pulled.stdout
    sums = [sorted(path.read_text() for path in hub.rglob("SHA256SUMS")) for hub in (released.hub, two.hub)]
    assert sums[0] == sums[1]
    assert "nothing changed" in two.release().stdout
