"""Text in a card: what is refused, and what escaping guarantees."""

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from release.card.markdown import escape, problem

MARKDOWN = MarkdownIt("commonmark").enable("table")


def _cells(text: str) -> list[str]:
    """Return the cells that a table row of ``text`` and a neighbour has."""
    tokens = MARKDOWN.parse(f"| a | b |\n|---|---|\n| {text} | next |\n")
    return [token.content for token in tokens if token.type == "inline"][2:]


@given(st.text())
def test_escaped_words_never_leave_their_cell(text: str) -> None:
    cells = _cells(escape(text))
    assert len(cells) == 2
    assert cells[1] == "next"


@given(st.text())
def test_escaped_words_pass_the_check(text: str) -> None:
    assert problem(escape(text)) is None


@given(st.text())
def test_what_passes_the_check_never_leaves_its_cell(text: str) -> None:
    if problem(text) is None:
        assert _cells(text)[-1] == "next"


@given(st.text(alphabet="abc*_[]<>|`\\ ", min_size=1))
def test_escaped_words_read_as_they_were_written(text: str) -> None:
    shown = "".join(
        child.content for token in MARKDOWN.parseInline(escape(text)) for child in token.children or []
    )
    assert shown == (" ".join(text.split()) or "-")
