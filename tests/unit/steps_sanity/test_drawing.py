"""What is drawn: the same from a seed, no picture twice, and it shows what its answer says."""

import io

import pytest
from PIL import Image

from recipes.steps.sanity import drawing

COUNT = 24


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def regions(image: Image.Image) -> list[tuple[tuple[int, int, int], int]]:
    """Return colour and size of each connected region that is not paper."""
    pixels, seen, found = image.load(), set[tuple[int, int]](), []
    assert pixels is not None
    paper = pixels[0, 0]
    for start in ((x, y) for x in range(0, image.width, 4) for y in range(0, image.height, 4)):
        if start in seen or pixels[start] == paper:
            continue
        colour, stack, size = pixels[start], [start], 0
        while stack:
            x, y = stack.pop()
            inside = 0 <= x < image.width and 0 <= y < image.height
            if (x, y) in seen or not inside or pixels[x, y] != colour:
                continue
            seen.add((x, y))
            size += 1
            stack += [(x + 4, y), (x - 4, y), (x, y + 4), (x, y - 4)]
        found.append((colour, size))
    return found


def test_a_seed_draws_the_same_and_no_picture_twice() -> None:
    drawn = drawing.pictures(7, COUNT)
    assert drawn == drawing.pictures(7, COUNT)
    assert len({picture.png for picture in drawn}) == COUNT
    assert {picture.png for picture in drawn}.isdisjoint(p.png for p in drawing.pictures(8, COUNT))
    assert {picture.kind for picture in drawn} == set(drawing.KINDS)


@pytest.mark.parametrize("picture", drawing.pictures(7, COUNT), ids=lambda picture: picture.asked.id)
def test_a_picture_shows_its_answer(picture: drawing.Picture) -> None:
    image = opened(picture.png)
    found = regions(image)
    match picture.kind:
        case "count":
            assert int(picture.asked.answer) <= len(found) <= 9
        case "colour":
            assert drawing.COLOURS[picture.asked.answer] in [colour for colour, _ in found]
            assert len(found) == len(drawing.SHAPES)
        case _:
            ink = sum(
                image.getpixel((x, y)) != image.getpixel((0, 0)) for x in range(448) for y in range(448)
            )
            assert ink > 500


def test_the_video_moves_where_it_says() -> None:
    for seed in range(6):
        video = drawing.video(seed, 5)
        direction, colour = (asked.answer for asked in video.asked)
        middles = [_middle(opened(frame)) for frame in video.frames]
        (x, y), (later_x, later_y) = middles[0], middles[-1]
        moved = {"right": later_x - x, "left": x - later_x, "down": later_y - y, "up": y - later_y}
        assert max(moved, key=lambda name: moved[name]) == direction
        assert colour in drawing.COLOURS
        assert len(set(video.frames)) == 5


def _middle(image: Image.Image) -> tuple[float, float]:
    dark = [
        (x, y)
        for x in range(0, image.width, 8)
        for y in range(0, image.height, 8)
        if sum(abs(a - b) for a, b in zip(image.getpixel((x, y)), (246, 246, 240), strict=True)) > 60
    ]
    return sum(x for x, _ in dark) / len(dark), sum(y for _, y in dark) / len(dark)
