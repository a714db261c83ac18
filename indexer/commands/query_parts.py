"""The parts of a query on the command line: `5`, `a.jpg=0.5`, `a.jpg@0.2,0.2,0.5,0.5`, `JCD:v.npy`, `blue dye=2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from retrieval.images import Region
from retrieval.query import BadQueryError, Part

IMAGE_FORM = "FILE|ID[@LEFT,TOP,WIDTH,HEIGHT][=WEIGHT]"
VECTOR_FORM = "[SPACE:]FILE.npy[=WEIGHT]"
TEXT_FORM = "WORDS[=WEIGHT]"

_IMAGE = re.compile(r"(?P<image>.+?)(@(?P<region>[^@=/]*,[^@=/]*))?(=(?P<weight>[^=/]*))?", re.DOTALL)
_VECTOR = re.compile(r"((?P<space>[^/:]+):)?(?P<file>.+?)(=(?P<weight>[^=/]*))?", re.DOTALL)


def image_part(text: str) -> Part:
    """A part from an image id or a picture file, with the region and the weight that follow it.

    An existing file of exactly this name is that file, whatever its name looks like. Raises UsageError.
    """
    if Path(text).exists():
        return Part(picture=text)
    match = _IMAGE.fullmatch(text)
    if match is None:
        raise click.UsageError(f"{text!r} is no picture; give {IMAGE_FORM}")
    image, region, weight = match["image"], match["region"], match["weight"]
    by_file = Path(image).exists()
    by_id = not by_file and image.isascii() and image.isdecimal()
    if not by_file and not by_id:
        return Part(picture=text)  # whoever reads it reports the missing file by its whole name
    try:
        return Part(
            image_id=int(image) if by_id else None,
            picture=None if by_id else image,
            region=_region(region),
            weight=1.0 if weight is None else float(weight),
        )
    except (ValueError, BadQueryError) as error:
        reason = f"{error}; " if isinstance(error, BadQueryError) else ""
        raise click.UsageError(f"{text}: {reason}expected {IMAGE_FORM}, such as {image}@0.2,0.2,0.5,0.5=2") from None


def vector_part(text: str) -> Part:
    """A part from a .npy file of one vector (d,), of the space named before it or else of every space searched.

    Raises UsageError.
    """
    match = None if Path(text).exists() else _VECTOR.fullmatch(text)
    file, space, weight = (text, None, None) if match is None else match.group("file", "space", "weight")
    try:
        vector = np.load(file, allow_pickle=False)
        return Part(vector=vector, space=space, weight=1.0 if weight is None else float(weight))
    except OSError as error:
        raise click.UsageError(f"--vector {text}: {file}: {error.strerror or 'not a .npy file'}") from None
    except (ValueError, EOFError, BadQueryError) as error:
        reason = str(error) if isinstance(error, BadQueryError) else f"{file} is not a .npy file of one vector"
        raise click.UsageError(f"--vector {text}: {reason}; expected {VECTOR_FORM}") from None


def text_part(text: str) -> Part:
    """A part from words, and the weight that follows a last equals sign where that is a number. Raises UsageError."""
    words, _, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        words, weight = "", 1.0
    try:
        return Part(text=words or text, weight=weight if words else 1.0)
    except BadQueryError as error:
        raise click.UsageError(f"--text {text}: {error}; expected {TEXT_FORM}, such as '{words or text}=2'") from None


def image_ids(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> tuple[int, ...]:
    """Ids of images that are given by repeating an option, separated by commas, or both. Raises BadParameter."""
    texts = [text.strip() for value in values for text in value.split(",")]
    if not all(text.isascii() and text.isdecimal() for text in texts):
        raise click.BadParameter(f"{', '.join(values)} are not ids of images, such as 12,40", ctx, param)
    return tuple(map(int, texts))


def _region(text: str | None) -> Region | None:
    return None if text is None else tuple(map(float, text.split(",")))  # type: ignore[return-value]  # Part counts
