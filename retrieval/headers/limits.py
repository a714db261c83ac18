"""What a picture file may cost to decode, and the errors of those that would cost more or hold less than they claim."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.errors import PictureError

MAX_PARTS = 5_000
"""Segments or chunks of one file beyond one for each KiB up to there; Pillow reads each in about 2 µs."""
MAX_JUNK = 65_536
"""Fill bytes and bytes between segments; Pillow reads each in about 0.6 µs."""


class PictureTooLargeError(PictureError):
    """The picture has more pixels than the limit."""


class BrokenPictureError(PictureError):
    """The picture is truncated or damaged."""


class CostlyPictureError(PictureError):
    """The picture takes more work to decode than any ordinary picture of its size."""


@dataclass(frozen=True)
class Claim:
    """What a header says of a picture, in pixels. width and height are 0 where only Pillow can tell.

    blocking: whether its decoder runs under Python's global lock, so that other threads wait for it.
    seconds: estimate of its decoding on one core. excess: whether its metadata take longer to parse than its pixels, so
    that it is decoded without them.
    """

    width: int = 0
    height: int = 0
    blocking: bool = False
    seconds: float = 0.0
    excess: bool = False


def require_size(width: int, height: int, max_pixels: int) -> None:
    """Raise PictureTooLargeError where a picture has more pixels than the limit."""
    if width * height > max_pixels:
        raise PictureTooLargeError(
            f"{width}x{height} is {width * height / 1e6:.1f} megapixels; the limit is {max_pixels / 1e6:.1f}"
        )


def too_many(parts: int, at: int) -> bool:
    """Whether a file has more parts up to a byte than an honest one, which has few, or large ones."""
    return parts > MAX_PARTS + at // 1024


def require_enough(data_bytes: int, least: float, width: int, height: int) -> None:
    """Raise BrokenPictureError where a picture of width x height takes more bytes than there are."""
    if data_bytes < least:
        raise BrokenPictureError(
            f"damaged or truncated: {data_bytes:,} bytes of image data cannot hold {width}x{height} pixels"
        )
