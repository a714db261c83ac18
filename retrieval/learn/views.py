"""Views of a training picture, so that a learned space does not learn the frame, the device or the file.

On pictures of other sources a space that is learned on whole frames alone fails where the frame differs; the central
crop mends most of it, a flip nothing. Where the encoder sees the field of view alone no view pays, see
tests/benchmarks/bench_quality.py. What is random in a view follows from the picture, so that it can be made again.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from retrieval.field_of_view import field_of_view
from retrieval.images import Picture, from_image
from retrieval.marks import filled

CENTRAL = "central"
"""The view that `kvasir learn` takes by default of whole frames."""
_AREA = 0.85
_SCOPE_GUIDE = (24, 140, 96)
"""The green of the picture in the corner."""


def central(picture: Picture) -> Picture:
    """The central 85 % of the area of a picture, upright, without frame and corners."""
    side = _AREA**0.5
    edge = (1 - side) / 2
    return picture.crop((edge, edge, side, side))


def varied(picture: Picture) -> Picture:
    """A part of 55 to 100 % of the area, turned, flipped, in other light, contrast and colour, at times blurred."""
    random = _random(picture, 1)
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


def reencoded(picture: Picture) -> Picture:
    """The picture as a JPEG of quality 15 to 60."""
    stream = io.BytesIO()
    picture.upright().save(stream, "JPEG", quality=int(_random(picture, 2).integers(15, 61)))
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        return from_image(image)


def resized(picture: Picture) -> Picture:
    """The picture at a fifth to a half of its size, and back."""
    image, share = picture.upright(), _random(picture, 3).uniform(0.2, 0.5)
    small = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return from_image(image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR))


def boxed(picture: Picture) -> Picture:
    """A black box or a green picture in the lower left of the field of view, as endoscopes draw them."""
    random, image = _random(picture, 4), picture.upright().copy()
    left, top, right, bottom = field_of_view(np.asarray(image))
    width, height = (right - left) * random.uniform(0.2, 0.38), (bottom - top) * random.uniform(0.2, 0.38)
    black = random.random() < 0.5
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, bottom - height, left + width, bottom), (0, 0, 0) if black else _SCOPE_GUIDE)
    if not black:
        line = [(left + x * width, bottom - y * height) for x, y in random.uniform(0.1, 0.9, (6, 2))]
        draw.line(line, (230, 230, 160), max(2, round(width / 30)), joint="curve")
    return from_image(image)


def unboxed(picture: Picture) -> Picture:
    """The picture without the device's box in the corner, where it has one; see `retrieval.marks.filled`."""
    return from_image(filled(picture.upright()))


def bordered(picture: Picture) -> Picture:
    """The field of view with its corners cut to an octagon, within a black border."""
    random, image = _random(picture, 5), picture.upright()
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


def lettered(picture: Picture) -> Picture:
    """One to five lines of white text burnt into the edges of the field of view."""
    random, image = _random(picture, 6), picture.upright().copy()
    left, top, right, bottom = field_of_view(np.asarray(image))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 6))):
        text = "".join(random.choice(list("0123456789:/ABCDEF "), 12))
        font = ImageFont.load_default(max(8, (bottom - top) * random.uniform(0.02, 0.05)))
        x, y = random.uniform(0, 0.7), random.choice([random.uniform(0, 0.2), random.uniform(0.75, 0.95)])
        draw.text((left + x * (right - left), top + y * (bottom - top)), text, (230, 230, 230), font)
    return from_image(image)


def _random(picture: Picture, view: int) -> np.random.Generator:
    """A generator that a picture and a view alone decide."""
    return np.random.default_rng([zlib.crc32(picture.upright().resize((16, 16)).tobytes()), view])


VIEWS: dict[str, tuple[Callable[[Picture], Picture], ...]] = {
    "none": (),
    CENTRAL: (central,),
    "varied": (varied,),
    "reencoded": (reencoded,),
    "resized": (resized,),
    "boxed": (boxed,),
    "unboxed": (unboxed,),
    "bordered": (bordered,),
    "lettered": (lettered,),
    "sources": (reencoded, resized, boxed, unboxed, bordered, lettered),
}
"""By name, the functions that make the views of a picture; `sources` are all that imitate other sources."""
