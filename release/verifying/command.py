"""Ask a published release whether it is what it says, print what was found, refuse what does not hold."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.progress import Update
from recipes.formats.proofs.claim import NotGiven
from release import signer as signers
from release.allowlist import PROVENANCE
from release.assemble import CALIBRATION
from release.attesting.statement import Material, parse
from release.derivation import Step
from release.errors import ProofError, UsageError
from release.home import default_root
from release.record import RECORD_FILE
from release.reponame import RepoName
from release.report.terminal import Terminal, rows_table, size
from release.signer import IdentitySigner, Signer
from release.verifying import checks, proofs
from release.verifying.checks import Check
from release.verifying.place import FolderPlace, Place, open_place, published_at
from release.verifying.proofs import Counterpart, Side
from release.verifying.published import Published

NVFP4, MASTER = "nvfp4", "master"
MARKS = {True: "✓", False: "✗", None: "-"}
PURL = "pkg:huggingface/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was typed. ``asked`` is owner/name@vX; ``hub`` a folder, None the Hub of HF_ENDPOINT.

    ``against`` and ``master`` are a folder or owner/name@revision, empty where not given.
    """

    asked: str
    hub: Path | None = None
    signer: Signer | None = None
    bytes: bool = False
    against: str = ""
    master: str = ""
    rebuild: bool = False
    recipe: str = ""


def verify(question: Question, terminal: Terminal) -> None:
    """Check one repo of a release at its tag, and that its sibling says the same.

    Raises ProofError when something does not hold, UsageError for a name or tag that is not there.
    """
    name, _, tag = question.asked.partition("@")
    repo = str(RepoName.parse(name))
    if not tag:
        raise UsageError(f"{question.asked!r} names no version", hint=f"write it like {repo}@v1.0.0")
    with _scratch() as scratch:
        with open_place(question.hub) as place:
            published = published_at(place, repo, tag)
            found = list(_look(place, published, question, scratch, terminal))
            scales = _scales(published) if question.rebuild else {}
        if question.rebuild and published.record is not None:
            from release.verifying.rebuilding import rebuild  # a look needs no engine

            found += rebuild(published, scales, question.recipe, scratch, terminal)
    _print(published, found, terminal)
    _refuse(published, found)


def signer_of(public_key: str, identity: str, issuer: str) -> Signer | None:
    """Return whom the options expect to have signed. Raises UsageError for half an identity."""
    if bool(identity) != bool(issuer) or (public_key and identity):
        raise UsageError(
            "a signer is a key or an identity", hint="give --public-key FILE, or both --identity and --issuer"
        )
    if public_key:
        return signers.read_key(Path(public_key).expanduser(), "--public-key")
    return IdentitySigner(identity=identity, issuer=issuer) if identity else None


def _look(
    place: Place, published: Published, question: Question, scratch: Path, terminal: Terminal
) -> Iterator[Check]:
    yield from checks.attestation(published, question.signer)
    yield from checks.check(published)
    record = published.record
    if record is None:
        return
    tag = f"v{record.sibling.version}"
    yield from checks.sibling(published, place.read(record.sibling.repo, tag, RECORD_FILE))
    headers = list(proofs.of_headers(published, record.kind, scratch / "ours"))
    yield from headers
    if question.bytes and all(found.holds is not False for found in headers):
        yield from _bytes(place, published, question, scratch, terminal)


def _bytes(
    place: Place, published: Published, question: Question, scratch: Path, terminal: Terminal
) -> Iterator[Check]:
    """Say what is read, then read it and prove what the bytes show."""
    record = published.record
    assert record is not None, "looked at before"
    base = _counterpart(place, "base", question.against or _material(published, "base"), scratch)
    sibling = f"{record.sibling.repo}@v{record.sibling.version}"
    named = sibling if record.kind == NVFP4 else _material(published, MASTER)
    master = _counterpart(place, MASTER, question.master or named, scratch)
    if isinstance(base, NotGiven) and isinstance(master, NotGiven):
        raise UsageError(
            f"there is nothing to hold the bytes against: {base.why}",
            hint="name a folder or owner/name@revision with --against (the base), --master, or both",
        )
    ours = Side(name=published.repo, published=published, folder=scratch / "ours")
    try:
        reading = proofs.plan(ours, record.kind, base, master)
        terminal.say("to read: " + ", ".join(f"{size(count)} of {name}" for name, count in reading.sizes))
        step = Step(name="verify", does="verify")
        terminal.started(step, "")

        def told(name: str, done: int, total: int) -> None:
            terminal.progress(step, Update(at=f"reading {name}", done=done, total=total, unit="bytes"))

        yield from reading.prove(told)
    except ValueError as error:
        yield Check(name="proofs from bytes", holds=False, found=str(error))
    finally:
        terminal.stop()


def _material(published: Published, name: str) -> str:
    """Return where a source lies as owner/name@commit, as the provenance says; empty for a folder's."""
    try:
        materials: tuple[Material, ...] = parse(published.read(PROVENANCE) or b"").materials
    except ValueError:
        return ""
    found = next((material.uri for material in materials if material.name == name), "")
    return found.removeprefix(PURL) if found.startswith(PURL) else ""


def _counterpart(place: Place, what: str, text: str, scratch: Path) -> Counterpart:
    option = "--against" if what == "base" else "--master"
    if not text:
        return NotGiven(f"no {option}, and the provenance names no repo of a Hub")
    if (folder := Path(text).expanduser()).is_dir():
        return Side(name=f"{what} {text}", published=None, folder=folder.resolve())
    name, _, revision = text.partition("@")
    repo = str(RepoName.parse(name))
    if isinstance(place, FolderPlace) and revision not in place.tags(repo):
        return NotGiven(f"{text} is not in this folder; name a folder with {option}")
    found = place.find(repo, revision) or place.at(repo, revision)
    return Side(name=f"{what} {text}", published=found, folder=scratch / what)


def _scales(published: Published) -> dict[str, bytes]:
    """Return the files of ``calibrate`` that a release publishes with its quantized repo."""
    record = published.record
    if record is None or record.kind != NVFP4:
        return {}
    ((step, paths),) = CALIBRATION.items()
    return {path: published.read(f"evidence/{step}/{path}") or b"" for path in paths}


def _print(published: Published, found: list[Check], terminal: Terminal) -> None:
    rows = [(MARKS[check.holds], check.name, check.found) for check in found]
    at = f" ({published.commit[:12]})" if published.commit else ""
    terminal.console.print(rows_table(f"{published.repo} {published.tag}{at}", ("", "check", "found"), rows))


def _refuse(published: Published, found: list[Check]) -> None:
    if failed := [check.name for check in found if check.holds is False]:
        raise ProofError(
            f"{published.repo} {published.tag} is not what it says: {', '.join(failed)}",
            why="Somebody changed the repo after it was released, or another signed it, "
            "or the release was not made by this tool.",
            hint="pin another version, and tell the owner of the repo",
        )


@contextmanager
def _scratch() -> Iterator[Path]:
    root = default_root() / "verifying"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield Path(folder)
