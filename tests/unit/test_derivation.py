"""Keys: any field changes the key; order and locale do not."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.derivation import Derivation, Site, Step, derive

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PROJECT = Path(__file__).resolve().parents[2]
PARAMS = st.dictionaries(st.text(min_size=1, max_size=8), JSON, max_size=4)
DIGESTS = st.dictionaries(st.sampled_from(["body", "head", "rows"]), st.text("0123456789abcdef", min_size=4))


def derivation(**fields: Any) -> Derivation:
    base: dict[str, Any] = {
        "step": "graft",
        "code": "c0de",
        "image": "1mg",
        "params": {"a": 1},
        "inputs": {"body": "b0d"},
        "platform": "linux/amd64",
        "machine": None,
    }
    return Derivation(**{**base, **fields})


OTHER_VALUES: list[tuple[str, object]] = [
    ("step", "quantize"),
    ("code", "c0df"),
    ("image", None),
    ("params", {"a": 2}),
    ("params", {"a": "1"}),
    ("params", {"a": 1.0}),
    ("params", {"a": True}),
    ("params", {"a": 1, "b": None}),
    ("inputs", {"body": "b0e"}),
    ("inputs", {"bodz": "b0d"}),
    ("platform", "linux/arm64"),
    ("machine", {"cpu": "x"}),
    ("format", 2),
]


@pytest.mark.parametrize(("field", "value"), OTHER_VALUES)
def test_any_field_changes_the_key(field: str, value: object) -> None:
    assert derivation(**{field: value}).key != derivation().key


def test_no_field_is_left_out_of_the_key() -> None:
    assert {field for field, _ in OTHER_VALUES} == {field.name for field in fields(Derivation)}
    assert derivation().to_json().keys() == {field.name for field in fields(Derivation)}


def told_apart(value: Any) -> Any:
    """Return a value that equals another's only when a key must: in Python 1 == 1.0 == True."""
    match value:
        case dict():
            return {name: told_apart(inner) for name, inner in value.items()}
        case list():
            return [told_apart(inner) for inner in value]
    return repr(value)


@given(PARAMS, PARAMS, DIGESTS, DIGESTS)
def test_two_derivations_have_one_key_only_when_they_are_one(
    one: dict[str, Any], other: dict[str, Any], inputs: dict[str, str], others: dict[str, str]
) -> None:
    keys = [derivation(params=p, inputs=i).key for p, i in ((one, inputs), (other, others))]
    same = told_apart(one) == told_apart(other) and inputs == others
    assert (keys[0] == keys[1]) == same


@given(PARAMS, st.randoms())
def test_one_value_changed_anywhere_changes_the_key(params: dict[str, Any], dice: Any) -> None:
    params = {**params, "one": {"more": [1, {"deep": "x"}]}}
    changed = change_one(params, dice)
    assert derivation(params=changed).key != derivation(params=params).key


def change_one(value: Any, dice: Any) -> Any:
    """Return ``value`` with one leaf of it replaced."""
    match value:
        case dict() if value:
            name = dice.choice(sorted(value))
            return {**value, name: change_one(value[name], dice)}
        case list() if value:
            index = dice.randrange(len(value))
            return [*value[:index], change_one(value[index], dice), *value[index + 1 :]]
    return {"was": value}


def backwards(value: Any) -> Any:
    """Return ``value`` with the fields of each table in the other order."""
    match value:
        case dict():
            return {name: backwards(inner) for name, inner in reversed(value.items())}
        case list():
            return [backwards(inner) for inner in value]
    return value


@given(PARAMS, DIGESTS)
def test_the_order_of_fields_does_not_change_the_key(params: dict[str, Any], inputs: dict[str, str]) -> None:
    forward = derivation(params=params, inputs=inputs)
    assert forward.key == derivation(params=backwards(params), inputs=backwards(inputs)).key


def test_the_order_of_rows_does() -> None:
    assert derivation(params={"a": [1, 2]}).key != derivation(params={"a": [2, 1]}).key


@pytest.mark.parametrize(
    "shell",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Kolkata", "PYTHONHASHSEED": "2"},
        {"LC_ALL": "de_DE.ISO-8859-1", "PYTHONUTF8": "0"},
    ],
    ids=lambda shell: shell["LC_ALL"],
)
def test_the_locale_of_the_shell_does_not_change_the_key(shell: dict[str, str]) -> None:
    params: dict[str, Any] = {"\u0130": "\u0131", "z": 1.5, "ä": [{"ß": "Straße", "a": 10**6}]}
    code = (
        "import locale; from contextlib import suppress\n"
        "with suppress(locale.Error): locale.setlocale(locale.LC_ALL, '')\n"
        "from tests.unit.test_derivation import derivation\n"
        f"print(derivation(params={params!a}).key)"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env={**env, **shell}, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == derivation(params=backwards(params)).key


def test_the_key_is_known() -> None:
    # A new key for an old derivation rebuilds every release there is: change FORMAT with it.
    assert derivation().key == "86b850f5ebc445e17f40952dfb918b36ca61824593309648cf2645a1e423f3a0"


def test_only_a_step_that_measures_is_keyed_on_the_machine() -> None:
    site = Site(code={"smoke": "1"}, images={"serve": "2"}, platform="linux/arm64", machine={"gpu": "GB10"})
    step = Step(name="smoke", does="smoke", image="serve")
    measuring = Step(name="smoke", does="smoke", image="serve", measures=True)
    assert derive(step, {}, site).machine is None
    assert derive(measuring, {}, site).machine == {"gpu": "GB10"}
