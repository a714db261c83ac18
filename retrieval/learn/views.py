"""Views of a training picture, so that a learned space or encoder does not learn the frame, the device or the file.

On pictures of other sources a space that is learned on whole frames alone fails where the frame differs; the central
crop mends most of it, a flip nothing. Where the encoder sees the field of view alone no view pays for a learned space,
see tests/benchmarks/bench_quality.py. What is random in a view follows from the picture, so that it can be made again.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from retrieval.errors import LearningError
from retrieval.field_of_view import field_of_view
from retrieval.images import Picture, from_image
from retrieval.marks import filled

CENTRAL = "central"
"""The view that `kvasir learn` takes by default of whole frames."""
NO_VIEWS = "none"
_AREA = 0.85
_SCOPE_GUIDE = (24, 140, 96)
"""The green of the picture in the corner."""
_SPEC = re.compile(r"([a-z]+)(?::([1-9][0-9]?))?")
Random = np.random.Generator


class UnknownViewsError(LearningError):
    """No views are called so."""


def central(picture: Picture, random: Random) -> Picture:
    """The central 85 % of the area of a picture, upright, without frame and corners."""
    side = _AREA**0.5
    edge = (1 - side) / 2
    return picture.crop((edge, edge, side, side))


def varied(picture: Picture, random: Random) -> Picture:
    """A part of 55 to 100 % of the area, turned, flipped, in other light, contrast and colour, at times blurred."""
    image = picture.upright()
    side = random.uniform(0.55, 1) ** 0.5
    left, top = random.uniform(0, 1 - side, 2)
    width, height = image.size
    image = image.crop((int(left * width), int(top * height), int((left + side) * width), int((top + side) * height)))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(90 * int(random.integers(4)), expand=True)
    image = image.rotate(random.uniform(-12, 12), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32) * random.uniform(0.9, 1.1, 3) * random.uniform(0.75, 1.25)
    mean = pixels.mean()
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = mean + (grey + (pixels - grey) * random.uniform(0.75, 1.25) - mean) * random.uniform(0.8, 1.2)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if random.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.5) * image.width / 300))
    return from_image(image)


def reencoded(picture: Picture, random: Random) -> Picture:
    """The picture as a JPEG of quality 15 to 60."""
    stream = io.BytesIO()
    picture.upright().save(stream, "JPEG", quality=int(random.integers(15, 61)))
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        return from_image(image)


def resized(picture: Picture, random: Random) -> Picture:
    """The picture at a fifth to a half of its size, and back."""
    image, share = picture.upright(), random.uniform(0.2, 0.5)
    small = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return from_image(image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR))


def boxed(picture: Picture, random: Random) -> Picture:
    """A black box or a green picture in the lower left of the field of view, as endoscopes draw them."""
    image = picture.upright().copy()
    left, top, right, bottom = field_of_view(np.asarray(image))
    width, height = (right - left) * random.uniform(0.2, 0.38), (bottom - top) * random.uniform(0.2, 0.38)
    black = random.random() < 0.5
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, bottom - height, left + width, bottom), (0, 0, 0) if black else _SCOPE_GUIDE)
    if not black:
        line = [(left + x * width, bottom - y * height) for x, y in random.uniform(0.1, 0.9, (6, 2))]
        draw.line(line, (230, 230, 160), max(2, round(width / 30)), joint="curve")
    return from_image(image)


def unboxed(picture: Picture, random: Random) -> Picture:
    """The picture without the device's box in the corner, where it has one; see `retrieval.marks.filled`."""
    return from_image(filled(picture.upright()))


def bordered(picture: Picture, random: Random) -> Picture:
    """The field of view with its corners cut to an octagon, within a black border."""
    image = picture.upright()
    left, top, right, bottom = field_of_view(np.asarray(image))
    cut = random.uniform(0.06, 0.2)
    x, y = cut * (right - left), cut * (bottom - top)
    corners = [(left + x, top), (right - x, top), (right, top + y), (right, bottom - y)]
    corners += [(right - x, bottom), (left + x, bottom), (left, bottom - y), (left, top + y)]
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    border = round(random.uniform(0, 0.15) * image.width)
    framed = Image.new("RGB", (image.width + 2 * border, image.height))
    framed.paste(image, (border, 0), mask)
    return from_image(framed)


def lettered(picture: Picture, random: Random) -> Picture:
    """One to five lines of white text burnt into the edges of the field of view."""
    image = picture.upright().copy()
    left, top, right, bottom = field_of_view(np.asarray(image))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 6))):
        text = "".join(random.choice(list("0123456789:/ABCDEF "), 12))
        font = ImageFont.load_default(max(8, (bottom - top) * random.uniform(0.02, 0.05)))
        x, y = random.uniform(0, 0.7), random.choice([random.uniform(0, 0.2), random.uniform(0.75, 0.95)])
        draw.text((left + x * (right - left), top + y * (bottom - top)), text, (230, 230, 230), font)
    return from_image(image)


KINDS: dict[str, Callable[[Picture, Random], Picture]] = {
    view.__name__: view for view in (central, varied, reencoded, resized, boxed, bordered, lettered, unboxed)
}
"""By name, the functions that make a view; a new one goes to the end, since its place is part of the seed."""
SOURCES = "sources"
"""Stands for all that imitate other sources."""
_IMITATING = ("reencoded", "resized", "boxed", "unboxed", "bordered", "lettered")
_ALWAYS_THE_SAME = ("central", "unboxed")


@dataclass(frozen=True)
class View:
    """A view of a kind; number: which of several, where they are random."""

    kind: str
    number: int = 0

    @property
    def name(self) -> str:
        """What files of its vectors are called."""
        return f"{self.kind}.{self.number}" if self.number else self.kind

    def of(self, picture: Picture) -> Picture:
        """The view of a picture; the same for the same pixels."""
        thumbnail = zlib.crc32(picture.upright().resize((16, 16)).tobytes())
        random = np.random.default_rng([thumbnail, list(KINDS).index(self.kind), self.number])
        return KINDS[self.kind](picture, random)


def views_named(text: str) -> tuple[View, ...]:
    """Views by kinds, separated by commas, each with how many where it is more than one: `central,varied:4`.

    `sources` stands for each that imitates other sources. One that is always the same is there once. Raises
    UnknownViewsError.
    """
    if text == NO_VIEWS:
        return ()
    views: dict[View, None] = {}
    for spec in text.split(","):
        matched = _SPEC.fullmatch(spec.strip())
        if matched is None or matched[1] not in (*KINDS, SOURCES):
            raise UnknownViewsError(
                f"no views are called {spec.strip()!r}; give {NO_VIEWS}, or any of {', '.join(KINDS)} and {SOURCES}, "
                "separated by commas, with how many of each picture as in varied:4"
            )
        for kind in _IMITATING if matched[1] == SOURCES else (matched[1],):
            count = 1 if kind in _ALWAYS_THE_SAME else int(matched[2] or 1)
            views |= {View(kind, number): None for number in range(count)}
    return tuple(views)
