"""Small pictures inside the page itself, each once, so that it is one file and not a large one."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterable, Mapping
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
GONE = '<i class="gone">no picture</i>'
"""Stands where a picture cannot be shown."""
_PICTURE = re.compile(r'<svg class="picture" role="img" aria-label="image (\d+)"><use href="#i\d+"/></svg>')


@dataclass(frozen=True)
class Thumbnail:
    """A small WebP picture as a `data:` address, and its size in pixels."""

    address: str
    width: int
    height: int


def thumbnails(opened: Collection, images: Iterable[int], side: int = SIDE) -> dict[int, Thumbnail]:
    """Small pictures by image id; an image whose file is gone or broken is left out."""
    wanted = list(dict.fromkeys(images))
    with ThreadPoolExecutor(available_cores()) as pool:
        found = pool.map(partial(_thumbnail, opened, side), wanted)
        return {image: made for image, made in zip(wanted, found, strict=True) if made is not None}


def picture_sheet(shown: Mapping[int, Thumbnail]) -> str:
    """An SVG that is not seen and holds every picture as a symbol `i` and its image id, for `picture` to show."""
    symbols = "".join(
        f'<symbol id="i{image}" viewBox="0 0 {one.width} {one.height}">'
        f'<image href="{one.address}" width="{one.width}" height="{one.height}"/></symbol>'
        for image, one in shown.items()
    )
    return f'<svg class="sheet" width="0" height="0" aria-hidden="true">{symbols}</svg>'


def picture(image: int) -> str:
    """A picture of the sheet, in place."""
    return f'<svg class="picture" role="img" aria-label="image {image}"><use href="#i{image}"/></svg>'


def pictures_shown_by(show: Callable[[int], str], html: str) -> str:
    """HTML with each `picture` replaced by what `show` makes of its image id."""
    return _PICTURE.sub(lambda found: show(int(found[1])), html)


def _thumbnail(opened: Collection, side: int, image: int) -> Thumbnail | None:
    try:
        small = decode(opened.read(image), draft=(side, side)).bare()
    except (RetrievalError, OSError):
        return None
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.convert("RGB").save(out, "WEBP", quality=_QUALITY)
    return Thumbnail("data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii"), *small.size)
