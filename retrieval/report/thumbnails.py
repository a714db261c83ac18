"""Small pictures as `data:` addresses, so that a report is one file and not a large one."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from retrieval.cores import available_cores
from retrieval.errors import RetrievalError
from retrieval.images import decode

if TYPE_CHECKING:
    from retrieval.collection import Collection

SIDE = 120
"""Longer side in pixels."""
_QUALITY = 70


@dataclass(frozen=True)
class Thumbnail:
    """A small WebP picture as a `data:` address, and its size in pixels."""

    address: str
    width: int
    height: int


def thumbnails(opened: Collection, images: Iterable[int], side: int = SIDE) -> dict[int, Thumbnail]:
    """Small pictures by image id; an image whose file is missing or broken is left out."""
    wanted = list(dict.fromkeys(images))
    with ThreadPoolExecutor(available_cores()) as pool:
        made = pool.map(partial(_thumbnail, opened, side), wanted)
        return {image: small for image, small in zip(wanted, made, strict=True) if small is not None}


def _thumbnail(opened: Collection, side: int, image: int) -> Thumbnail | None:
    try:
        small = decode(opened.display(image), draft=(side, side)).bare()
    except (RetrievalError, OSError):
        return None
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.convert("RGB").save(out, "WEBP", quality=_QUALITY)
    return Thumbnail("data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii"), *small.size)
