"""Keys are those that ssh-keygen makes; what is no such key is an error that says so."""

import shutil
import subprocess
from pathlib import Path

import pytest

from release.cache.choice import Choice
from release.cache.signing import load_signer, load_trust
from release.errors import ConfigError, UsageError
from release.store import Store

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "builder", "-f", str(tmp_path / "key")],
        check=True,
    )
    return tmp_path / "key"


def test_a_pair_of_ssh_keygen_signs_and_verifies(key: Path) -> None:
    signer = load_signer(key)
    public = key.with_suffix(".pub")
    for text in (str(public), public.read_text().strip()):
        trust = load_trust(text)
        assert trust.verify(signer.name, signer.sign(b"tree"), b"tree")
        assert not trust.verify(signer.name, signer.sign(b"tree"), b"other")
        assert not trust.verify("0" * 16, signer.sign(b"tree"), b"tree")


def test_a_file_may_hold_several_keys_and_comments(key: Path, tmp_path: Path) -> None:
    (tmp_path / "trusted").write_text("# the builders\n\n" + key.with_suffix(".pub").read_text())
    assert list(load_trust(str(tmp_path / "trusted")).keys) == [load_signer(key).name]


def test_a_private_key_that_others_can_read_is_refused(key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        load_signer(key)


def test_what_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "no-key").write_text("ssh-rsa AAAA nobody\n")
    (tmp_path / "no-key").chmod(0o600)
    with pytest.raises(ConfigError, match="line 1"):
        load_trust(str(tmp_path / "no-key"))
    with pytest.raises(ConfigError, match="Ed25519"):
        load_signer(tmp_path / "no-key")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_signer(tmp_path / "missing")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_trust(str(tmp_path / "missing"))


def test_a_cache_that_nobody_is_trusted_in_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRAFTSMITH_CACHE", "GRAFTSMITH_CACHE_KEY", "GRAFTSMITH_CACHE_TRUST"):
        monkeypatch.delenv(name, raising=False)
    store = Store(tmp_path / "store")
    said: list[str] = []
    assert Choice().open(store, "tiny", said.append) is None
    with pytest.raises(UsageError, match="nobody is trusted"):
        Choice(uri="s3://builds/x").open(store, "tiny", said.append)
    with pytest.raises(UsageError, match="needs a key"):
        Choice(uri="s3://builds/x", push=True).open(store, "tiny", said.append)
    with pytest.raises(UsageError, match="needs a cache"):
        Choice(push=True).open(store, "tiny", said.append)


def test_the_environment_is_the_default_and_the_own_key_is_trusted(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("GRAFTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAFTSMITH_CACHE_KEY", str(key))
    cache = Choice().open(Store(tmp_path / "store"), "tiny", lambda _: None)
    assert cache is not None
    assert list(cache.reader.trust.keys) == [load_signer(key).name]
    assert cache.writer is None, "a cache is read until --cache-push is typed"
    assert Choice(push=True).open(Store(tmp_path / "store"), "tiny", lambda _: None).writer is not None  # type: ignore[union-attr]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, key: Path) -> None:
    said: list[str] = []
    choice = Choice(uri=str(tmp_path / "typo"), trust=str(key.with_suffix(".pub")))
    assert choice.open(Store(tmp_path / "store"), "tiny", said.append) is None
    assert "is no folder" in said[0]
