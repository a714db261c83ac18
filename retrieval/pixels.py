"""Pixels of any mode that Pillow decodes -> 8-bit RGB, as LIRE's Java shows them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from retrieval.errors import PictureError
from retrieval.srgb import to_srgb
from retrieval.tiff import TiffPicture


class UnsupportedPixelsError(PictureError):
    """The picture stores its pixels in a way that has no faithful 8-bit RGB form."""


def to_rgb(image: Image.Image, tiff: TiffPicture | None = None) -> Image.Image:
    """A decoded picture as RGB, in sRGB where it has a profile; transparency is laid over black.

    16 bits keep the high byte, as Java shows them. Raises UnsupportedPixelsError.
    """
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        if tiff is not None and tiff.white_is_zero:
            values = ~values
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnsupportedPixelsError(
            f"pixels of mode {image.mode} (32 bit) have no agreed range; save the picture with 8 or 16 bits"
        )
    if tiff is not None and tiff.colors is not None and image.mode == "P":
        image.putpalette(np.frombuffer(tiff.colors, np.uint8).reshape(3, -1).T.tobytes())
    try:
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
            return Image.alpha_composite(black, rgba).convert("RGB")
        return to_srgb(image) if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:  # a mode that Pillow can decode and not convert, such as LAB
        raise UnsupportedPixelsError(f"pixels of mode {image.mode} cannot be turned into RGB ({error})") from error
