"""TIFF files as Pillow must be given them: what it reads otherwise than libtiff is rewritten in the first directory.

TIFF 6.0 (Adobe, 1992) and BigTIFF; a directory is a list of entries, each a tag, a field type, a count and values.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _PLANAR = 273, 274, 277, 279, 284
_COLORMAP, _TILES, _TILE_BYTES, _EXTRA, _FORMAT = 320, 324, 325, 338, 339
_UNCOMPRESSED, _CCITT = 1, (2, 3, 4)
_DECODED = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}
"""Compressions that Pillow's libtiff decodes: TIFF 6.0, Deflate, LZMA and Zstandard."""
_OF_PLANES = {1, 5, 8, 32773, 32946}
"""Compressions in which each channel that is stored for itself can be decoded alone: none, LZW, Deflate, PackBits."""
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _SEPARATED = 0, 1, 2, 3, 5
_UNASSOCIATED_ALPHA = 2
_PHOTOMETRICS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIE L*a*b*"}
# fmt: off
_PIXEL_TAGS = frozenset((
    254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325,
    332, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532,
))
# fmt: on
"""Tags that the pixels depend on, the orientation among them: TIFF 6.0, appendix A, and Technical Note 2 (JPEG)."""
_PROFILE = 34675
_CODES = {1: "s", 2: "s", 3: "H", 4: "I", 5: "II", 6: "s", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
_CODES |= {16: "Q", 17: "q", 18: "Q"}
"""`struct` codes of one value by field type; 16 to 18 are BigTIFF's. Millions of bytes are one value."""
_BYTES = frozenset((1, 2, 6, 7))
_CLASSIC = {16: 4, 17: 9, 18: 13}
"""Field type of classic TIFF in place of BigTIFF's: LONG, SLONG, IFD."""


@dataclass(frozen=True)
class TiffPicture:
    """A TIFF file that Pillow decodes without turning, inverting or misreading it.

    data: the file for Pillow. planes: where each channel must be decoded as a grey picture, their files; model: of
    these, `L`, `LA`, `RGB`, `RGBA` or `CMYK`.
    bits: of a sample. inverted: whether grey values above 8 bits have white as 0. orientation: 1..8.
    colors: the values of an 8-bit colour map, which old software wrote in place of a 16-bit one.
    layout: bits, samples and colour model in words. decoded: whether its compression is one that is decoded.
    """

    data: bytes
    planes: tuple[bytes, ...] = ()
    model: str = ""
    bits: int = 8
    inverted: bool = False
    orientation: int = 1
    colors: bytes | None = None
    layout: str = ""
    signed: bool = False
    decoded: bool = True


def tiff_picture(data: bytes) -> TiffPicture | None:
    """How a TIFF is to be decoded; None for another file, or one whose directory cannot be read.

    Pillow turns TIFFs by their orientation, which other formats leave to the caller; does not invert 12 and 16 bits
    with white as 0; takes white as 0 where the file does not say (libtiff: black, but for CCITT compressions); reads
    planes of 16 bits without compression as bytes and knows no planes with a further channel; and does not read BigTIFF
    or 12 bits in big-endian order.
    """
    try:
        directory = TiffDirectory.first(data)
        return None if directory is None else _picture(directory)
    except (struct.error, OverflowError, IndexError):
        return None


def _picture(directory: TiffDirectory) -> TiffPicture:
    orientation = directory.number(_ORIENTATION, 1)
    bits = directory.values(_BITS) or (1,)
    samples = directory.number(_SAMPLES, 1)
    photometric = directory.values(_PHOTOMETRIC)
    compression = directory.number(_COMPRESSION, _UNCOMPRESSED)
    grey = samples == 1 and photometric in ((), (_WHITE_IS_ZERO,), (_BLACK_IS_ZERO,))
    deep = bits[0] in (12, 16)
    inverted = grey and deep and photometric == (_WHITE_IS_ZERO,)
    changes: dict[int, tuple[int, ...]] = {}
    if orientation != 1:
        changes[_ORIENTATION] = (1,)
    if inverted or (grey and not photometric and compression not in _CCITT):
        changes[_PHOTOMETRIC] = (_BLACK_IS_ZERO,)
    order = "<" if grey and bits[0] == 12 else directory.order  # packed bits have no byte order
    classic = (directory.big and directory.order == ">") or order != directory.order
    model = _model_of_planes(directory, photometric, samples) if compression in _OF_PLANES else ""
    planes: tuple[bytes, ...] = ()
    if model and samples > 1 and set(bits) in ({8}, {16}) and directory.number(_PLANAR, 1) == 2:
        planes = directory.planes(len(model))
    name = _PHOTOMETRICS.get(photometric[0] if photometric else 1, f"colour model {photometric[:1]}")
    colors = directory.values(_COLORMAP) if photometric == (_PALETTE,) else ()
    return TiffPicture(
        directory.rewritten(changes, order) if changes or classic else directory.data,
        planes,
        model,
        bits[0],
        inverted,
        orientation if orientation in range(1, 9) else 1,
        bytes(colors) if colors and max(colors) < 256 else None,
        f"{name}, {samples} sample{'s' * (samples != 1)} of {bits[0]} bits, compression {compression}",
        directory.number(_FORMAT, 1) == 2,
        compression in _DECODED,
    )


def _model_of_planes(directory: TiffDirectory, photometric: tuple[int, ...], samples: int) -> str:
    """Pillow's mode of channels that are stored each for itself; empty where there is none.

    Of further channels one counts: alpha that the colours are not multiplied by. Multiplied ones lie over black as they
    are.
    """
    model = {_BLACK_IS_ZERO: "L", _RGB: "RGB", _SEPARATED: "CMYK"}.get(photometric[0] if photometric else -1, "")
    if not model or samples < len(model):
        return ""
    has_alpha = directory.values(_EXTRA)[:1] == (_UNASSOCIATED_ALPHA,)
    return model + "A" * (has_alpha and samples > len(model) and model != "CMYK")


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
        if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return None
        order, big = "<" if data.startswith(b"II") else ">", b"+" in data[2:4]
        at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
        count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
        first, step = at + (8 if big else 2), 20 if big else 12
        count = min(count, max(0, (len(data) - first) // step))
        return TiffDirectory(data, order, big, range(first, first + step * count, step))

    def tag(self, at: int) -> int:
        """The tag of an entry."""
        number: int = struct.unpack_from(self.order + "H", self.data, at)[0]
        return number

    def values(self, wanted: int) -> tuple[int, ...]:
        """The whole numbers of a tag; none where it is absent or of another type. Raises struct.error."""
        for at in self.entries:
            if self.tag(at) == wanted:
                kind, values = self._read(at)
                if kind == 1:
                    return tuple(values[0])  # type: ignore[arg-type]
                return values if kind in (3, 4, 13, 16, 18) else ()
        return ()

    def extent(self) -> tuple[int, int]:
        """Bytes of the values of all entries together, and how many are no bytes. Raises struct.error."""
        shape, size, numbers = self.order + ("HQ" if self.big else "HI"), 0, 0
        for at in self.entries:
            kind, count = struct.unpack_from(shape, self.data, at + 2)
            if kind in _CODES and count <= len(self.data):
                size += count * struct.calcsize(self.order + _CODES[kind])
                numbers += 0 if kind in _BYTES else count
        return size, numbers

    def number(self, wanted: int, default: int) -> int:
        """The first number of a tag."""
        return (self.values(wanted) or (default,))[0]

    def _read(self, at: int) -> tuple[int, tuple[int, ...]]:
        """Field type and values of an entry; bytes and texts are one value. Raises struct.error, KeyError as such."""
        kind, count = struct.unpack_from(self.order + ("HQ" if self.big else "HI"), self.data, at + 2)
        if kind not in _CODES or count > len(self.data):
            return 0, ()
        shape = self.order + _shape(kind, count)
        place = at + (12 if self.big else 8)
        if struct.calcsize(shape) > (8 if self.big else 4):
            place = struct.unpack_from(self.order + ("Q" if self.big else "I"), self.data, place)[0]
        return kind, struct.unpack_from(shape, self.data, place)

    def rewritten(
        self, changes: Mapping[int, tuple[int, ...]], order: str | None = None, tags: Collection[int] | None = None
    ) -> bytes:
        """The file as classic TIFF with another first directory behind all else, and none after it.

        changes: new values of tags, as LONG, or none to leave a tag out. order: of the directory's numbers; that of
        the samples stays. tags: those to retain; None for all.
        """
        order = order or self.order
        fields: dict[int, tuple[int, tuple[int, ...]]] = {}
        for at in self.entries:
            tag = self.tag(at)
            if tags is None or tag in tags:
                kind, values = self._read(at)
                if kind:
                    fields[tag] = (_CLASSIC.get(kind, kind), values)
        fields |= {tag: (4, values) for tag, values in changes.items()}
        padding = b"\0" * (-len(self.data) % 4)
        start = len(self.data) + len(padding)
        table, behind = [], b""
        present = {tag: field for tag, field in sorted(fields.items()) if field[1]}
        for tag, (kind, values) in present.items():
            count = len(values[0]) if kind in _BYTES else len(values) // len(_CODES[kind])  # type: ignore[arg-type]
            packed = struct.pack(order + _shape(kind, count), *values)
            if len(packed) > 4:
                place = start + 2 + 12 * len(present) + 4 + len(behind)
                behind += packed + b"\0" * (len(packed) % 2)
                packed = struct.pack(order + "I", place)
            table.append(struct.pack(order + "HHI", tag, kind, count) + packed.ljust(4, b"\0"))
        directory = struct.pack(order + "H", len(table)) + b"".join(table) + bytes(4)
        header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
        return header + self.data[8:] + padding + directory + behind

    def pixels_only(self, profile: bool) -> bytes:
        """The file with only the tags that the pixels depend on. profile: with the colour profile."""
        return self.rewritten({}, tags=_PIXEL_TAGS | ({_PROFILE} if profile else set()))

    def planes(self, count: int) -> tuple[bytes, ...]:
        """The first channels of a file that stores each for itself, as files of one grey channel."""
        tiled = bool(self.values(_TILES))
        offsets, sizes = (_TILES, _TILE_BYTES) if tiled else (_STRIPS, _STRIP_BYTES)
        places, lengths = self.values(offsets), self.values(sizes)
        each = len(places) // self.number(_SAMPLES, 1)
        common: dict[int, tuple[int, ...]] = {
            _SAMPLES: (1,),
            _BITS: self.values(_BITS)[:1],
            _PHOTOMETRIC: (_BLACK_IS_ZERO,),
            _PLANAR: (1,),
            _ORIENTATION: (1,),
        }
        common |= {_EXTRA: (), _FORMAT: ()}
        return tuple(
            self.rewritten(
                common | {offsets: places[each * i : each * (i + 1)], sizes: lengths[each * i : each * (i + 1)]}
            )
            for i in range(count)
        )


def _shape(kind: int, count: int) -> str:
    """`struct` codes of values of a field type, without the byte order."""
    code = _CODES[kind]
    return f"{count}{code}" if len(code) == 1 else code * count
