"""A real tiny release, attested as ``invoke release --sign-key`` does it, published and read back."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from release import attest
from release import line as lines
from release.hub.folder import FolderHub
from release.hub.transaction import Release, State, publish
from release.preparing import Prepared
from release.report.terminal import Terminal
from release.verifying.command import Question, verify
from tests.integration.small import release as small
from tests.unit.attesting.keys import pair

pytestmark = [pytest.mark.env, pytest.mark.timeout(300)]


def test_a_signed_release_is_published_and_verified_by_its_key(
    small_release: small.Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTSMITH_STORE", str(small_release.root / "store"))
    line, steps = small.open_small(small_release.root, "1.0.0")
    done = lines.realize_line(line, steps, small.Ear())
    keys, whole = pair(tmp_path), lines.open_line("tiny")
    signing = replace(whole, recipe=replace(whole.recipe, signing=keys.signer))
    prepared = Prepared(line=signing, steps=steps, version="1.0.0", done=done)
    with signing.store.running():
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
