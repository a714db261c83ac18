"""TIFF files as Pillow must be given them: what it reads otherwise than libtiff is mended in the first directory."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _COLORMAP = 258, 259, 262, 274, 277, 320
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by its field type."""
_CCITT = (2, 3, 4)
"""Compressions of bilevel pictures, whose white is 0 where nothing is said."""


@dataclass(frozen=True)
class TiffPicture:
    """A TIFF file that Pillow decodes without turning or inverting it.

    data: the file for Pillow. white_is_zero: whether its grey values are to be inverted afterwards.
    orientation: 1..8. colors: values of an 8-bit colour map, which old software wrote in place of a 16-bit one.
    """

    data: bytes
    white_is_zero: bool = False
    orientation: int = 1
    colors: bytes | None = None


def tiff_picture(data: bytes) -> TiffPicture | None:
    """How a TIFF is to be decoded; None for another file, or one whose directory cannot be read.

    Pillow turns TIFFs by their orientation, which other formats leave to the caller; it does not invert 12 and 16 bits
    with white as 0, and takes white as 0 where the file does not say (libtiff: black, but for CCITT compressions).
    """
    try:
        directory = TiffDirectory.first(data)
        if directory is None:
            return None
        orientation = (directory.values(_ORIENTATION) or (1,))[0]
        photometric = directory.values(_PHOTOMETRIC)
        bits = directory.values(_BITS) or (1,)
        grey = (directory.values(_SAMPLES) or (1,))[0] == 1
        bilevel = (directory.values(_COMPRESSION) or (1,))[0] in _CCITT
        changes = {}
        if orientation != 1:
            changes[_ORIENTATION] = 1
        invert = grey and photometric == (0,) and bits in ((12,), (16,))
        if invert or (grey and not photometric and not bilevel):
            changes[_PHOTOMETRIC] = 1
        colors = directory.values(_COLORMAP) if photometric == (3,) else ()
        return TiffPicture(
            directory.changed(changes) if changes else data,
            invert,
            orientation if orientation in range(1, 9) else 1,
            bytes(colors) if colors and max(colors) < 256 else None,
        )
    except (struct.error, OverflowError):
        return None


@dataclass(frozen=True)
class TiffDirectory:
    """The first directory of a TIFF or BigTIFF file.

    order: struct's sign of the byte order. entries: where each entry stands in the file.
    """

    data: bytes
    order: str
    big: bool
    entries: range

    @staticmethod
    def first(data: bytes) -> TiffDirectory | None:
        """The directory that the header names; None where there is none. Raises struct.error where it is cut."""
        order = "<" if data[:2] == b"II" else ">"
        version = struct.unpack_from(order + "H", data, 2)[0]
        if version not in (42, 43):
            return None
        big = version == 43
        at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
        count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
        first, step = at + (8 if big else 2), 20 if big else 12
        count = min(count, max(0, (len(data) - first) // step))
        return TiffDirectory(data, order, big, range(first, first + step * count, step))

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry."""
        return 20 if self.big else 12

    def tag(self, at: int) -> int:
        """The tag of an entry."""
        number: int = struct.unpack_from(self.order + "H", self.data, at)[0]
        return number

    def values(self, wanted: int) -> tuple[int, ...]:
        """The whole numbers of a tag; none where it is absent or of another type. Raises struct.error."""
        for at in self.entries:
            if self.tag(at) != wanted:
                continue
            kind, count = struct.unpack_from(self.order + ("HQ" if self.big else "HI"), self.data, at + 2)
            code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
            if code is None or count > 65536:
                return ()
            place = at + (12 if self.big else 8)
            if count * _SIZES[kind] > (8 if self.big else 4):
                place = struct.unpack_from(self.order + ("Q" if self.big else "I"), self.data, place)[0]
            return struct.unpack_from(f"{self.order}{count}{code}", self.data, place)
        return ()

    def entry(self, tag: int, value: int) -> bytes:
        """An entry of one SHORT."""
        if self.big:
            return struct.pack(self.order + "HHQHHI", tag, 3, 1, value, 0, 0)
        return struct.pack(self.order + "HHIHH", tag, 3, 1, value, 0)

    def replaced(self, entries: list[bytes]) -> bytes:
        """The file with another first directory, behind all else, and none after it."""
        order, big = self.order, self.big
        padding = b"\0" * (-len(self.data) % 8)
        start = len(self.data) + len(padding)
        body = struct.pack(order + ("Q" if big else "H"), len(entries)) + b"".join(entries)
        body += struct.pack(order + ("Q" if big else "I"), 0)
        header = (
            self.data[:8] + struct.pack(order + "Q", start) if big else self.data[:4] + struct.pack(order + "I", start)
        )
        return header + self.data[len(header) :] + padding + body

    def changed(self, changes: Mapping[int, int]) -> bytes:
        """The file with other values, one SHORT each, for some tags."""
        entries = {self.tag(at): self.data[at : at + self.entry_bytes] for at in self.entries}
        entries |= {tag: self.entry(tag, value) for tag, value in changes.items()}
        return self.replaced([entries[tag] for tag in sorted(entries)])
