"""Keys: any field changes the key; order and locale do not."""

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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", "quantize"),
        ("code", "c0df"),
        ("image", None),
        ("params", {"a": 2}),
        ("params", {"a": "1"}),
        ("inputs", {"body": "b0e"}),
        ("inputs", {"bodz": "b0d"}),
        ("platform", "linux/arm64"),
        ("machine", {"cpu": "x"}),
        ("format", 2),
    ],
)
def test_any_field_changes_the_key(field: str, value: object) -> None:
    assert derivation(**{field: value}).key != derivation().key


@given(PARAMS, DIGESTS)
def test_the_order_of_fields_does_not_change_the_key(params: dict[str, Any], inputs: dict[str, str]) -> None:
    forward = derivation(params=params, inputs=inputs)
    backward = derivation(
        params=dict(reversed(list(params.items()))), inputs=dict(reversed(list(inputs.items())))
    )
    assert forward.key == backward.key


def test_the_key_is_known() -> None:
    # A new key for an old derivation rebuilds every release there is: change FORMAT with it.
    assert derivation().key == "86b850f5ebc445e17f40952dfb918b36ca61824593309648cf2645a1e423f3a0"


def test_only_a_step_that_measures_is_keyed_on_the_machine() -> None:
    site = Site(code={"smoke": "1"}, images={"serve": "2"}, platform="linux/arm64", machine={"gpu": "GB10"})
    step = Step(name="smoke", does="smoke", image="serve")
    measuring = Step(name="smoke", does="smoke", image="serve", measures=True)
    assert derive(step, {}, site).machine is None
    assert derive(measuring, {}, site).machine == {"gpu": "GB10"}
