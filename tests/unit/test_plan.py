"""The plan says what will happen to each step, and why."""

import pytest

from release.derivation import Derivation, Site, Source, Step, derive
from release.digest import File
from release.errors import UsageError
from release.plan import Graph, Known, Offer, Status, plan

SITE = Site(code={"work": "1"}, images={}, platform="linux/amd64", machine={})
FIRST = Step(name="first", does="work", inputs={"in": "source"})
SECOND = Step(name="second", does="work", inputs={"in": "first"})
GRAPH = Graph(sources=(Source(name="source", digest="5"),), steps=(FIRST, SECOND))
NOTHING = Known(tree_of=lambda _: None, last=lambda _: None)


def test_a_step_without_a_result_is_built_and_the_next_one_waits() -> None:
    first, second = plan(GRAPH, SITE, NOTHING)
    assert (first.status, first.why) == (Status.BUILD, "never built here")
    assert (second.status, second.derivation, second.why) == (Status.WAIT, None, "after first")


def test_a_hit_gives_the_next_step_its_key() -> None:
    key = derive(FIRST, {"in": "5"}, SITE).key
    first, second = plan(GRAPH, SITE, Known(tree_of={key: "7"}.get, last=lambda _: None))
    assert (first.status, first.tree) == (Status.HIT, "7")
    assert second.derivation is not None
    assert second.derivation.inputs == {"in": "7"}


def test_equal_bytes_after_a_rebuild_stop_the_rebuild_there() -> None:
    other = Site(code={"work": "2"}, images={}, platform="linux/amd64", machine={})
    steps = (FIRST, Step(name="second", does="stable", inputs={"in": "first"}))
    site = Site(code={**other.code, "stable": "1"}, images={}, platform="linux/amd64", machine={})
    built = {
        derive(FIRST, {"in": "5"}, site).key: "7",
        derive(steps[1], {"in": "7"}, site).key: "8",
    }
    graph = Graph(sources=GRAPH.sources, steps=steps)
    assert [item.status for item in plan(graph, site, Known(tree_of=built.get, last=lambda _: None))] == [
        Status.HIT,
        Status.HIT,
    ]


def test_the_reason_names_what_changed() -> None:
    old = derive(FIRST, {"in": "4"}, SITE).to_json()
    first, _ = plan(GRAPH, SITE, Known(tree_of=lambda _: None, last={"first": old}.get))
    assert first.why == "changed: inputs.in"


def test_a_graph_refuses_an_input_that_nothing_makes() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        Graph(sources=(), steps=(Step(name="lost", does="work", inputs={"in": "nowhere"}),))


def test_only_what_a_target_needs_is_kept() -> None:
    other = Step(name="other", does="work", inputs={"in": "source"})
    graph = Graph(sources=GRAPH.sources, steps=(FIRST, other, SECOND))
    assert [step.name for step in graph.only(("second",)).steps] == ["first", "second"]


def test_a_target_that_is_no_step_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no step 'third'") as error:
        GRAPH.only(("third",))
    assert error.value.hint == "use one of: first, second"


def test_a_cached_step_gives_the_next_one_its_key_and_shared_bytes_are_counted_once() -> None:
    body, head = File("b" * 64, 100), File("c" * 64, 7)
    first = derive(FIRST, {"in": "5"}, SITE).key
    second = derive(SECOND, {"in": "7"}, SITE).key
    offers = {
        first: Offer(tree="7", lacks=frozenset({body})),
        second: Offer(tree="8", lacks=frozenset({body, head})),
    }
    known = Known(tree_of=lambda _: None, last=lambda _: None, offered=lambda _, made: offers.get(made.key))
    planned = plan(GRAPH, SITE, known)
    assert [(item.status, item.tree, item.download) for item in planned] == [
        (Status.CACHED, "7", 100),
        (Status.CACHED, "8", 7),
    ]


def test_what_is_in_the_store_is_not_asked_of_the_cache() -> None:
    key = derive(FIRST, {"in": "5"}, SITE).key

    def offered(_: Step, made: Derivation) -> Offer | None:
        assert made.key != key
        return None

    planned = plan(GRAPH, SITE, Known(tree_of={key: "7"}.get, last=lambda _: None, offered=offered))
    assert [item.status for item in planned] == [Status.HIT, Status.BUILD]
