"""Marks of the device on a picture: ScopeGuide's picture in picture, the same blacked out, black border, octagon, text.

They show the device and the centre, not the finding. Pixels alone decide; a region is (left, top, width,
height) in fractions of the upright picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, reduce

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.field_of_view import DARK, field_of_view, field_within

Region = tuple[float, float, float, float]
Plane = NDArray[np.uint8]
"""One channel (h, w)."""
Mask = NDArray[np.bool_]
Sums = NDArray[np.float64]
Corner = int | NDArray[np.int64]

SCOPE_GUIDE, BLACK_BOX, BORDER, OCTAGON, TEXT = "ScopeGuide", "black box", "border", "octagon", "text"
NAMES = (SCOPE_GUIDE, BLACK_BOX, BORDER, OCTAGON, TEXT)
"""Marks in the order of their bits."""

DRAFT = (280, 280)
"""Size down to which a JPEG may be decoded to look for marks."""
_SIDE = 360
"""Longest side, about, on which marks are looked for: glyphs of a frame of 720 pixels are still 5 high."""
_GRID = 64
"""Cells along each side on which the edges of a black box are looked for."""
_BOX = (0.2, 0.55)
"""Least and largest width and height of a box in the corner, as shares of the frame's."""
_LIT = 0.02
"""Share of a black box that is lit at most."""
_EDGE = 0.008
"""How far beyond its region a box may reach, as a share of the frame: half a cell."""
_BRIGHT = 40
"""Least value of pixels along the edges of a black box; dark grey panels of text stay below."""
_MARGIN = 0.02
"""Share of width or height from which dark rows or columns are a border."""
_CORNER = 0.07
"""Side of the squares in the corners of the field of view that an octagon or a circle leaves dark."""
_CONTRAST = np.uint8(24)
"""How much lighter than its surroundings the stroke of a glyph is."""
_LINES = 2
"""Lines of text from which a picture has text: one may be a row of highlights."""
_GLYPHS = 4
"""Bright strokes that a row of pixels crosses within a line of text."""


@dataclass(frozen=True)
class Marks:
    """The marks of one picture by name, each with its region; `border` has the field of view within it."""

    regions: Mapping[str, Region] = field(default_factory=dict, hash=False)

    @property
    def bits(self) -> int:
        """One bit for each of NAMES."""
        return sum(1 << at for at, name in enumerate(NAMES) if name in self.regions)

    @property
    def outlined(self) -> list[Region]:
        """The regions of boxes and text."""
        return [region for name, region in self.regions.items() if name in (SCOPE_GUIDE, BLACK_BOX, TEXT)]

    @property
    def box(self) -> Region | None:
        """The box in the corner, green or black."""
        return self.regions.get(SCOPE_GUIDE) or self.regions.get(BLACK_BOX)


@cache
def names_of(bits: int) -> tuple[str, ...]:
    """The names of marks that bits state; none for -1, which says that they are not known."""
    return tuple(name for at, name in enumerate(NAMES) if bits > 0 and bits >> at & 1)


def kind_of(bits: NDArray[np.integer]) -> NDArray[np.int64]:
    """What is in the corner: 0 nothing, 1 ScopeGuide's picture, 2 a black box; -1 where marks are not known."""
    known = np.asarray(bits, np.int64)
    return np.where(known < 0, -1, np.where(known & 1, 1, np.where(known & 2, 2, 0)))


def marks_of(image: Image.Image) -> Marks:
    """The marks of an upright RGB picture; 1 ms."""
    planes = _planes(image)
    height, width = planes[0].shape
    brightest, darkest = reduce(np.maximum, planes), reduce(np.minimum, planes)
    lit = brightest > DARK
    left, top, right, bottom = field_within(np.count_nonzero(lit, axis=1), np.count_nonzero(lit, axis=0))
    regions: dict[str, Region] = {}
    if (guide := _scope_guide(planes)) is not None:
        regions[SCOPE_GUIDE] = guide
    elif (black := _black_box(brightest, (left, top, right, bottom))) is not None:
        regions[BLACK_BOX] = black
    view = (left / width, top / height, (right - left) / width, (bottom - top) / height)
    if max(left, width - right) > _MARGIN * width or max(top, height - bottom) > _MARGIN * height:
        regions[BORDER] = view
    if _dark_corners(lit[top:bottom, left:right], bool(regions.keys() & {SCOPE_GUIDE, BLACK_BOX})):
        regions[OCTAGON] = view
    if (text := _text(darkest, brightest)) is not None:
        regions[TEXT] = text
    return Marks(regions)


def filled(image: Image.Image) -> Image.Image:
    """A picture whose corner box, if it has one, has the mean colour of the rest of the field of view."""
    box = marks_of(image).box
    if box is None:
        return image
    pixels = np.array(image)
    height, width = pixels.shape[:2]
    x, y = (max(0, int((box[at] - _EDGE) * side)) for at, side in enumerate((width, height)))
    x_end, y_end = (int((box[at] + box[at + 2] + _EDGE) * side) + 1 for at, side in enumerate((width, height)))
    left, top, right, bottom = field_of_view(pixels)
    outside = np.zeros((height, width), bool)
    outside[top:bottom, left:right] = True
    outside[y:y_end, x:x_end] = False
    outside &= pixels.max(axis=2) > DARK
    if outside.any():
        pixels[y:y_end, x:x_end] = pixels[outside].mean(axis=0).round()
    return Image.fromarray(pixels)


def _planes(image: Image.Image) -> tuple[Plane, Plane, Plane]:
    """Red, green and blue of the picture, averaged over squares of pixels, about _SIDE pixels long."""
    factor = round(max(image.size) / _SIDE)
    red, green, blue = (image.reduce(factor) if factor > 1 else image).split()
    return np.asarray(red), np.asarray(green), np.asarray(blue)


def _scope_guide(planes: tuple[Plane, Plane, Plane]) -> Region | None:
    """The even green rectangle in the lower left, in a colour that neither mucosa nor dye has."""
    height, width = planes[0].shape
    red, green, blue = (plane[height // 3 :, : width * 2 // 3].astype(np.int16) for plane in planes)
    teal = (green > 100) & (green - red > 60) & (green - blue > 6) & (blue - red > 25)
    rows = np.flatnonzero(teal.sum(axis=1) > 0.08 * width)
    columns = np.flatnonzero(teal.sum(axis=0) > 0.08 * height)
    if not len(rows) or not len(columns):
        return None
    y, y_end, x, x_end = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    wide, high = (x_end - x) / width, (y_end - y) / height
    if max(wide, high) > _BOX[1] or min(wide, high) < _BOX[0] or teal[y:y_end, x:x_end].mean() < 0.7:
        return None
    y = y + height // 3
    if y_end + height // 3 < 0.8 * height or x > 0.25 * width:
        return None
    return float(x / width), float(y / height), float(wide), float(high)


def _black_box(brightest: Plane, view: tuple[int, int, int, int]) -> Region | None:
    """The dark rectangle in the lower left that has straight edges to the lit field of view.

    A corner that an octagon or a circle cuts off is dark too, but touches lit pixels in one point of a rectangle alone.
    """
    height, width = brightest.shape
    if min(height, width) < _GRID:
        return None
    left, low = round(view[0] / width * _GRID), round(view[3] / height * _GRID)
    # Every box has the smallest one within it, and may have less lit than a fiftieth of the largest one.
    least_y, least_x = low - int(_BOX[0] * _GRID) - 1, left + int(_BOX[0] * _GRID)
    smallest = brightest[-(-least_y * height // _GRID) : (low - 3) * height // _GRID, : least_x * width // _GRID] > DARK
    if np.count_nonzero(smallest) * _GRID**2 > _LIT * (_BOX[1] * _GRID) ** 2 * height * width:
        return None
    dark, bright = _cell_sums(brightest > DARK), _cell_sums(brightest > _BRIGHT)
    # Every upper right corner (y, x) at once; a strip of the field of view below the box may have been left.
    y = np.arange(int((1 - _BOX[1]) * _GRID), low - int(_BOX[0] * _GRID))[:, None]
    x = np.arange(left + int(_BOX[0] * _GRID), int(_BOX[1] * _GRID))[None]

    def mean(sums: Sums, top: Corner, bottom: Corner, start: Corner, end: Corner) -> Sums:
        total = sums[bottom, end] - sums[top, end] - sums[bottom, start] + sums[top, start]
        share: Sums = total / ((bottom - top) * (end - start))
        return share

    inside = mean(dark, y, low - 3, 0, x)
    right = mean(bright, y, low - 3, x + 1, x + 3)
    above = mean(bright, y - 3, y - 1, x - (x - left) // 4 - 1, x)  # a second box of text may stand on its left part
    fitting = np.where((inside < _LIT) & (right > 0.6) & (above > 0.55), right + above, 0)
    if not fitting.any():
        return None
    at_y, at_x = np.unravel_index(fitting.argmax(), fitting.shape)
    top, end = int(y[at_y, 0]), int(x[0, at_x])
    return 0.0, top / _GRID, end / _GRID, (low - top) / _GRID


def _cell_sums(lit: Mask) -> Sums:
    """Sums (_GRID + 1, _GRID + 1) of the lit share of cells above and left of each corner of the grid."""
    # Not by a product of matrices: BLAS's threads would wait for each other in every thread of a run.
    cells = np.asarray(Image.fromarray(lit.astype(np.float32)).resize((_GRID, _GRID), Image.Resampling.BOX))
    sums = np.zeros((_GRID + 1, _GRID + 1))
    sums[1:, 1:] = cells.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    return sums


def _dark_corners(lit: Mask, boxed: bool) -> bool:
    """Whether the corners of the field of view are dark: three of them at least, two besides a box."""
    height, width = lit.shape
    y, x = max(1, int(_CORNER * height)), max(1, int(_CORNER * width))
    corners = [lit[:y, :x], lit[:y, -x:], lit[-y:, -x:], lit[-y:, :x]]
    dark = [bool(corner.mean() < 0.4) for corner in (corners[:3] if boxed else corners)]
    return sum(dark) >= len(dark) - 1


def _text(darkest: Plane, brightest: Plane) -> Region | None:
    """The region of lines of white glyphs at the left or right edge of the frame."""
    height, width = darkest.shape
    if min(height, width) < _GRID:
        return None
    boxes = []
    for x, x_end in ((0, int(0.32 * width)), (int(0.7 * width), width)):
        low = darkest[:, x:x_end]
        spread = brightest[:, x:x_end] - low
        bright = (low > 70) & (spread < 70)
        if np.count_nonzero(np.count_nonzero(bright, axis=1) >= _GLYPHS) < 2 * _LINES:
            continue
        around = Image.fromarray(low).reduce(6).resize((x_end - x, height), Image.Resampling.BILINEAR)
        stroke = (low > np.minimum(np.asarray(around), 255 - _CONTRAST) + _CONTRAST) & bright
        crossings = np.count_nonzero(stroke[:, 1:] & ~stroke[:, :-1], axis=1)
        rows = np.flatnonzero(crossings >= _GLYPHS)
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        lines = [run for run in runs if 2 <= len(run) <= 0.05 * height]
        if len(lines) >= _LINES:
            covered = np.flatnonzero(stroke[np.concatenate(lines)].any(axis=0))
            boxes.append((x + covered[0], lines[0][0], x + covered[-1] + 1, lines[-1][-1] + 1))
    if not boxes:
        return None
    edges = np.array(boxes, np.float64)
    (left, top), (right, bottom) = edges[:, :2].min(axis=0), edges[:, 2:].max(axis=0)
    return float(left / width), float(top / height), float((right - left) / width), float((bottom - top) / height)
