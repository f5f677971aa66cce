"""A real tiny release, attested as ``invoke release --sign-key`` does it, published and read back."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from release import attest, staged
from release import line as lines
from release.hub.folder import FolderHub
from release.hub.transaction import Release, State, Way, publish
from release.preparing import ASSEMBLED, Prepared
from release.report.terminal import Terminal
from release.verifying.command import Question, verify
from tests.integration.small import release as small
from tests.unit.attesting.keys import Pair, pair

pytestmark = [pytest.mark.env, pytest.mark.timeout(300)]


@pytest.fixture
def keys(tmp_path: Path) -> Pair:
    return pair(tmp_path)


@pytest.fixture
def prepared(small_release: small.Finished, keys: Pair, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Return a prepared version of a line whose releases are signed by the key."""
    monkeypatch.setenv("GRAFTSMITH_STORE", str(small_release.root / "store"))
    line, steps = small.open_small(small_release.root, "1.0.0")
    done = lines.realize_line(line, steps, small.Ear())
    whole = lines.open_line("tiny")
    signing = replace(whole, recipe=replace(whole.recipe, signing=keys.signer))
    return Prepared(line=signing, steps=steps, version="1.0.0", done=done)


def test_a_signed_release_is_published_and_verified_by_its_key(
    prepared: Prepared, keys: Pair, tmp_path: Path
) -> None:
    with prepared.line.store.running():
        made = attest.attested(prepared, attest.Asked(key=str(keys.private)))
        release = Release(version="1.0.0", repos=made)
        outcome = publish(FolderHub(tmp_path / "hub"), release)
        again = publish(
            FolderHub(tmp_path / "hub"),
            Release(version="1.0.0", repos=attest.attested(prepared, attest.Asked(key=str(keys.private)))),
        )
    assert all(repo.signed for repo in outcome.repos)
    assert again.state is State.ALREADY, "another signature of the same tree is the same release"
    for repo in outcome.repos:
        asked = Question(asked=f"{repo.repo}@v1.0.0", hub=tmp_path / "hub", signer=keys.signer)
        verify(asked, Terminal(out=io.StringIO()))
        statement = json.loads((Path(repo.where) / "provenance.json").read_text())
        named = {entry["name"] for entry in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
        assert {"base", "master", "images/quantize/cpu/requirements.lock", "code of quantize"} <= named


def test_a_signed_version_is_signed_once_however_often_it_is_staged(
    prepared: Prepared, keys: Pair, tmp_path: Path
) -> None:
    line, hub = prepared.line, FolderHub(tmp_path / "hub")
    assembled = {step: prepared.done[step].tree for step in ASSEMBLED}
    shown = []
    for _ in range(2):
        with line.store.running():
            made = attest.attested(prepared, attest.Asked(key=str(keys.private)))
            wanted = staged.settle(line, "1.0.0", assembled, Release(version="1.0.0", repos=made))
            outcome = publish(hub, wanted, Way.STAGE)
        assert outcome.state is State.STAGED
        shown.append([(Path(repo.where) / "model.sig").read_bytes() for repo in outcome.repos])
    assert shown[0] == shown[1]
    found = staged.recall(line, "1.0.0")
    assert found is not None
    promoted = publish(hub, found, Way.PROMOTE)
    assert [(Path(repo.where) / "model.sig").read_bytes() for repo in promoted.repos] == shown[0]
    for repo in promoted.repos:
        asked = Question(asked=f"{repo.repo}@v1.0.0", hub=hub.root, signer=keys.signer)
        verify(asked, Terminal(out=io.StringIO()))
