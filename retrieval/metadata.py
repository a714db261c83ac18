"""Picture files without their metadata: what is left when comments, EXIF, text and profiles stop a decoder.

Pillow gives up on a file whose metadata it cannot parse, or whose metadata unpack to more than a limit. The pixels
are sound all the same, so such a file is decoded once more without them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from retrieval.tiff import TiffDirectory

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks that the pixels depend on; colour profiles of PNGs are ignored, as Java ignores them."""
_WEBP_METADATA = {b"EXIF": 0x08, b"XMP ": 0x04, b"ICCP": 0x20}
"""Chunk -> its flag in VP8X (WebP container specification, "Extended File Format")."""
# fmt: off
_TIFF_PIXELS = frozenset((
    254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325,
    332, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532,
))
# fmt: on
"""Tags that the pixels depend on, the orientation among them: TIFF 6.0, appendix A, and Technical Note 2 (JPEG)."""
_TIFF_PROFILE = 34675


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


def _jpeg(data: bytes, profile: bool) -> Stripped | None:
    """Without APPn and COM segments; JFIF and Adobe stay, which say what the colour channels are."""
    parts, exif, at = [data[:2]], None, 2
    while True:
        if data[at] != 0xFF:
            return None
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        if marker == 0xDA:  # the first scan: from here on there are pixels
            return Stripped(b"".join([*parts, data[at:]]), exif)
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:  # no segment follows
            parts.append(data[at : at + 2])
            at += 2
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        body = data[at + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and exif is None:
            exif = body[6:]
        needed = (
            not (0xE0 <= marker <= 0xEF or marker == 0xFE)
            or (marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14)
            or (marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12)
            or (marker == 0xE2 and profile and body.startswith(b"ICC_PROFILE\0"))
        )
        if needed:
            parts.append(data[at:end])
        at = end


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
    """The same file with a new first directory at its end, which lists only the tags that the pixels depend on."""
    directory = TiffDirectory.first(data)
    if directory is None:
        return None
    kept = [
        data[at : at + directory.entry_bytes]
        for at in directory.entries
        if (tag := directory.tag(at)) in _TIFF_PIXELS or (profile and tag == _TIFF_PROFILE)
    ]
    return Stripped(directory.replaced(kept))
