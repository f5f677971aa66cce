"""Plots are well-formed SVG, hold every value, and survive what was not measured."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.report import plots

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own text


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), min_size=1, max_size=9))
def test_bars_stay_inside_and_a_gap_has_none(values: list[float | None]) -> None:
    names = [f"<{at}> & co" for at in range(len(values))]
    figure = parsed(plots.bars(names, {"NVFP4": values}, "x"))
    drawn = [bar for bar in figure.iter("rect") if bar.find("title") is not None]
    assert len(drawn) == sum(value is not None for value in values)
    for bar in drawn:
        top, height = float(bar.attrib["y"]), float(bar.attrib["height"])
        assert plots.TOP - 1 <= top <= top + height <= plots.HEIGHT - plots.BOTTOM + 1


def test_few_points_are_marked_and_no_point_is_no_plot() -> None:
    figure = parsed(plots.lines({"a": [(1, 60.0), (16, 380.0)], "b": []}, "requests", "tokens/s"))
    assert len(list(figure.iter("circle"))) == 2
    assert plots.lines({"a": []}, "requests", "tokens/s") == ""


@pytest.mark.parametrize(("value", "top"), [(0.9, 1), (1.0, 1), (2.1, 2.5), (38, 40), (0, 1), (0.031, 0.04)])
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert plots.nice(value) == pytest.approx(top)


def test_a_long_timeline_keeps_its_peak() -> None:
    points = [(float(at), 1.0) for at in range(10_000)]
    points[4321] = (4321.0, 9.0)
    thinned = plots.thin(points)
    assert len(thinned) <= 400
    assert (4321.0, 9.0) in thinned


def test_a_file_of_a_plot_brings_its_own_style_and_loads_nothing() -> None:
    text = plots.alone(plots.bars(["0", "1"], {"NVFP4": [0.9, 0.8]}, "kept"))
    figure = parsed(text)
    assert figure.tag == f"{SVG}svg"
    assert "prefers-color-scheme" in (figure.findtext(f"{SVG}style") or "")
    assert (
        len([bar for bar in figure.iter(f"{SVG}rect") if bar.get("class") == "bar s0"]) == 3
    )  # two and a key
    assert not re.search(r"<script|href|@import|url\(|\son\w+=", text)


def test_the_file_of_what_nobody_measured_says_so() -> None:
    assert "not measured" in [text.text for text in parsed(plots.alone("")).iter(f"{SVG}text")]
