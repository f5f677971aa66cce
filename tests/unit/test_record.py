"""The release record: what makes two releases of a version the same."""

from dataclasses import replace

import pytest

from release import record
from release.record import Record, Sibling

RECORD = Record(
    recipe="tiny",
    version="1.0.0",
    kind="nvfp4",
    repo="graftsmith/tiny-NVFP4-MTP",
    sibling=Sibling(repo="graftsmith/tiny", version="1.0.0", tree="a" * 64),
    lock="b" * 64,
    promised={"master": "a" * 64, "nvfp4": "c" * 64},
    evidence={"smoke-nvfp4": "d" * 64},
)


def test_a_record_survives_its_file() -> None:
    assert record.parse(record.dump(RECORD)) == RECORD


def test_measuring_again_makes_no_other_release() -> None:
    assert RECORD.promises(replace(RECORD, evidence={"smoke-nvfp4": "e" * 64}))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(RECORD, lock="e" * 64), "lock: bbbbbbbbbbbb here, eeeeeeeeeeee released"),
        (
            replace(RECORD, promised={"master": "a" * 64, "nvfp4": "e" * 64}),
            "promised nvfp4: cccccccccccc here",
        ),
        (replace(RECORD, promised={"master": "a" * 64}), "nothing released"),
    ],
)
def test_another_lock_or_other_bytes_are_another_release(other: Record, named: str) -> None:
    assert not RECORD.promises(other)
    assert named in "\n".join(RECORD.differences(other))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"format": 1', '"format": 2', "expected format 1"),
        ('"nvfp4",', '"fp8",', "kind: expected one of"),
        ('"lock"', '"look"', "lock: expected text, got None"),
    ],
)
def test_a_broken_record_says_what_was_expected(old: str, new: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        record.parse(record.dump(RECORD).replace(old, new))
