"""Picture files without their metadata: what is left when comments, EXIF, text and profiles stop a decoder.

Pillow gives up on a file whose metadata it cannot parse, or whose metadata unpack to more than a limit. The pixels
are sound all the same, so such a file is decoded once more without them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice

from retrieval.tiff import TiffDirectory

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks that the pixels depend on; colour profiles of PNGs are ignored, as Java ignores them."""
_WEBP_METADATA = {b"EXIF": 0x08, b"XMP ": 0x04, b"ICCP": 0x20}
"""Chunk -> its flag in VP8X (WebP container specification, "Extended File Format")."""


_EXIF_TEXTS = (b"Raw profile type exif", b"Raw profile type APP1")
"""Texts of a PNG in which ImageMagick and ExifTool write EXIF in hexadecimal."""
_LONGEST_TEXT = 1 << 20
"""Bytes to which such a text is unpacked; EXIF of a JPEG has at most 64 KiB."""
_MOST_BLOCKS = 8
"""EXIF blocks of a file that are looked at."""
_ORIENTATION = 0x0112
"""EXIF's and TIFF's tag."""


def without_metadata(data: bytes, *, profile: bool = False) -> bytes | None:
    """The file with nothing but what its pixels depend on; None where the format has no metadata to leave out.

    profile: keep the colour profile (JPEG, WebP, TIFF).
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data, profile)
        if data.startswith(_PNG):
            return _PNG + b"".join(data[start:end] for kind, start, end in _png_chunks(data) if kind in _PNG_PIXELS)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data, profile)
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff(data, profile)
    except (struct.error, IndexError, OverflowError):
        return None  # cut short within its own structure
    return None


def exif_orientation(data: bytes) -> int | None:
    """The orientation 1..8 that the first EXIF block with one states, in a JPEG, PNG or WebP; None where none does.

    A file may have several blocks, such as one that a tool left in ruins before its own; viewers take one that they can
    read.
    """
    try:
        for block in islice(_exif_blocks(data), _MOST_BLOCKS):
            try:
                directory = TiffDirectory.first(block)
                value = 0 if directory is None else directory.number(_ORIENTATION, 0)
            except (struct.error, OverflowError):
                continue  # damaged, or cut short
            if value in range(1, 9):
                return value
    except (struct.error, IndexError):
        return None  # the file is cut short
    return None


def _exif_blocks(data: bytes) -> Iterator[bytes]:
    """EXIF blocks in order, from the TIFF header on. Raises as `_segments`."""
    if data.startswith(b"\xff\xd8"):
        for marker, start, end in _segments(data):
            if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
                yield data[start + 10 : end]
    elif data.startswith(_PNG):
        for kind, start, end in _png_chunks(data):
            if kind == b"eXIf":
                yield data[start + 8 : end - 4].removeprefix(b"Exif\0\0")
            elif kind in (b"tEXt", b"zTXt"):
                yield from _raw_profile(kind, data[start + 8 : end - 4])
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        for kind, start, end in _webp_chunks(data):
            if kind == b"EXIF":
                yield data[start + 8 : end].removeprefix(b"Exif\0\0")


def _raw_profile(kind: bytes, body: bytes) -> Iterator[bytes]:
    """The EXIF block in a text of a PNG: a name, a length and hexadecimal digits, each on its own line."""
    keyword, _, text = body.partition(b"\0")
    if keyword not in _EXIF_TEXTS:
        return
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _LONGEST_TEXT)  # behind the method's number
        lines = text.decode("ascii").split("\n", 3)
        yield bytes.fromhex(lines[-1]).removeprefix(b"Exif\0\0")
    except (zlib.error, ValueError):
        return


def jpeg_bits(data: bytes) -> int | None:
    """Bits a channel of a JPEG, from its frame header; None for another file, or one cut short before that."""
    try:
        for marker, start, _ in _segments(data):
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                return data[start + 4]
    except (struct.error, IndexError):
        pass
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment of a JPEG up to its first scan, which reaches to the end of the file.

    Raises IndexError or struct.error where the file is cut short before that.
    """
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while data[at] == 0xFF:
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker, end = data[at + 1], at + 2
        if marker == 0xDA:
            yield marker, at, len(data)
            return
        if marker != 0x01 and not 0xD0 <= marker <= 0xD9:  # those stand alone
            end += struct.unpack_from(">H", data, end)[0]
        yield marker, at, end
        at = end


def _jpeg(data: bytes, profile: bool) -> bytes | None:
    """Without APPn and COM segments; JFIF and Adobe stay, which say what the colour channels are."""
    parts, marker = [data[:2]], 0
    for marker, start, end in _segments(data):
        body = data[start + 4 : end]
        needed = (
            not (0xE0 <= marker <= 0xEF or marker == 0xFE)
            or (marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14)
            or (marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12)
            or (marker == 0xE2 and profile and body.startswith(b"ICC_PROFILE\0"))
        )
        if needed:
            parts.append(data[start:end])
    return b"".join(parts) if marker == 0xDA else None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk of a PNG; the last one's end may lie behind that of a file that is cut short."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at, at + 12 + length
        at += 12 + length


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk of a WebP, with its byte of padding; the last one's end as in `_png_chunks`."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + (length & 1)
        yield kind, at, end
        at = end


def _webp(data: bytes, profile: bool) -> bytes:
    parts, flags = [], 0
    for kind, start, end in _webp_chunks(data):
        if kind in _WEBP_METADATA and not (kind == b"ICCP" and profile):
            flags |= _WEBP_METADATA[kind]
        else:
            parts.append(data[start:end])
    body = b"".join(parts)
    if body.startswith(b"VP8X"):
        body = body[:8] + bytes([body[8] & ~flags & 0xFF]) + body[9:]
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _tiff(data: bytes, profile: bool) -> bytes | None:
    directory = TiffDirectory.first(data)
    return None if directory is None else directory.pixels_only(profile)
