"""What is shown in the place of a picture that does not exist: a card with the class and the file's name."""

from __future__ import annotations

import colorsys
import io
import zlib
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from retrieval.terminal import one_line

SIZE = (320, 256)
"""Width and height in pixels."""
_MARGIN = 16


def placeholder(class_name: str | None, file: str) -> bytes:
    """A PNG of SIZE; its tint follows from the class."""
    card = Image.new("RGB", SIZE, _tint(class_name))
    pen = ImageDraw.Draw(card)
    lines = (
        (class_name or "no class", 22, 86, (20, 20, 20)),
        (file, 14, 124, (40, 40, 40)),
        ("vectors alone, no picture", 14, 214, (90, 90, 90)),
    )
    for text, size, top, colour in lines:
        font = _font(size)
        pen.text((SIZE[0] / 2, top), _fitting(one_line(text), font), colour, font, anchor="ma")
    out = io.BytesIO()
    card.save(out, "PNG")
    return out.getvalue()


def _tint(class_name: str | None) -> tuple[int, int, int]:
    hue = zlib.crc32((class_name or "").encode()) / 2**32
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.16 if class_name else 0.0, 0.92)
    return round(255 * red), round(255 * green), round(255 * blue)


def _fitting(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The text, shortened in its middle to the card's width."""
    text = text if len(text) <= 200 else f"{text[:100]}…{text[-99:]}"
    shown, cut = text, 0
    while font.getlength(shown) > SIZE[0] - 2 * _MARGIN:
        cut += 1
        half = (len(text) - cut) // 2
        shown = f"{text[:half]}…{text[half + cut :]}"
    return shown


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: Pillow's own font has no letters beyond Latin."""
    import matplotlib as mpl

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
