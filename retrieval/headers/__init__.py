"""What a picture's header claims, checked against its bytes and against limits before Pillow sees the file.

A walk over segments, chunks or directory entries that costs microseconds for an ordinary picture. It bounds what
Pillow does in Python for each of them, the passes of a progressive JPEG, and pixels that the file cannot hold. What it
does not understand it leaves to Pillow.
"""

from __future__ import annotations

from retrieval.headers import bmp, jpeg, png, tiff, webp
from retrieval.headers.limits import BrokenPictureError, Claim, CostlyPictureError, PictureTooLargeError, require_size

__all__ = [
    "BrokenPictureError",
    "Claim",
    "CostlyPictureError",
    "PictureTooLargeError",
    "examine",
    "examine_start",
    "require_size",
]


def examine(data: bytes, max_pixels: int) -> Claim:
    """The claim of a picture file. Raises PictureTooLargeError, CostlyPictureError, BrokenPictureError."""
    if data.startswith(b"\xff\xd8"):
        return jpeg.examine(data, max_pixels)
    if data.startswith(png.SIGNATURE):
        return png.examine(data, max_pixels)
    if data[:2] in (b"II", b"MM"):
        return tiff.examine(data, max_pixels)
    if data.startswith(b"BM"):
        return bmp.examine(data, max_pixels)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return webp.examine(data, max_pixels)
    return Claim(blocking=data[4:8] == b"ftyp")  # HEIC, or no picture


def examine_start(start: bytes, max_pixels: int) -> None:
    """Raise PictureTooLargeError or CostlyPictureError where the first bytes of a file are enough to know.

    Of what is uploaded, so that the rest need not be stored. Only JPEG and PNG are walked from their start.
    """
    if start.startswith(b"\xff\xd8"):
        jpeg.examine_start(start, max_pixels)
    elif start.startswith(png.SIGNATURE):
        png.examine_start(start, max_pixels)
