"""Picture files as the server sends them: free of metadata, upright, in a form that browsers draw."""

from __future__ import annotations

import io
import re

from retrieval.images import MAX_PIXELS, decode, thumbnail

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
