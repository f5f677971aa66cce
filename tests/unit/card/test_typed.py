"""The lint of templates: a number that somebody typed is found wherever it hides."""

import jinja2
import pytest

from release.card.typed import refuse_typed
from release.errors import ConfigError
from tests.unit.card.inputs import TEMPLATES


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("about 16 tok/s", "x.jinja:1: the number 16"),
        ("first\nsecond: ~2.6 tokens", "x.jinja:2: the number 2.6"),
        ("{{ 'at least 400' }}", "the number 400"),
        ("{{ 273 }} GB/s", "the number 273"),
        ("{% if n > 0.7 %}x{% endif %}", "the number 0.7"),
        ("| 80% |", "the number 80"),
        ("{% for n in ['15 tensors'] %}{{ n }}{% endfor %}", "the number 15"),
        ("2. second", "the number 2"),
    ],
)
def test_a_typed_number_is_refused_with_its_line(source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        refuse_typed(jinja2.Environment(autoescape=True), "x.jinja", source)


@pytest.mark.parametrize(
    "source",
    [
        "NVFP4 body, BF16 head, conv1d, float8_e4m3, qwen3_xml",
        "{# 16 in a comment #}",
        "{{ value[0] }} and {{ k + 1 }}",
        "1. first\n1. second",
        "it is 1 + accepted / drafts",
        "{{ figure.text }} tok/s",
    ],
)
def test_names_and_structure_pass(source: str) -> None:
    refuse_typed(jinja2.Environment(autoescape=True), "x.jinja", source)


def test_every_template_of_a_card_passes() -> None:
    for name in ("README.nvfp4.md.jinja", "README.master.md.jinja", "card_macros.jinja", "NOTICE.jinja"):
        refuse_typed(jinja2.Environment(autoescape=True), name, (TEMPLATES / name).read_text())
