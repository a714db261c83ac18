"""Pictures as they are sent: free of EXIF and other metadata, upright, in a form that browsers draw, and cacheable."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from flask import Response, request

from retrieval.images import MAX_PIXELS, decode, thumbnail
from web.context import collection_version, state

THUMBNAIL = 320
"""Longer side of a thumbnail in pixels."""
PREVIEW = 1280
"""Longer side of a query's picture on the page."""

YEAR = 31_536_000
"""Seconds."""

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_NEEDED = {
    0xE0: re.compile(rb"JFIF\0.{7}\0\0", re.DOTALL),
    0xE2: re.compile(rb"ICC_PROFILE\0.*", re.DOTALL),
    0xEE: re.compile(rb"Adobe.{7}", re.DOTALL),
}
"""APPn segments that stay: JFIF without a thumbnail, the colour profile, and Adobe's note on how colours are
stored, each at its own length. All others, whatever follows these, and COM may name a patient."""


def without_metadata(data: bytes) -> tuple[bytes, str]:
    """A picture file without metadata, and its media type.

    An upright JPEG keeps its pixels to the bit; a turned one is turned and compressed anew; all others become PNG.
    Raises a PictureError.
    """
    picture = decode(data, draft=(1, 1))  # an eighth of a JPEG's size shows whether it is sound, and its orientation
    is_jpeg = picture.format in ("JPEG", "MPO")
    if is_jpeg and picture.orientation == 1:
        stripped = _stripped_jpeg(data)
        if stripped is not None:
            return stripped, "image/jpeg"
    out = io.BytesIO()
    if is_jpeg:
        decode(data).bare().save(out, "JPEG", quality=95, subsampling=0)
        return out.getvalue(), "image/jpeg"
    picture.bare().save(out, "PNG", compress_level=1)
    return out.getvalue(), "image/png"


def reduced(data: bytes, side: int, max_pixels: int = MAX_PIXELS) -> bytes:
    """A JPEG with its longer side at most `side`, free of metadata."""
    return thumbnail(decode(data, max_pixels=max_pixels, draft=(side, side)), side)


def draw_once(name: str, draw: Callable[[], bytes]) -> bytes:
    """A picture of the cache, or drawn under the concurrency limit, not again for those who wait. Raises BusyError."""
    shared, key = state(), etag(name)
    data = shared.pictures.get(key)
    if data is None:
        with shared.drawings.slot():
            data = shared.pictures.get(key)
            if data is None:
                data = draw()
                shared.pictures.put(key, data)
    return data


def etag(name: str) -> str:
    """The ETag of a picture of this collection, which is also its key in the cache."""
    return f"{collection_version()}-{name}"


def not_modified(name: str) -> Response | None:
    """304 where the client has this picture already: an id never changes its picture."""
    if request.if_none_match.contains_weak(etag(name)):  # a proxy that compresses weakens it
        return _cacheable(Response(status=304), name)
    return None


def picture_response(data: bytes, media_type: str, name: str) -> Response:
    """A picture file, which the client may cache for good where the address names the collection's version."""
    return _cacheable(Response(data, mimetype=media_type), name)


def _cacheable(response: Response, name: str) -> Response:
    response.set_etag(etag(name))
    if request.args.get("v") == collection_version():
        response.headers["Cache-Control"] = f"private, max-age={YEAR}, immutable"
    return response


def _stripped_jpeg(data: bytes) -> bytes | None:
    """A JPEG file without APPn and COM segments and without anything behind its end; None where it is irregular."""
    out = [b"\xff\xd8"]
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xD9:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            return None
        if marker == 0xDA:  # a scan's pixels follow, up to the next marker that is not a restart
            following = _MARKER.search(data, end)
            end = following.start() if following else len(data)
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            out.append(data[at:end])
        elif (pattern := _NEEDED.get(marker)) and (match := pattern.match(data, at + 4, end)):
            out.append(data[at : at + 2] + (len(match[0]) + 2).to_bytes(2, "big") + match[0])
        at = end
    out.append(b"\xff\xd9")
    return b"".join(out)
