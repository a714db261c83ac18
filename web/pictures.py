"""Pictures as requests bring them, within the server's limits, and as responses send them.

An uploaded query is cached in memory and never written to disk. What is sent is free of EXIF and other metadata,
upright, in a form that browsers draw, and cacheable.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote_to_bytes

from flask import Response, request

from retrieval.collection import Collection
from retrieval.images import MAX_PIXELS, probe
from web.context import state
from web.errors import (
    DataURLError,
    NoPictureError,
    NotBase64Error,
    QueryGoneError,
    SeveralPicturesError,
    UnsupportedBodyError,
    UploadTooLargeError,
)
from web.requests import field_values, require_bounded_body

P = ParamSpec("P")
R = TypeVar("R")

THUMBNAIL = 320
"""Longer side of a thumbnail in pixels."""
PREVIEW = 1280
"""Longer side of a query's picture on the page."""

YEAR = 31_536_000
"""Seconds."""

_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


# Pictures of requests


def form_fields() -> dict[str, Any]:
    """The fields of a form that has a picture, for a model. Raises NoPictureError, RepeatedFieldError."""
    if "image" in request.form:
        raise NoPictureError("the part 'image' is a text and no file; with curl, -F image=@FILE sends the file")
    return field_values(request.form)


def form_picture() -> bytes:
    """The file of a form's part `image`. Raises NoPictureError, SeveralPicturesError, UploadTooLargeError."""
    parts = form_pictures()
    if len(parts) > 1:
        raise SeveralPicturesError(f"the form has {len(parts)} parts 'image'; send one picture")
    return checked(parts[0] if parts else b"")


def form_pictures() -> list[bytes]:
    """The files of a form's parts `image`, in order and not yet checked. Raises SeveralPicturesError."""
    if unknown := sorted(str(name) for name in set(request.files) - {"image"}):  # a part may have no name
        raise SeveralPicturesError(f"the form has a file as '{unknown[0][:40]}'; send one picture a part, as 'image'")
    return [part.read() for part in request.files.getlist("image")]


def chosen_pictures(part: str) -> list[bytes]:
    """The files that a person chose in a page's form, in order and not yet checked."""
    return [data for file in request.files.getlist(part) if (data := file.read())]


def body_picture() -> bytes:
    """The whole body as a picture. Raises UnsupportedBodyError, NoPictureError, UploadTooLargeError."""
    kind = request.mimetype
    if kind.startswith("image/") or kind == "application/octet-stream":
        return checked(request.get_data())
    require_bounded_body()
    raise UnsupportedBodyError(
        f"a body of type '{kind or 'none'}' is not understood: send multipart/form-data, image/* or, to search, "
        "application/json"
    )


def decoded(text: str) -> bytes:
    """A picture that stands in JSON, as base64 or as a `data:` URL (RFC 2397), whose media type must be a picture's.

    Raises NotBase64Error, DataURLError, NoPictureError, UploadTooLargeError.
    """
    if text[:5].lower() != "data:":
        return checked(_from_base64(text))
    head, comma, payload = text[5:].partition(",")
    if not comma:
        raise DataURLError("a data: URL has a comma before its data: data:image/jpeg;base64,…")
    media_type, *parameters = (part.strip().lower() for part in head.split(";"))
    if media_type and media_type != "application/octet-stream" and not media_type.startswith("image/"):
        raise DataURLError(f"the data: URL is of '{media_type[:40]}'; it must be of a picture, such as image/jpeg")
    data = unquote_to_bytes(payload)
    return checked(_from_base64(data) if "base64" in parameters[-1:] else data)


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


def _from_base64(text: str | bytes) -> bytes:
    """Base64 of either alphabet (RFC 4648, sections 4 and 5); line breaks and missing padding are no fault.

    Raises NotBase64Error.
    """
    ascii_text = text.encode("utf-8", "replace") if isinstance(text, str) else text
    digits = ascii_text.translate(None, b" \t\r\n")
    if not any(sign in digits for sign in b"+/"):
        digits = digits.translate(_FROM_URL_SAFE)
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except binascii.Error as error:
        remote = ascii_text[:8].lower().startswith((b"http://", b"https://"))
        reason = "it is an address, and the server fetches none" if remote else str(error)
        raise NotBase64Error(f"the picture is neither base64 nor a data: URL ({reason})") from None


def checked(data: bytes) -> bytes:
    """The bytes of one uploaded picture. Raises NoPictureError, UploadTooLargeError."""
    if not data:
        raise NoPictureError("the request has no picture: send one as the part `image`, as the body, or in JSON")
    most = state().settings.max_upload
    if len(data) > most:
        # Not how large it is: of a body without length only a part more than that has been read.
        raise UploadTooLargeError(f"the file has more than {most / 2**20:g} MiB")
    return data


# Pictures of responses


def drawn(draw: Callable[Concatenate[bytes, P], R], data: bytes, *args: P.args, **options: P.kwargs) -> R:
    """draw(data, ...), of a large picture in another process. Raises what `examine` raises, and what `draw` raises."""
    shared = state()
    if shared.large_pictures.takes(data, max(MAX_PIXELS, shared.settings.max_pixels)):
        return shared.large_pictures.run(draw, data, *args, **options)
    return draw(data, *args, **options)


def version_of(opened: Collection, image_id: int) -> str:
    """The SHA-256 of an image's file, of a placeholder's texts where it has none: names what it shows, whatever its id.

    An id may come to stand for another picture: in a catalog that is restored or replaced. Raises NoSuchImageError.
    """
    position, images = opened.position(image_id), opened.images
    if images.has_picture(position):
        digest: bytes = images.value("contents", position).tobytes()
        return digest.hex()
    return hashlib.sha256(f"{opened.class_of(image_id)}\n{images.file(position)}".encode()).hexdigest()


def read_version(opened: Collection, image_id: int) -> tuple[str, bytes]:
    """The picture of an image and its version, which is another than that of the catalog where the file has changed.

    Raises what `Collection.display` raises.
    """
    data = opened.display(image_id)
    if opened.images.has_picture(opened.position(image_id)):
        return hashlib.sha256(data).hexdigest(), data
    return version_of(opened, image_id), data


def draw_once(kind: str, version: str, draw: Callable[[], tuple[str, bytes]]) -> tuple[str, bytes]:
    """The version and bytes of a cached picture, or drawn under the concurrency limit, not again for those who wait.

    Raises BusyError.
    """
    shared = state()
    data = shared.pictures.get((kind, version))
    if data is None:
        with shared.drawings.slot():
            data = shared.pictures.get((kind, version))
            if data is None:
                version, data = draw()
                shared.pictures.put((kind, version), data)
    return version, data


def not_modified(kind: str, version: str) -> Response | None:
    """304 where the client has this version already."""
    if request.if_none_match.contains_weak(f"{kind}-{version}"):  # a proxy that compresses weakens it
        return _cacheable(Response(status=304), kind, version)
    return None


def picture_response(data: bytes, media_type: str, kind: str, version: str) -> Response:
    """A picture file as a response; browsers may cache it for a year where the address names its version."""
    return _cacheable(Response(data, mimetype=media_type), kind, version)


def _cacheable(response: Response, kind: str, version: str) -> Response:
    response.set_etag(f"{kind}-{version}")
    if request.args.get("v") == version:
        response.headers["Cache-Control"] = f"private, max-age={YEAR}, immutable"
    return response
