"""An agreement as a picture: both pictures next to each other, their relevant cells coloured and a legend below.

The colours are those of cividis, from dark blue to yellow, and read the same to those who do not tell red from green
(J. Nuñez, C. Anderton and R. Renslow, "Optimizing colormaps with consideration for color vision deficiency", PLOS ONE
13(7), 2018).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from retrieval.reasons.agreement import Area, Side
from retrieval.reasons.erasing import highest

COLOURS = ((0, 58, 117), (87, 92, 109), (165, 156, 116), (255, 233, 69))
"""Of cells a quarter, a half, three quarters and all of the way from the least to the most relevant one."""
OPACITY = 0.5
HEIGHT = 480
_GAP = 12
_LEGEND = 36


def level(heat: float) -> int:
    """The colour of a cell, from 1 to 4; 0 for none, of the least relevant eighth of the scale."""
    return int(np.clip(np.floor(heat * 4 + 0.5), 0, 4))


def boxes(side: Side) -> list[tuple[Area, int, bool]]:
    """Each cell's box as fractions of the upright picture, its level, and whether it is of the marked tenth."""
    rows, columns = side.relevance.shape
    left, top, width, height = side.area
    marked, heat = highest(side.relevance), side.heat
    return [
        (
            (left + width * column / columns, top + height * row / rows, width / columns, height / rows),
            level(float(heat[row, column])),
            bool(marked[row, column]) and heat[row, column] > 0,
        )
        for row in range(rows)
        for column in range(columns)
    ]


def overlay(query: Image.Image, hit: Image.Image, sides: tuple[Side, Side]) -> Image.Image:
    """Two upright pictures with the cells of their sides, one next to the other, 480 pixels high, with a legend."""
    painted = [_painted(picture, side) for picture, side in zip((query, hit), sides, strict=True)]
    width = sum(picture.width for picture in painted) + _GAP
    sheet = Image.new("RGB", (width, HEIGHT + _LEGEND), (255, 255, 255))
    sheet.paste(painted[0], (0, 0))
    sheet.paste(painted[1], (painted[0].width + _GAP, 0))
    pen = ImageDraw.Draw(sheet)
    pen.text((8, HEIGHT + 12), "matters little", fill=(0, 0, 0))
    for at, colour in enumerate(COLOURS):
        pen.rectangle((100 + 28 * at, HEIGHT + 8, 126 + 28 * at, HEIGHT + 28), fill=colour)
    pen.text((220, HEIGHT + 12), "most; outlined: the highest tenth", fill=(0, 0, 0))
    return sheet


def _painted(picture: Image.Image, side: Side) -> Image.Image:
    image = picture.convert("RGB").resize((max(1, round(picture.width * HEIGHT / picture.height)), HEIGHT))
    layer = image.copy()
    pen = ImageDraw.Draw(layer)
    size: NDArray[np.int64] = np.array([image.width, image.height])
    placed = []
    for (left, top, width, height), number, marked in boxes(side):
        first = (np.array([left, top]) * size).round()
        behind = (np.array([left + width, top + height]) * size).round()
        placed.append(((*first, *np.maximum(behind - 1, first)), number, marked))
    for box, number, _ in placed:
        if number:
            pen.rectangle(box, fill=COLOURS[number - 1])
    image = Image.blend(image, layer, OPACITY)
    pen = ImageDraw.Draw(image)
    for box, _, marked in placed:
        if marked:
            pen.rectangle(box, outline=(255, 255, 255), width=2)
    return image
