"""Headers are checked against bytes and limits before Pillow sees a file; ordinary pictures pass as they are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.headers import BrokenPictureError, CostlyPictureError, PictureTooLargeError, examine
from retrieval.headers.limits import MAX_JUNK, MAX_PARTS
from retrieval.images import decode

MOST = 64_000_000


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (image or noise(64, 48)).save(out, kind, **options)
    return out.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def progressive(side: int, scans: int, between: bytes = b"") -> bytes:
    """A grey JPEG of so many further scans that say nothing."""
    blocks = (-(-side // 8)) ** 2
    frame = struct.pack(">BHHB", 8, side, side, 1) + bytes((1, 0x11, 0))
    head = b"\xff\xd8" + segment(0xDB, bytes(1) + bytes([1]) * 64) + segment(0xC2, frame)
    for table, symbol in ((0x00, 0), (0x10, 0xE0)):  # difference 0; a run of 2^14 empty blocks and more
        head += segment(0xC4, bytes((table, 1)) + bytes(15) + bytes((symbol,)))
    flat = segment(0xDA, bytes((1, 1, 0, 0, 0, 0))) + bytes(blocks // 8 + 1)
    bits = ("0" + "1" * 14) * -(-blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    empty = between + segment(0xDA, bytes((1, 1, 0, 1, 63, 0))) + runs
    return head + flat + empty * scans + b"\xff\xd9"


def resized_jpeg(width: int, height: int, **options: Any) -> bytes:
    """A JPEG of 64x48 pixels whose frame header says another size."""
    data = saved("JPEG", **options)
    at = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def tiff(width: int, height: int, *, rows: int, strips: list[int], lengths: list[int], compression: int = 1) -> bytes:
    """Grey, 8 bits; the strips' numbers stand where the directory says, and 64 bytes of pixels behind."""
    count = len(strips)
    values = struct.pack(f"<{2 * count}I", *strips, *lengths)
    place = 8 + 2 + 12 * 8 + 4

    def numbers(tag: int, values: list[int], at: int) -> bytes:
        return struct.pack("<HHII", tag, 4, len(values), values[0] if len(values) == 1 else at)

    entries = [(256, width), (257, height), (258, 8), (259, compression), (262, 1)]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    table += numbers(273, strips, place) + struct.pack("<HHII", 278, 4, 1, rows)
    table += numbers(279, lengths, place + 4 * count)
    return b"II*\0" + struct.pack("<IH", 8, 8) + table + bytes(4) + values + bytes(64)


ORDINARY: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved("JPEG"),
    "flat jpeg": lambda: saved("JPEG", Image.new("RGB", (3000, 2000))),
    "flat optimised grey jpeg": lambda: saved("JPEG", Image.new("L", (4000, 4000)), optimize=True),
    "flat progressive jpeg": lambda: saved("JPEG", Image.new("RGB", (3000, 2000)), progressive=True),
    "progressive 4:4:4 jpeg": lambda: saved("JPEG", noise(600, 400), progressive=True, subsampling=0, quality=60),
    "jpeg with restarts": lambda: saved("JPEG", noise(600, 400), restart_marker_rows=1),
    "cmyk jpeg": lambda: saved("JPEG", noise(64, 48, "CMYK")),
    "jpeg with 4 KiB of fill bytes": lambda: saved("JPEG").replace(b"\xff\xdb", b"\xff" * 4096 + b"\xff\xdb", 1),
    "jpeg with something behind its end": lambda: saved("JPEG") + b"\xff\xda" * 5000 + bytes(1000),
    "ten scans": lambda: progressive(1000, 10),
    "flat png": lambda: saved("PNG", Image.new("RGB", (4000, 4000))),
    "flat png of two colours": lambda: saved("PNG", Image.new("1", (4000, 4000)), optimize=True),
    "palette png": lambda: saved("PNG", noise(64, 48).quantize(16)),
    "webp": lambda: saved("WEBP"),
    "flat lossless webp": lambda: saved("WEBP", Image.new("RGBA", (4000, 4000)), lossless=True, method=0),
    "bmp": lambda: saved("BMP"),
    "palette bmp": lambda: saved("BMP", noise(63, 48).quantize(16)),
    "tiff": lambda: saved("TIFF"),
    "tiff of many strips": lambda: saved("TIFF", noise(64, 3000), strip_size=64 * 3),
    **{
        f"flat {name} tiff": lambda name=name: saved("TIFF", Image.new("L", (3000, 3000)), compression=name)  # type: ignore[misc]
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    },
    "flat fax tiff": lambda: saved("TIFF", Image.new("1", (3000, 3000)), compression="group4"),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_picture_passes_with_its_size(kind: str) -> None:
    data = ORDINARY[kind]()
    claim = examine(data, MOST)
    assert (claim.width, claim.height) == Image.open(io.BytesIO(data)).size
    assert not claim.excess
    decode(data)


COSTLY: dict[str, Callable[[], bytes]] = {
    "scans": lambda: progressive(800, 201),
    "scans times pixels": lambda: progressive(7992, 70),
    "scans behind a segment that holds the sign of the end": lambda: progressive(800, 201, segment(0xFE, b"\xff\xd9")),
    "segments between scans": lambda: progressive(80, 2, segment(0xFE, b"") * MAX_PARTS),
    "fill bytes": lambda: saved("JPEG").replace(b"\xff\xdb", b"\xff" * (MAX_JUNK + 2) + b"\xff\xdb", 1),
    "bytes between segments": lambda: saved("JPEG").replace(b"\xff\xdb", bytes(MAX_JUNK + 2) + b"\xff\xdb", 1),
    "comments": lambda: saved("JPEG").replace(b"\xff\xdb", b"\xff\xfe\0\x02" * (MAX_PARTS + 100) + b"\xff\xdb", 1),
    "quantisation tables": lambda: saved("JPEG").replace(b"\xff\xdb", segment(0xDB, bytes(65_000)) * 2 + b"\xff\xdb"),
    "chunks of a png": lambda: saved("PNG")[:33] + chunk(b"tEXt", b"k\0v") * (MAX_PARTS + 200) + saved("PNG")[33:],
    "pieces of image data": lambda: saved("PNG")[:33] + chunk(b"IDAT", b"") * (MAX_PARTS + 200) + saved("PNG")[33:],
    "chunks of a webp": lambda: saved("WEBP") + b"abcd\0\0\0\0" * (MAX_PARTS + 200),
    "values of a tiff": lambda: tiff(1, 8, rows=8, strips=[200] * 600_000, lengths=[1] * 600_000),
    "strips of a tiff": lambda: tiff(1, 70_000, rows=1, strips=[200] * 70_000, lengths=[1] * 70_000),
    "run lengths": lambda: (
        b"BM" + struct.pack("<IIIIiiHHI", 0, 0, 54, 40, 100, 100, 1, 8, 1) + bytes(20) + bytes(9 << 20)
    ),
}


@pytest.mark.parametrize("kind", COSTLY)
def test_a_picture_of_a_costly_structure_is_refused(kind: str) -> None:
    with pytest.raises(CostlyPictureError, match="save it"):
        decode(COSTLY[kind]())


HOLLOW: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: resized_jpeg(8000, 8000),
    "progressive jpeg": lambda: resized_jpeg(8000, 8000, progressive=True),
    "png": lambda: saved("PNG")[:16] + struct.pack(">II", 8000, 8000) + saved("PNG")[24:],
    "bmp": lambda: saved("BMP")[:18] + struct.pack("<ii", 8000, 8000) + saved("BMP")[26:],
    "tiff of one strip": lambda: tiff(1, MOST, rows=MOST, strips=[120], lengths=[MOST]),
    "tiff of strips that are not listed": lambda: tiff(1, MOST, rows=1, strips=[120], lengths=[1]),
    "tiff of strips outside the file": lambda: tiff(8, 16, rows=8, strips=[130, 9999], lengths=[64, 64]),
    **{
        f"tiff, compression {number}": lambda number=number: tiff(  # type: ignore[misc]
            8000, 8000, rows=8000, strips=[120], lengths=[64], compression=number
        )
        for number in (5, 7, 8, 32773)
    },
}


@pytest.mark.parametrize("kind", HOLLOW)
def test_a_picture_that_cannot_hold_its_pixels_is_refused_as_truncated(kind: str) -> None:
    with pytest.raises(BrokenPictureError, match="damaged or truncated"):
        decode(HOLLOW[kind]())


def test_the_limit_of_pixels_comes_before_all_others() -> None:
    with pytest.raises(PictureTooLargeError, match=r"8000x8000 is 64\.0 megapixels; the limit is 1\.0"):
        examine(resized_jpeg(8000, 8000), 1_000_000)


@pytest.mark.parametrize("kind", ["exif", "photoshop", "png"])
def test_metadata_beyond_measure_are_left_out_and_the_pixels_stay(kind: str) -> None:
    if kind == "png":
        sound = saved("PNG")
        texts = chunk(b"zTXt", b"\0\0" + zlib.compress(bytes(1 << 20))) * 101
        data = sound[:33] + texts + sound[33:]
    else:
        sound = saved("JPEG")
        resources = b"8BIM\4\4\0\0\0\0\0\0" * 5000
        body = b"Exif\0\0" + bytes(60_000) if kind == "exif" else b"Photoshop 3.0\0" + resources
        data = sound[:2] + segment(0xE1 if kind == "exif" else 0xED, body) * 65 + sound[2:]
    assert examine(data, MOST).excess
    assert np.array_equal(decode(data).pixels(), decode(sound).pixels())
