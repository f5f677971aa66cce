"""Differences between derivations are told by field, value and file."""

from hypothesis import given
from hypothesis import strategies as st

from release.differences import Difference, differences
from release.digest import File, Json, Tree, canonical_json
from release.store.manifests import Manifest

A, B = "a" * 64, "b" * 64

JSON: "st.SearchStrategy[Json]" = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARAMS = st.dictionaries(st.text(min_size=1, max_size=8), JSON, max_size=4)


def nothing(_: str) -> None:
    return None


def told(old: dict[str, object], new: dict[str, object]) -> list[tuple[str, str, str]]:
    return [(d.field, d.before, d.after) for d in differences(old, new, nothing)]


def test_nested_values_are_told_by_path() -> None:
    old: dict[str, object] = {"params": {"samples": 20, "deep": {"x": 1, "y": None}}}
    new: dict[str, object] = {"params": {"samples": 21, "deep": {"x": 1}}}
    assert told(old, new) == [("params.deep.y", "null", "nothing"), ("params.samples", "20", "21")]


def test_rows_with_names_are_told_by_name() -> None:
    old: dict[str, object] = {
        "gates": [{"name": "speed", "at_least": 5.0}, {"name": "length", "at_least": 2.5}]
    }
    new: dict[str, object] = {"gates": [{"name": "length", "at_least": 2.6}]}
    assert told(old, new) == [
        ("gates[speed]", '{"at_least":5.0,"name":"speed"}', "nothing"),
        ("gates[length].at_least", "2.5", "2.6"),
    ]


def test_rows_in_another_order_are_told() -> None:
    rows: list[object] = [{"name": "a"}, {"name": "b"}]
    assert told({"x": rows}, {"x": rows[::-1]}) == [("x (order)", '["a","b"]', '["b","a"]')]


def test_rows_without_names_are_told_by_place() -> None:
    assert told({"x": [1, 2]}, {"x": [1, 3, 4]}) == [("x[1]", "2", "3"), ("x[2]", "nothing", "4")]


def test_digests_are_cut_short() -> None:
    assert told({"code": A}, {"code": B}) == [("code", A[:12], B[:12])]


def test_files_behind_a_digest_are_named() -> None:
    known = {
        A: Manifest(
            Tree({"x.py": File(A, 1), "y.py": File(A, 1), "gone.py": File(A, 1)}), {"uv": "1", "context": A}
        ),
        B: Manifest(
            Tree({"x.py": File(B, 1), "y.py": File(A, 1), "new.py": File(A, 1)}), {"uv": "2", "context": B}
        ),
    }
    (found,) = differences({"image": A}, {"image": B}, known.get)
    assert found.files == ("gone.py removed", "new.py added", "x.py changed", "uv 1 → 2")
    assert found.short == "image (gone.py removed and 3 more)"


def test_a_digest_in_a_parameter_has_no_files() -> None:
    known = {A: Manifest(Tree({"x": File(A, 1)})), B: Manifest(Tree({"x": File(B, 1)}))}
    (found,) = differences({"params": {"lock": A}}, {"params": {"lock": B}}, known.get)
    assert found == Difference(field="params.lock", before=A[:12], after=B[:12])


@given(PARAMS, PARAMS)
def test_there_is_a_difference_exactly_where_keys_differ(
    old: dict[str, object], new: dict[str, object]
) -> None:
    found = differences({"params": old}, {"params": new}, nothing)
    assert bool(found) == (canonical_json(old) != canonical_json(new))
