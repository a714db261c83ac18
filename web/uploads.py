"""Pictures that requests bring: read from a form, a body or base64, within the server's limits; cached for pages.

An uploaded query is never written to disk.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from flask import request

from retrieval.images import probe
from web.context import state
from web.errors import (
    NoPictureError,
    NotBase64Error,
    QueryGoneError,
    SeveralPicturesError,
    UnsupportedBodyError,
    UploadTooLargeError,
)


def form_picture(part: str = "image") -> bytes:
    """The bytes of the file in a form's part. Raises NoPictureError, SeveralPicturesError, UploadTooLargeError."""
    files = request.files
    if unknown := sorted(set(files) - {part}):
        raise SeveralPicturesError(f"the form has a file as '{unknown[0][:40]}'; send one picture, as '{part}'")
    if len(parts := files.getlist(part)) > 1:
        raise SeveralPicturesError(f"the form has {len(parts)} parts '{part}'; send one picture")
    return _checked(parts[0].read() if parts else b"")


def chosen_picture(part: str) -> bytes | None:
    """The file that a person chose in a page's form, of several inputs of one name; None where there is none.

    Raises SeveralPicturesError, UploadTooLargeError.
    """
    files = [data for file in request.files.getlist(part) if (data := file.read())]
    if len(files) > 1:
        raise SeveralPicturesError(f"{len(files)} pictures are chosen; choose one")
    return _checked(files[0]) if files else None


def body_picture() -> bytes:
    """The whole body as a picture. Raises UnsupportedBodyError, NoPictureError, UploadTooLargeError."""
    kind = request.mimetype
    if kind.startswith("image/") or kind == "application/octet-stream":
        return _checked(request.get_data())
    raise UnsupportedBodyError(
        f"a body of type '{kind or 'none'}' is not understood: send multipart/form-data, image/* or, to search, "
        "application/json"
    )


def decoded(text: str) -> bytes:
    """A picture in base64. Raises NotBase64Error, NoPictureError, UploadTooLargeError."""
    try:
        return _checked(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise NotBase64Error(f"the picture is not base64 ({error})") from None


def require_picture(data: bytes) -> None:
    """Check a picture by its header, before it is cached or stored.

    Raises PictureTooLargeError, UnknownFormatError, BrokenPictureError.
    """
    probe(data, max_pixels=state().settings.max_pixels)


def cache_query(data: bytes) -> str:
    """Cache an uploaded picture; returns its name, the same for the same bytes and hard to guess for others."""
    name = hashlib.sha256(data).hexdigest()[:32]
    state().uploads.put(name, data)
    return name


def cached_query(name: str) -> bytes:
    """An uploaded picture by its name. Raises QueryGoneError."""
    data = state().uploads.get(name)
    if data is None:
        raise QueryGoneError(
            "the server keeps only the latest uploads, in memory, and this one is no longer among them: "
            "give the picture again"
        )
    return data


def _checked(data: bytes) -> bytes:
    if not data:
        raise NoPictureError("the request has no picture: send one as the part `image`, as the body, or in JSON")
    most = state().settings.max_upload
    if len(data) > most:
        # Not how large it is: of a body without length only a part more than that has been read.
        raise UploadTooLargeError(f"the file has more than {most / 2**20:g} MiB")
    return data
