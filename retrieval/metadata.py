"""Picture files without their metadata: what is left when comments, EXIF, text and profiles stop a decoder.

Pillow gives up on a file whose metadata it cannot parse, or whose metadata unpack to more than a limit. The pixels
are sound all the same, so such a file is decoded once more without them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.tiff import TiffDirectory

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks that the pixels depend on; colour profiles of PNGs are ignored, as Java ignores them."""
_WEBP_METADATA = {b"EXIF": 0x08, b"XMP ": 0x04, b"ICCP": 0x20}
"""Chunk -> its flag in VP8X (WebP container specification, "Extended File Format")."""


@dataclass(frozen=True)
class Stripped:
    """A picture file without its metadata, and the EXIF block that it had (from the TIFF header on)."""

    data: bytes
    exif: bytes | None = None


def without_metadata(data: bytes, *, profile: bool = False) -> Stripped | None:
    """The file with nothing but what its pixels depend on; None where the format has no metadata to leave out.

    profile: keep the colour profile (JPEG, WebP, TIFF).
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data, profile)
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data, profile)
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff(data, profile)
    except (struct.error, IndexError, OverflowError):
        return None  # cut short within its own structure
    return None


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


def _jpeg(data: bytes, profile: bool) -> Stripped | None:
    """Without APPn and COM segments; JFIF and Adobe stay, which say what the colour channels are."""
    parts, exif, marker = [data[:2]], None, 0
    for marker, start, end in _segments(data):
        body = data[start + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and exif is None:
            exif = body[6:]
        needed = (
            not (0xE0 <= marker <= 0xEF or marker == 0xFE)
            or (marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14)
            or (marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12)
            or (marker == 0xE2 and profile and body.startswith(b"ICC_PROFILE\0"))
        )
        if needed:
            parts.append(data[start:end])
    return Stripped(b"".join(parts), exif) if marker == 0xDA else None


def _png(data: bytes) -> Stripped:
    parts, exif, at = [_PNG], None, len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in _PNG_PIXELS:
            parts.append(data[at : at + 12 + length])
        elif kind == b"eXIf" and exif is None:
            exif = data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        at += 12 + length
    return Stripped(b"".join(parts), exif)


def _webp(data: bytes, profile: bool) -> Stripped:
    parts, exif, at, flags = [], None, 12, 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + (length & 1)
        if kind in _WEBP_METADATA and not (kind == b"ICCP" and profile):
            flags |= _WEBP_METADATA[kind]
            if kind == b"EXIF" and exif is None:
                exif = data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        else:
            parts.append(data[at:end])
        at = end
    body = b"".join(parts)
    if body.startswith(b"VP8X"):
        body = body[:8] + bytes([body[8] & ~flags & 0xFF]) + body[9:]
    return Stripped(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, exif)


def _tiff(data: bytes, profile: bool) -> Stripped | None:
    directory = TiffDirectory.first(data)
    return None if directory is None else Stripped(directory.pixels_only(profile))
