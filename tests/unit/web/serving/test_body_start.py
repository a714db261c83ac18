"""A picture in a body is told, and refused where its start is beyond the limits; all others have to come whole."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.headers import CostlyPictureError, PictureTooLargeError
from web.serving.body_start import picture_start, refusal

MOST = 1_000_000
FORM = b'--x\r\nContent-Disposition: form-data; name="k"\r\n\r\n3\r\n--x\r\n'
FORM += b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'


def saved(kind: str, **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (500, 600, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claiming(side: int) -> bytes:
    data = saved("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", side, side) + data[at + 4 :]


REFUSED: dict[str, Callable[[], bytes]] = {
    "fill bytes": lambda: b"\xff\xd8" + b"\xff" * 200_000,
    "comments": lambda: b"\xff\xd8" + b"\xff\xfe\0\x02" * 32_000,
    "chunks": lambda: saved("PNG")[:33] + chunk(b"tEXt", b"k\0v") * 8_000,
    "beyond the limit": lambda: claiming(2000),
    "a PNG beyond the limit": lambda: saved("PNG")[:16] + struct.pack(">II", 2000, 2000) + bytes(200_000),
}


def in_json(data: bytes) -> bytes:
    return b'{"k": 3, "image": "data:image/png;base64,' + base64.b64encode(data)


DOORS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "body": ("image/png", lambda data: data),
    "bytes": ("application/octet-stream", lambda data: data),
    "form": ("multipart/form-data; boundary=x", lambda data: FORM + data),
    "json": ("application/json", in_json),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", REFUSED)
def test_a_start_beyond_the_limits_is_refused_by_every_door(kind: str, door: str) -> None:
    content_type, wrapped = DOORS[door]
    error = refusal("/api/v1/search", content_type, wrapped(REFUSED[kind]()), MOST)
    assert isinstance(error, PictureTooLargeError if "limit" in kind else CostlyPictureError)


@pytest.mark.parametrize("size", [128 * 1024, 1024 * 1024])
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_the_start_of_a_sound_picture_is_not(kind: str, door: str, size: int) -> None:
    content_type, wrapped = DOORS[door]
    data = saved(kind.split()[-1], **({"progressive": True} if "progressive" in kind else {}))
    start = wrapped(data)[:size]
    assert data.startswith(picture_start(content_type, start)[: len(data)][:100])
    assert refusal("/api/v1/search", content_type, start, MOST) is None


def test_a_batch_and_what_is_no_picture_are_left_to_the_application() -> None:
    bad = REFUSED["comments"]()
    assert refusal("/api/v1/search/batch", "application/octet-stream", bad, MOST) is None
    for content_type, start in {
        "text/plain": bad,
        "": bad,
        "multipart/form-data; boundary=x": FORM[:60] + bad,
        "application/json": b'{"image_id": 3, "images": "' + bad,
    }.items():
        assert picture_start(content_type, start) == b""
        assert refusal("/api/v1/search", content_type, start, MOST) is None
