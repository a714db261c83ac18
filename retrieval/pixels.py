"""Pixels of any mode that Pillow decodes -> 8-bit RGB, as LIRE's Java shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import PictureError
from retrieval.srgb import to_srgb
from retrieval.tiff import TiffPicture

_STRIP = 1 << 20
"""Pixels that are composed at a time."""


class UnsupportedPixelsError(PictureError):
    """The picture stores its pixels in a way that has no faithful 8-bit RGB form."""


def to_rgb(image: Image.Image, tiff: TiffPicture | None = None) -> Image.Image:
    """A decoded picture as RGB, in sRGB where it has a profile; transparency is laid over black.

    12 and 16 bits keep the high byte, as Java shows them. Raises UnsupportedPixelsError.
    """
    if image.mode.startswith("I;16"):
        grey = _high_byte(image, tiff)
        if isinstance(transparent := image.info.get("transparency"), int):
            grey[np.asarray(image) == transparent] = 0
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnsupportedPixelsError(
            f"pixels of mode {image.mode} (32 bit) have no agreed range; save the picture with 8 or 16 bits"
        )
    if tiff is not None and tiff.signed:
        raise UnsupportedPixelsError("signed pixels have no agreed range; save the picture with 8 or 16 bits unsigned")
    if tiff is not None and tiff.colors is not None and image.mode == "P":
        image.putpalette(np.frombuffer(tiff.colors, np.uint8).reshape(3, -1).T.tobytes())
    if image.mode == "La":  # grey that is multiplied by its alpha: over black as it is
        return image.getchannel("L").convert("RGB")
    try:
        if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
            return _over_black(image)
        return to_srgb(image) if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:  # a mode that Pillow can decode and not convert, such as LAB
        raise UnsupportedPixelsError(f"pixels of mode {image.mode} cannot be turned into RGB ({error})") from error


def _over_black(image: Image.Image) -> Image.Image:
    """A picture with transparency over black, in strips: the whole of it in RGBA three times over would be 12 bytes a
    pixel, and Pillow's composition keeps other threads waiting.
    """
    width, height = image.size
    opaque = Image.new("RGB", image.size)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        rgba = image.crop((0, top, width, bottom)).convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        opaque.paste(Image.alpha_composite(black, rgba).convert("RGB"), (0, top))
    return opaque


def mend_png_transparency(image: Image.Image, header: bytes) -> None:
    """Bring the one transparent colour of a PNG without alpha to the depth of the decoded pixels, in place.

    Pillow expands 2 and 4 bits to 8 and cuts 16 to 8, but leaves the colour of the tRNS chunk as it was. Of 16 bits
    only the upper 8 can be compared. header: the file's first 26 bytes (bit depth and colour type are the last two).
    """
    transparent, depth = image.info.get("transparency"), header[24]
    if isinstance(transparent, int) and image.mode == "L" and depth in (2, 4):
        image.info["transparency"] = transparent * 255 // ((1 << depth) - 1)
    elif isinstance(transparent, tuple) and image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def merged(planes: Sequence[Image.Image], model: str) -> Image.Image:
    """Channels of 8 or 16 bits that were decoded each for itself -> a picture of 8 bits. model: Pillow's mode."""
    channels = [Image.fromarray(_high_byte(plane, None)) if plane.mode != "L" else plane for plane in planes]
    return Image.merge(model, channels) if len(channels) > 1 else channels[0]


def _high_byte(image: Image.Image, tiff: TiffPicture | None) -> NDArray[np.uint8]:
    """Grey values of 12 or 16 bits as 8, with black as 0."""
    bits = 12 if tiff is not None and tiff.bits == 12 else 16
    values = np.asarray(image).astype(np.uint16)
    if tiff is not None and tiff.inverted:
        values = ((1 << bits) - 1) - values
    high: NDArray[np.uint8] = (values >> (bits - 8)).astype(np.uint8)
    return high
