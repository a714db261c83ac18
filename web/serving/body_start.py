"""The picture in a body that is still coming: whether its first bytes are enough to refuse it.

What would be refused anyway then takes neither memory nor time of the searches. A batch is not judged: of it each
picture has its own answer.
"""

from __future__ import annotations

import binascii
import re
from typing import Any

from retrieval.errors import PictureError
from retrieval.headers import examine_start

_NAMES = (b'name="image', b"name=image")
"""In the headers of a form's part `image`. No pattern finds their end: the loop that reads all connections runs this,
and one that tries again at each of a hundred thousand names would stop it for minutes."""
_MEMBER = re.compile(rb'"image"\s*:\s*"(?:data:[^",]*,)?([A-Za-z0-9+/_-]*)')
"""A picture in JSON, and its first digits of base64."""
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def refusal(path: str, content_type: str, start: bytes, max_pixels: int) -> PictureError | None:
    """The error of a picture whose start is beyond the limits, or None where the rest has to come."""
    if path.endswith("/batch"):
        return None
    try:
        examine_start(picture_start(content_type, start), max_pixels)
    except PictureError as error:
        return error
    return None


def picture_start(content_type: str, start: bytes) -> bytes:
    """The first bytes of the picture in a body of this type; none where they cannot be told."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("image/") or kind == "application/octet-stream":
        return start
    if kind == "multipart/form-data":
        part = min((at for name in _NAMES if (at := start.find(name)) >= 0), default=len(start))
        end = start.find(b"\r\n\r\n", part)
        return start[end + 4 :] if end >= 0 else b""
    if kind == "application/json" and (member := _MEMBER.search(start)):
        digits = member[1].translate(_FROM_URL_SAFE)
        return binascii.a2b_base64(digits[: len(digits) & ~3])
    return b""


def header(request: Any, name: str) -> str:
    """A header of gunicorn's request, empty where there is none."""
    return next((str(value) for key, value in request.headers if key == name), "")
