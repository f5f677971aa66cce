"""A card as a page: what a reader sees, and that nothing of the card can run in it."""

from pathlib import Path

import pytest

from release.report.preview import page
from tests.unit.browser import layout, needs_browser

GOLDEN = sorted(Path(__file__).parent.glob("**/golden/*.README.md"))

CARD = """---
license: apache-2.0
tags:
- nvfp4
---

# Title

| a | b |
|---|---:|
| `x` | 1 |

```bash
echo "<script>"
```

<script>alert(1)</script> and [link](javascript:alert(1))
"""


def test_metadata_stands_above_and_tables_are_drawn() -> None:
    drawn = page(CARD, "card")
    assert "license: apache-2.0" in drawn
    assert "<h1>Title</h1>" in drawn
    assert '<td style="text-align:right">1</td>' in drawn


def test_nothing_of_a_card_runs() -> None:
    drawn = page(CARD, "<title>")
    assert "<script" not in drawn
    assert 'href="javascript' not in drawn
    assert "<title>&lt;title&gt;</title>" in drawn


def test_pictures_are_in_the_page() -> None:
    card = "![Bytes](evidence/prove/ledger.svg) and ![other](evidence/other.svg)"
    drawn = page(card, "card", {"evidence/prove/ledger.svg": b"<svg/>"})
    assert '<img src="data:image/svg+xml;base64,PHN2Zy8+" alt="Bytes"' in drawn
    assert 'src="evidence/other.svg"' in drawn


@pytest.mark.slow  # starts a browser
@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("card", GOLDEN, ids=lambda card: card.name)
def test_a_browser_lays_every_card_out_within_its_width(card: Path, width: int, tmp_path: Path) -> None:
    taken, given = layout(page(card.read_text(), "card"), width, tmp_path)
    assert taken <= given == width
