"""Small pictures inside the page itself, so that it is one file."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from retrieval.errors import RetrievalError
from retrieval.images import decode, thumbnail

if TYPE_CHECKING:
    from retrieval.collection import Collection

SIDE = 112
"""Longer side in pixels."""


def thumbnails(opened: Collection, images: Iterable[int], side: int = SIDE) -> dict[int, str]:
    """`data:` addresses of small JPEG pictures by image id; an image whose file is gone or broken is left out."""
    wanted = list(dict.fromkeys(images))
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(_thumbnail, opened, side), wanted)
        return {image: address for image, address in zip(wanted, found, strict=True) if address is not None}


def _thumbnail(opened: Collection, side: int, image: int) -> str | None:
    try:
        small = thumbnail(decode(opened.read(image), draft=(side, side)), side)
    except (RetrievalError, OSError):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(small).decode("ascii")
