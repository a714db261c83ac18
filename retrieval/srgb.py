"""Embedded colour profiles -> sRGB, as LIRE's Java converts them."""

from __future__ import annotations

import io
import struct
from functools import cache

import numpy as np
from PIL import Image, ImageCms


def to_srgb(image: Image.Image) -> Image.Image:
    """An RGB picture converted by its embedded profile, as Java does for JPEG; Java ignores the profile of a PNG."""
    profile = image.info.get("icc_profile")
    if not profile or image.format == "PNG":
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":
            return image
        transform = ImageCms.buildTransform(source, _java_srgb(), "RGB", "RGB")
        converted = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a damaged profile: the pixels themselves are sound
    assert converted is not None
    return converted


@cache
def _java_srgb() -> ImageCms.ImageCmsProfile:
    """Java's own sRGB profile, built from its numbers so that converted pixels are Java's to the bit.

    A matrix-shaper profile (ICC.1:2001-04): three colorants in s15.16 and one curve of 1024 entries for all channels.
    """
    s = np.arange(1024) / 1023
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    curve = np.floor(65535 * linear + 0.5).astype(">u2").tobytes()
    xyz = {"wtpt": (62269, 65536, 71320), "rXYZ": (28564, 14574, 912), "gXYZ": (25253, 46992, 6366)}
    xyz["bXYZ"] = (9373, 3971, 46782)
    tags = {name: b"XYZ \0\0\0\0" + struct.pack(">3i", *value) for name, value in xyz.items()}
    tags |= dict.fromkeys(("rTRC", "gTRC", "bTRC"), b"curv\0\0\0\0" + struct.pack(">I", 1024) + curve)
    tags["desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"sRGB\0" + bytes(79)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name.encode(), 128 + 4 + 12 * len(tags) + len(body), len(value))
        body += value
    size = 128 + len(table) + len(body)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x3i", size, 0x02300000, b"mntr", b"RGB ", b"XYZ ", b"acsp", 63190, 65536, 54061
    )
    return ImageCms.ImageCmsProfile(io.BytesIO(header.ljust(128, b"\0") + table + body))
