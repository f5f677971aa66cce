"""Pictures and a video with known answers, drawn from a seed: no set that a model has seen.

    pictures(20261123, 12)[0]     # a PNG, "How many circles ...?", "3"

The same seed draws the same pixels. No two pictures of one call are alike: a server that keeps
what its vision tower made of a picture would skip the tower.
"""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

SIDE = 448
CELL = SIDE // 3
COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 150, 60),
    "blue": (40, 80, 210),
    "yellow": (240, 200, 20),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle")
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
LETTERS = "ABCDEFGHKLMNPRSTUVXYZ"  # none that looks like another or like a digit
WORD_LENGTH = 5
FONT_SIZE = 84
MOST = 7

Rng = random.Random
Point = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question, its answer, and the answers that would be wrong."""

    id: str
    text: str
    answer: str
    others: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture as PNG, and what is asked of it."""

    kind: str
    png: bytes
    asked: Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """Frames as JPEG, and what is asked of them together."""

    frames: Sequence[bytes]
    asked: Sequence[Asked]


def pictures(seed: int, count: int) -> list[Picture]:
    """Draw ``count`` different pictures: counts, shapes with colours, and text, in turn."""
    rng = Rng(f"{seed}:pictures")
    drawn: dict[bytes, Picture] = {}
    while len(drawn) < count:
        kind = list(KINDS)[len(drawn) % len(KINDS)]
        picture, asked = KINDS[kind](rng, f"{kind}-{len(drawn)}")
        png = _bytes(picture, "PNG")
        drawn.setdefault(png, Picture(kind=kind, png=png, asked=asked))
    return list(drawn.values())


def video(seed: int, frames: int) -> Video:
    """Draw a shape that moves in one direction across ``frames`` frames."""
    rng = Rng(f"{seed}:video")
    shape, colour = rng.choice(SHAPES), rng.choice(list(COLOURS))
    name, (across, down) = rng.choice(list(DIRECTIONS.items()))
    size, middle = CELL // 2, SIDE // 2
    far = middle - size
    images = []
    for at in range(frames):
        gone = round(-far + 2 * far * at / max(frames - 1, 1))
        image = _paper()
        _shape(image, shape, colour, (middle + across * gone, middle + down * gone), size)
        images.append(_bytes(image, "JPEG"))
    asked = (
        Asked(
            id="direction",
            text=f"In which direction does the {shape} move: left, right, up or down?",
            answer=name,
            others=list(DIRECTIONS),
        ),
        Asked(id="colour", text=f"What colour is the {shape}?", answer=colour, others=list(COLOURS)),
    )
    return Video(frames=images, asked=asked)


def _count(rng: Rng, name: str) -> tuple[Image.Image, Asked]:
    wanted, other = rng.sample(SHAPES, 2)
    count = rng.randint(1, MOST)
    cells = rng.sample([(x, y) for x in range(3) for y in range(3)], 9)
    others = rng.randint(0, 9 - count)
    image = _paper()
    for at, cell in enumerate(cells[: count + others]):
        _shape(image, wanted if at < count else other, rng.choice(list(COLOURS)), *_place(rng, cell))
    asked = Asked(
        id=name,
        text=f"How many {wanted}s are in the picture? Answer with one number.",
        answer=str(count),
        others=[str(number) for number in range(10)],
    )
    return image, asked


def _coloured(rng: Rng, name: str) -> tuple[Image.Image, Asked]:
    image = _paper()
    colours = rng.sample(list(COLOURS), len(SHAPES))
    cells = rng.sample([(x, y) for x in range(3) for y in range(3)], len(SHAPES))
    for shape, colour, cell in zip(SHAPES, colours, cells, strict=True):
        _shape(image, shape, colour, *_place(rng, cell))
    at = rng.randrange(len(SHAPES))
    asked = Asked(
        id=name,
        text=f"What colour is the {SHAPES[at]}? Answer with one word: {', '.join(COLOURS)}.",
        answer=colours[at],
        others=list(COLOURS),
    )
    return image, asked


def _text(rng: Rng, name: str) -> tuple[Image.Image, Asked]:
    word = "".join(rng.choice(LETTERS) for _ in range(WORD_LENGTH))
    image = _paper()
    where = (rng.randint(20, SIDE // 5), rng.randint(20, SIDE - FONT_SIZE - 40))
    font = ImageFont.load_default(FONT_SIZE)
    ImageDraw.Draw(image).text(where, word, fill=COLOURS[rng.choice(["red", "blue", "black"])], font=font)
    asked = Asked(
        id=name, text="Which letters are in the picture? Answer with them alone.", answer=word, others=[]
    )
    return image, asked


KINDS: dict[str, Callable[[Rng, str], tuple[Image.Image, Asked]]] = {
    "count": _count,
    "colour": _coloured,
    "text": _text,
}


def _place(rng: Rng, cell: Point) -> tuple[Point, int]:
    """Return the middle and the half side of a shape that stays inside its cell."""
    size = rng.randint(CELL // 5, CELL // 3)
    slack = CELL // 2 - size - 4
    x, y = (CELL * at + CELL // 2 + rng.randint(-slack, slack) for at in cell)
    return (x, y), size


def _shape(image: Image.Image, shape: str, colour: str, middle: Point, size: int) -> None:
    draw, (x, y) = ImageDraw.Draw(image), middle
    box = (x - size, y - size, x + size, y + size)
    if shape == "circle":
        draw.ellipse(box, fill=COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, fill=COLOURS[colour])
    else:
        draw.polygon([(x, y - size), (x - size, y + size), (x + size, y + size)], fill=COLOURS[colour])


def _paper() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (246, 246, 240))


def _bytes(image: Image.Image, kind: str) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind)
    return sink.getvalue()
