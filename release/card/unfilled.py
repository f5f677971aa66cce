"""Words of a new recipe that its owner has not replaced yet: no release may carry them. Pure."""

from collections.abc import Iterator, Mapping

from release.digest import Json

UNFILLED = "FILL IN"
"""What ``invoke init`` writes where only the owner knows what is true."""


def unfilled(card: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the keys of the card's table whose text still begins with UNFILLED."""
    return tuple(_keys(dict(card), "card"))


def _keys(value: Json, at: str) -> Iterator[str]:
    match value:
        case str(text):
            if text.startswith(UNFILLED):
                yield at
        case dict():
            for key, inner in value.items():
                yield from _keys(inner, f"{at}.{key}")
        case list():
            for index, inner in enumerate(value):
                yield from _keys(inner, f"{at}[{index}]")
        case _:
            pass
