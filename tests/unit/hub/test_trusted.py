"""Publishing without a token of one's own: a CI job's identity, exchanged once for each repo."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from release.errors import PublishError
from release.hub import tokens
from release.hub.calls import CallJournal
from release.hub.client import Client
from release.hub.insist import Patience
from release.hub.transaction import State, Way, publish
from tests.hub_server.issuer import Issuer, issuing
from tests.hub_server.running import TOKEN, RunningHub, running
from tests.unit.hub.remote import PART_SIZE, PATIENCE, Pair

CALM = Patience(tries=4, first=0.01, silence=20)


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    """Offer a job's identity, and take the token of ``pair`` away: ask for it after that."""
    monkeypatch.setattr(tokens, "_PUBLISHERS", {})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with issuing() as found:
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[RunningHub]:
    """Start a Hub whose tokens last a second."""
    with running(tmp_path / "brief", "--part-size", PART_SIZE, "--token-seconds", "1") as hub:
        yield hub


def _exchanges(server: RunningHub, start: int = 0) -> int:
    return sum(asked["path"] == "/oauth/token" for asked in server.asked(start))


def test_a_job_publishes_with_one_exchange_for_each_repo(pair: Pair, issuer: Issuer) -> None:
    issuer.trust(pair.server.root, *pair.names)
    start, wanted = len(pair.server.asked()), pair.release()
    assert publish(pair.hub(), wanted).state is State.PUBLISHED
    pair.check(wanted)
    assert _exchanges(pair.server, start) == 2 == len(issuer.minted)


def test_a_job_stages_and_promotes(pair: Pair, issuer: Issuer) -> None:
    issuer.trust(pair.server.root, *pair.names)
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)
    publish(pair.hub(), wanted, Way.PROMOTE)
    pair.check(wanted)


def test_a_token_that_ends_during_an_upload_is_exchanged_again_and_nothing_is_sent_twice(
    brief: RunningHub, issuer: Issuer, tmp_path: Path
) -> None:
    pair = Pair(brief, "brief", tmp_path).create()
    issuer.trust(brief.root, *pair.names)
    brief.faults({"method": "PUT", "path": "/_lfs/[^/]*/[^/]*/[0-9a-f]*$", "how": "slow", "seconds": 1.5})
    wanted = pair.release()
    assert publish(pair.hub(CALM), wanted).state is State.PUBLISHED
    assert brief.struck() == 1
    pair.check(wanted)
    assert _exchanges(brief) > 2
    refused = [asked for asked in brief.asked() if asked["status"] == 401]
    assert refused, "the token ended while a blob was sent"


def test_a_token_of_ones_own_is_taken_first(
    pair: Pair, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    publish(pair.hub(), pair.release())
    assert not issuer.minted


def test_who_only_reads_shows_no_identity(
    pair: Pair, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    client = Client.connect(pair.server.url, PATIENCE, CallJournal(tmp_path / "j", version="", repos={}))
    assert client.files(pair.names[0], "main")
    assert not issuer.minted


@pytest.mark.parametrize("trusted", [0, 1])
def test_a_repo_that_trusts_another_workflow_is_named_and_nothing_is_written(
    trusted: int, pair: Pair, issuer: Issuer
) -> None:
    issuer.trust(pair.server.root, pair.names[trusted])
    issuer.trust(pair.server.root, pair.names[1 - trusted], subject="repo:somebody/else:ref:refs/heads/main")
    with pytest.raises(
        PublishError, match=f"gives this job no token for {pair.names[1 - trusted]}"
    ) as caught:
        publish(pair.hub(), pair.release())
    assert "trusted publisher" in caught.value.hint
    for name in pair.names:
        assert pair.server.git(name, "rev-list", "--count", "main").strip() == "1"


def test_a_token_is_good_for_one_repo_and_makes_none(pair: Pair, issuer: Issuer) -> None:
    issuer.trust(pair.server.root, *pair.names)
    shown = tokens.to_publish(pair.server.url)
    api = HfApi(endpoint=pair.server.url, token=shown.of(pair.names[0]) or False)
    api.auth_check(pair.names[0], write=True)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.auth_check(pair.names[1], write=True)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("graftsmith/another")


def test_no_token_and_no_identity_is_kept_or_printed(
    pair: Pair, issuer: Issuer, capfd: pytest.CaptureFixture[str]
) -> None:
    issuer.trust(pair.server.root, *pair.names)
    pair.server.faults({"method": "PUT", "path": "/_lfs/", "how": "status", "status": 403, "times": 99})
    with pytest.raises(PublishError) as caught:
        publish(pair.hub(), pair.release())
    shown = tokens.to_publish(pair.server.url)
    secrets = [issuer.request_token, *issuer.minted, *(str(shown.of(name)) for name in pair.names)]
    kept = "".join(file.read_text() for file in pair.root.rglob("*.jsonl"))
    said = kept + str(caught.value) + repr(shown) + "".join(capfd.readouterr())
    assert '"call": "look"' in kept and len(secrets) == 5
    assert not [secret for secret in secrets if secret in said or secret.split(".")[1] in said]


@pytest.mark.parametrize("how", ["reset", "lost"])
def test_an_exchange_that_is_not_answered_is_asked_again(how: str, pair: Pair, issuer: Issuer) -> None:
    issuer.trust(pair.server.root, *pair.names)
    pair.server.faults({"method": "POST", "path": "/oauth/token$", "how": how})
    assert publish(pair.hub(), pair.release()).state is State.PUBLISHED
