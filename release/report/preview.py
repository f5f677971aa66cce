"""A card as a page: its Markdown as HTML, about as a Hub shows it.

A Hub draws the metadata as tags above the card and shows no HTML of the card's own;
so does this. Nothing is loaded from anywhere: pictures are in the page.
"""

import base64
import html
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path

FENCE = "---\n"
STYLE = """
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
body { font: 16px/1.6 system-ui, sans-serif; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }
th, td { border: 1px solid #ddd; padding: .35rem .7rem; vertical-align: top; }
code { background: #f4f4f4; padding: .1rem .3rem; border-radius: 4px; font-size: .875em; }
code { overflow-wrap: break-word; }
pre { background: #f4f4f4; padding: .8rem; border-radius: 6px; overflow-x: auto; }
pre code { padding: 0; overflow-wrap: normal; }
blockquote { border-left: 4px solid #d9a400; margin-left: 0; padding-left: 1rem; }
img { max-width: 100%; }
.tags { white-space: pre-wrap; color: #555; font-size: .8rem; }
.tags { border-bottom: 1px solid #ddd; padding-bottom: 1rem; }
@media (prefers-color-scheme: dark) {
  body { background: #111; color: #ddd; } code, pre { background: #222; } th, td { border-color: #444; }
  .tags { color: #aaa; } a { color: #8ab4f8; }
}
"""


def page(card: str, title: str, pictures: Mapping[str, bytes] | None = None) -> str:
    """Return a card's Markdown as one HTML page; ``pictures`` are SVG by their paths in the repo."""
    from markdown_it import MarkdownIt  # only who looks at a card pays for it

    metadata, body = _split(card)
    drawn = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    for path, data in (pictures or {}).items():
        held = f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}"
        drawn = drawn.replace(f'src="{html.escape(path)}"', f'src="{held}"')
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<div class="tags">{html.escape(metadata)}</div>\n{drawn}</html>\n'
    )


def show(cards: Sequence[Path], folder: Path, pictures: Mapping[str, Path]) -> None:
    """Write each card as a page into ``folder``, name it, and open it in a browser where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {path: file.read_bytes() for path, file in pictures.items()}
    for number, card in enumerate(cards):
        target = folder / f"{number}-{card.parent.name}.html"
        target.write_text(page(card.read_text(), card.parent.name, drawn))
        print(target)  # noqa: T201 - where no browser opens, this is what to open
        webbrowser.open(target.as_uri())


def _split(card: str) -> tuple[str, str]:
    """Return the metadata between the two fences, and what follows."""
    if not card.startswith(FENCE):
        return "", card
    metadata, _, body = card.removeprefix(FENCE).partition(FENCE)
    return metadata, body
