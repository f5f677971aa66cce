"""``invoke attest`` on what ``invoke prepare --out`` hands on: sums and provenance, no weights."""

import io
import shutil
from pathlib import Path

import pytest

from release import recipe as recipes
from release.allowlist import ENVELOPE, PROVENANCE, SIGNATURE
from release.attest import KEY, Asked, require_able, sign_prepared
from release.attesting import bundles
from release.errors import ConfigError, ProofError, UsageError
from release.preparing import ASSEMBLED
from release.recipe import Recipe
from release.report.terminal import Terminal
from tests.unit.attesting.keys import Pair, digests, files, pair, provenance

PROJECT = Path(__file__).resolve().parents[1].parent
SIGNING = '\n[signing]\npublic_key = "signing.pub"\n'
IDENTITY = '\n[signing]\nidentity = "https://forge/wf@refs/tags/v{version}"\nissuer = "https://issuer"\n'


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("ours"))


def _line(root: Path, signing: str, ours: Pair | None = None) -> Path:
    """Copy the tiny recipe with a signer."""
    folder = root / "line"
    folder.mkdir()
    text = (PROJECT / "recipes" / "tiny" / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(text + signing)
    if ours is not None:
        shutil.copyfile(ours.signer.public_key, folder / "signing.pub")
    return folder


def _load(root: Path, signing: str, ours: Pair | None = None) -> Recipe:
    return recipes.load(_line(root, signing, ours))


def _prepared(root: Path) -> Path:
    """Write what is handed on of both trees."""
    tree = files()
    for step in ASSEMBLED:
        folder = root / "prepared" / step
        folder.mkdir(parents=True)
        for path in ("SHA256SUMS", "release.json"):
            (folder / path).write_bytes(tree[path])
        (folder / PROVENANCE).write_bytes(provenance(tree))
    return root / "prepared"


def test_sums_are_signed_where_the_weights_are_not(
    ours: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, str(ours.private))
    said = io.StringIO()
    prepared = _prepared(tmp_path)
    sign_prepared(str(_line(tmp_path, SIGNING, ours)), prepared, "", Terminal(out=said))
    for step in ASSEMBLED:
        beside = {name: (prepared / step / name).read_bytes() for name in (PROVENANCE, ENVELOPE)}
        signed = bundles.open_files((prepared / step / SIGNATURE).read_bytes(), ours.signer)
        assert signed == digests({**files(), **beside})
    private = ours.private.read_text().splitlines()[1]
    assert private not in said.getvalue()
    assert not any(private in path.read_text() for path in prepared.rglob("*") if path.is_file())


def test_a_line_that_names_no_signer_is_left_unsigned_and_says_so(tmp_path: Path) -> None:
    said, prepared = io.StringIO(), _prepared(tmp_path)
    sign_prepared(str(_line(tmp_path, "")), prepared, "", Terminal(out=said))
    assert "not signed" in said.getvalue()
    assert not list(prepared.rglob(SIGNATURE))


@pytest.mark.parametrize("path", ["SHA256SUMS", "release.json", PROVENANCE])
def test_what_was_changed_on_the_way_is_not_signed(path: str, ours: Pair, tmp_path: Path) -> None:
    prepared = _prepared(tmp_path)
    changed = prepared / ASSEMBLED[1] / path
    changed.write_text(changed.read_text().replace("0", "f", 1).replace("1" * 64, "8" * 64))
    with pytest.raises(ProofError, match="do not agree"):
        sign_prepared(str(_line(tmp_path, SIGNING, ours)), prepared, str(ours.private), Terminal())


def test_a_folder_that_was_not_prepared_says_how_to(ours: Pair, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invoke prepare --version X"):
        sign_prepared(str(_line(tmp_path, SIGNING, ours)), tmp_path, str(ours.private), Terminal())


def test_a_key_that_is_not_the_recipe_s_is_refused_before_anything_is_built(
    ours: Pair, tmp_path: Path
) -> None:
    other = pair(tmp_path / "other")
    with pytest.raises(ConfigError, match="not the private half"):
        require_able(_load(tmp_path, SIGNING, ours), Asked(key=str(other.private)))


def test_a_line_with_a_signer_is_not_released_unsigned(
    ours: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(UsageError, match="no key was given"):
        require_able(_load(tmp_path, SIGNING, ours), Asked())


def test_a_line_without_a_signer_is_not_signed(ours: Pair, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cards say 'not signed'"):
        require_able(_load(tmp_path, ""), Asked(key=str(ours.private)))


def test_an_identity_signs_between_prepare_and_publish(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invoke attest"):
        require_able(_load(tmp_path, IDENTITY), Asked())


@pytest.mark.parametrize(
    ("signing", "expected"),
    [
        ('\n[signing]\npublic_key = "none.pub"\n', "cannot be read"),
        ('\n[signing]\npublic_key = "recipe.toml"\n', "expected a public key in PEM"),
        ('\n[signing]\nidentity = "x"\n', "issuer: expected str, got nothing"),
        ('\n[signing]\nkey = "x"\n', "identity: expected str"),
    ],
)
def test_a_signer_that_cannot_be_is_refused(signing: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        _load(tmp_path, signing)
