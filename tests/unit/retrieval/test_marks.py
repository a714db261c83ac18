from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from retrieval.marks import (
    BLACK_BOX,
    BORDER,
    OCTAGON,
    SCOPE_GUIDE,
    TEXT,
    Marks,
    filled,
    kind_of,
    marks_of,
    names_of,
)

WIDTH, HEIGHT = 720, 576
TEAL, MUCOSA = (20, 165, 135), (190, 110, 90)


def frame(border: int = 0, cut: int = 0) -> Image.Image:
    """A field of view of even mucosa, with corners cut off and black around."""
    image = Image.new("RGB", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = border, border, WIDTH - 1 - border, HEIGHT - 1 - border
    draw.polygon(
        [
            (left + cut, top),
            (right - cut, top),
            (right, top + cut),
            (right, bottom - cut),
            (right - cut, bottom),
            (left + cut, bottom),
            (left, bottom - cut),
            (left, top + cut),
        ],
        fill=MUCOSA,
    )
    return image


def boxed(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """With a box of 30 % of the width and 35 % of the height in the lower left."""
    ImageDraw.Draw(image).rectangle((0, int(0.65 * HEIGHT), int(0.3 * WIDTH), HEIGHT), fill=colour)
    return image


def test_mucosa_alone_has_no_mark() -> None:
    assert marks_of(frame()).regions == {}
    assert marks_of(frame()).bits == 0


@pytest.mark.parametrize(("colour", "name"), [(TEAL, SCOPE_GUIDE), ((0, 0, 0), BLACK_BOX)])
@pytest.mark.parametrize("cut", [0, 150])
def test_the_box_in_the_corner_has_its_place(colour: tuple[int, int, int], name: str, cut: int) -> None:
    marks = marks_of(boxed(frame(cut=cut), colour))
    assert set(marks.regions) == {name} | ({OCTAGON} if cut else set())
    assert marks.regions[name] == pytest.approx((0, 0.65, 0.3, 0.35), abs=0.02)
    assert marks.box == marks.regions[name]


def test_an_octagon_and_its_border_are_no_box() -> None:
    marks = marks_of(frame(border=40, cut=150))
    assert set(marks.regions) == {BORDER, OCTAGON}
    assert marks.regions[BORDER] == pytest.approx((40 / 720, 40 / 576, 640 / 720, 496 / 576), abs=0.01)


def test_a_circle_is_no_box() -> None:
    image = Image.new("RGB", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).ellipse((0, -72, WIDTH, HEIGHT + 72), fill=MUCOSA)
    assert set(marks_of(image).regions) <= {OCTAGON}


def test_lines_of_text_are_told_from_highlights() -> None:
    image = frame()
    draw = ImageDraw.Draw(image)
    for x, y in ((60, 50), (110, 220), (600, 300), (90, 400)):
        draw.ellipse((x, y, x + 30, y + 12), fill=(255, 255, 255))
    assert TEXT not in marks_of(image).regions
    for line in range(4):
        draw.rectangle((20, 100 + 24 * line, 160, 114 + 24 * line), fill=(0, 0, 0))
        draw.text((22, 102 + 24 * line), "02/10/2013 10:11:12", fill=(255, 255, 255))
    left, top, width, height = marks_of(image).regions[TEXT]
    assert left < 0.08
    assert width < 0.3
    assert 0.15 < top < 0.22
    assert 0.08 < height < 0.25


def test_filling_gives_the_box_the_mean_colour_of_the_rest() -> None:
    whole: NDArray[np.uint8] = np.asarray(filled(boxed(frame(), TEAL)))
    assert np.abs(whole.astype(int) - MUCOSA).max() <= 1
    clean = frame(border=40, cut=150)
    assert filled(clean) is clean


def test_bits_and_names_are_of_one_order() -> None:
    marks = Marks({TEXT: (0, 0, 1, 1), SCOPE_GUIDE: (0, 0, 1, 1)})
    assert marks.bits == 0b10001
    assert names_of(marks.bits) == (SCOPE_GUIDE, TEXT)
    assert names_of(0) == names_of(-1) == ()


def test_the_kind_is_what_stands_in_the_corner() -> None:
    assert kind_of(np.array([-1, 0, 1, 2, 16, 18])).tolist() == [-1, 0, 1, 2, 0, 2]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (64, 64)])
def test_pictures_of_any_size_are_taken(size: tuple[int, int]) -> None:
    for colour in ((0, 0, 0), (255, 255, 255), TEAL):
        marks_of(Image.new("RGB", size, colour))
        filled(Image.new("RGB", size, colour))
