"""A cache is a folder or a bucket; a password in its URI is refused and never repeated."""

from pathlib import Path

import pytest

from release.cache.address import parse, scrubbed
from release.errors import UsageError


def test_a_folder_and_a_bucket_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(parse("shared/cache")) == str(tmp_path / "shared/cache")
    assert str(parse(f"file://{tmp_path}/a%20b")) == f"{tmp_path}/a b"
    assert (str(parse("s3://builds/team/x/")), parse("s3://builds").bucket) == ("s3://builds/team/x", True)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAKEY:hunter2@builds/x",
        "s3://AKIAKEY:hun/hunter2@builds/x",
        "s3://builds/x?password=hunter2",
        "s3://AKIAKEY:hunter2/x",
        "https://user:hunter2@host/x",
    ],
)
def test_a_password_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(uri)
    assert "hunter2" not in str(refused.value)
    assert "AKIAKEY" not in str(refused.value)


@pytest.mark.parametrize(
    "uri", ["gs://builds/x", "simplecache::s3://builds/x", "s3://", "s3://Bad_Name/x", "s3://builds/../x", ""]
)
def test_what_is_neither_is_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        parse(uri)


def test_an_error_of_the_client_shows_no_user_of_an_endpoint() -> None:
    said = scrubbed('Could not connect to the endpoint URL: "http://me:hunter2@127.0.0.1:9/b/x"')
    assert said == 'Could not connect to the endpoint URL: "http://127.0.0.1:9/b/x"'
