"""The picture is XML that any browser draws: bars in proportion, nothing from elsewhere, no overlap."""

import re
from collections import Counter
from xml.etree import ElementTree as ET

import pytest

from recipes.formats.proofs.ledger import Ledger, Line
from recipes.formats.proofs.picture import draw

NS = "{http://www.w3.org/2000/svg}"
GB = 10**9


def line(**parts: int) -> Line:
    return Line(tensors=1, parameters=1, bytes=sum(parts.values()), parts=Counter(parts))


def ledger(name: str, classes: dict[str, Line]) -> Ledger:
    total = Line(tensors=9, parameters=27 * GB, bytes=sum(each.bytes for each in classes.values()))
    return Ledger(name=name, classes=classes, totals=total, implied=total, headers=0, other=0, shards=1)


PACKED = ledger(
    "nvfp4",
    {
        "embedding": line(BF16=2 * GB),
        "lm_head": line(BF16=2 * GB),
        "mlp": line(codes=8 * GB, block_scales=GB, global_scales=64),
    },
)
PLAIN = ledger(
    "master", {"embedding": line(BF16=2 * GB), "lm_head": line(BF16=2 * GB), "mlp": line(BF16=32 * GB)}
)


def parsed(*ledgers: Ledger) -> ET.Element:
    return ET.fromstring(draw(ledgers))  # noqa: S314 - our own text


def bars(root: ET.Element) -> list[tuple[str, float]]:
    found = [rect for rect in root.iter(f"{NS}rect") if rect.get("class") == "bar"]
    return [(rect.findtext(f"{NS}title") or "", float(rect.get("width", "0"))) for rect in found]


def test_bars_are_in_proportion_to_bytes_over_all_trees() -> None:
    widths = dict(bars(parsed(PACKED)))
    assert widths["MLP, NVFP4: 8.00 GB"] == pytest.approx(4 * widths["embedding, BF16: 2.00 GB"], abs=0.05)
    both = bars(parsed(PACKED, PLAIN))
    packed, plain = sum(width for _, width in both[:4]), sum(width for _, width in both[4:])
    assert packed / plain == pytest.approx(13 / 36, abs=0.001)


def test_the_packed_part_comes_first_then_scales_then_the_rest() -> None:
    titles = [title.partition(":")[0] for title, _ in bars(parsed(PACKED))]
    assert titles == ["MLP, NVFP4", "scales, scales", "embedding, BF16", "output head, BF16"]


def test_every_precision_is_told_with_its_bytes() -> None:
    words = [text.text for text in parsed(PACKED).iter(f"{NS}text")]
    assert {"NVFP4 8.00 GB", "scales 1.00 GB", "BF16 4.00 GB"} <= set(words)


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    text = draw([PACKED, PLAIN])
    assert re.findall(r"https?://\S+?(?=\")", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|href|@import|url\(|\son\w+=", text)


def test_everything_lies_inside_and_legends_do_not_overlap() -> None:
    root = parsed(PACKED, PLAIN)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for rect in root.iter(f"{NS}rect"):
        assert float(rect.get("x", "0")) + float(rect.get("width", "0")) <= width
        assert float(rect.get("y", "0")) + float(rect.get("height", "0")) <= height
    rows: dict[str, list[tuple[float, str]]] = {}
    for text in root.iter(f"{NS}text"):
        if text.get("text-anchor") != "middle":
            rows.setdefault(text.get("y", ""), []).append((float(text.get("x", "0")), text.text or ""))
    for row in rows.values():
        for (at, words), (later, _) in zip(sorted(row), sorted(row)[1:], strict=False):
            assert at + 7 * len(words) < later, words


def test_equal_ledgers_give_equal_text_and_none_gives_a_picture() -> None:
    assert draw([PACKED, PLAIN]) == draw([PACKED, PLAIN])
    assert parsed().tag == f"{NS}svg"


def test_a_hostile_name_stays_text() -> None:
    assert "<b>" not in draw([ledger("<b>", {"other": line(**{"<i>": 1})})])
