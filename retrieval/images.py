"""Bytes -> picture: accepted formats, limits, and one error class for each thing that can be wrong.

The content says the format, never the file's name. The header is checked against the limits before any pixel
is decoded, so a small file that claims to be huge costs nothing, and Pillow never sees a file whose header would take
it seconds (retrieval.headers). Metadata never cost a picture: where Pillow cannot parse them, the file is decoded once
more without them, and EXIF that cannot be read means orientation 1.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from retrieval.errors import PictureError, RetrievalError
from retrieval.formats import HEAD_BYTES, HEIC, decodes_heic, format_of_content, register_heic
from retrieval.headers import BrokenPictureError, examine, require_size
from retrieval.metadata import exif_orientation, jpeg_bits, without_metadata
from retrieval.pixels import UnsupportedPixelsError, mend_png_transparency, merged, to_rgb
from retrieval.sources.address import remote_reason
from retrieval.tiff import TiffPicture, tiff_picture

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
"""Pillow's names of the formats that are decoded; MPO, a JPEG with more behind it, comes with JPEG."""
MAX_PIXELS = 64_000_000
"""Largest width x height that is decoded unless the caller says otherwise: 30 times the largest Kvasir frame."""


Draft = tuple[int, int] | None
"""(width, height) down to which a JPEG may be decoded for one encoder; None: full size."""
Region = tuple[float, float, float, float]
"""A part of an upright picture: left, top, width and height as fractions of its width and height."""

Result = TypeVar("Result")

_ORIENTATION = 0x0112
"""EXIF's and TIFF's tag."""

# MAX_PIXELS is checked against every header before a pixel is decoded; Pillow's own limit is a warning only.
Image.MAX_IMAGE_PIXELS = None


class EmptyPictureError(PictureError):
    """There are no bytes, or the picture has no pixels."""


class PictureNotFoundError(PictureError):
    """There is no file of this name; it may be a web address."""


class UnknownFormatError(PictureError):
    """The bytes are not a JPEG, PNG, TIFF, BMP or WebP picture."""


class UnexpectedPictureError(PictureError):
    """An unforeseen error ended the processing of one picture; its message names the error."""


class BadRegionError(PictureError):
    """A region lies outside the picture or is too small."""


FAR_EDGE = 1 + 1e-6
"""Where a region may end, as a fraction of the picture: that its numbers are rounded is no fault."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    image: 8-bit RGB as the file stores it, not turned by its orientation, which LIRE's descriptors ignore
    width, height: of the stored picture; `image` is smaller where a draft was decoded
    format: Pillow's name, empty for pixels that were no file
    orientation: EXIF's or TIFF's, 1..8
    """

    image: Image.Image
    width: int
    height: int
    format: str
    orientation: int = 1

    def bare(self) -> Image.Image:
        """The upright picture without comments, EXIF and profiles, which Pillow would write into a copy."""
        image = self.upright().copy()
        image.info = {}
        return image

    def pixels(self) -> NDArray[np.uint8]:
        """The stored pixels, (h, w, 3) uint8, C-contiguous."""
        return np.ascontiguousarray(self.image)

    def crop(self, region: Region) -> Picture:
        """The part of the upright picture that a region frames. Raises BadRegionError."""
        upright = self.upright()
        part = upright.crop(region_pixels(region, upright.size))
        return Picture(part, part.width, part.height, self.format)

    def upright(self) -> Image.Image:
        """The picture as a person sees it: turned by its EXIF orientation."""
        method = _TURNS.get(self.orientation)
        return self.image if method is None else self.image.transpose(method)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, draft: Draft = None) -> Picture:
    """Decode a picture file in memory.

    draft: a JPEG may be decoded at a half, a quarter or an eighth of its size, never below this. Never for descriptors.

    Grey, palette, CMYK and 16-bit pictures become RGB; transparency is laid over black, as LIRE does; of an
    animation the first frame counts; an embedded RGB profile other than sRGB is applied.

    Raises EmptyPictureError, UnknownFormatError, PictureTooLargeError, UnsupportedPixelsError, BrokenPictureError,
    CostlyPictureError.
    """
    return _first_decodable(data, max_pixels, lambda file: _decode(file, data, max_pixels, draft))


def _decode(file: bytes, complete: bytes, max_pixels: int, draft: Draft) -> Picture:
    """Decode a file; complete: with its metadata, which state the orientation."""
    tiff = _tiff_of(file)
    image = _open(file, tiff, max_pixels)
    width, height = image.size
    file_format = image.format or ""
    if tiff is not None and tiff.planes:
        with _pillow_errors():
            planes = [Image.open(io.BytesIO(plane), formats=FORMATS) for plane in tiff.planes]
            for plane in planes:
                plane.load()
        whole = merged(planes, tiff.model)
        whole.info = {name: value for name, value in image.info.items() if name == "icc_profile"}
        return Picture(to_rgb(whole), width, height, file_format, tiff.orientation)
    with _pillow_errors(_undecoded(tiff)):
        if draft is not None and file_format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
            image.draft(image.mode, draft)
        image.load()
    if file_format == "PNG":
        mend_png_transparency(image, file[:26])
    orientation = _orientation(image, complete) if tiff is None else tiff.orientation
    return Picture(to_rgb(image, tiff), width, height, file_format, orientation)


def decode_drafts(decode_at: Callable[[Draft], Picture], drafts: Mapping[str, Draft]) -> dict[str, Picture]:
    """One picture decoded for each space at the space's draft, once for all spaces with the same draft.

    A space never gets a larger draft of another space: its vector must not depend on the other spaces of a run.
    """
    decoded = {draft: decode_at(draft) for draft in dict.fromkeys(drafts.values())}
    return {space: decoded[draft] for space, draft in drafts.items()}


def small_draft(draft: Draft, region: Region | None) -> Draft:
    """The draft at which a picture is decoded whose region alone must have the pixels of a space's draft."""
    if draft is None or region is None:
        return draft
    side = round(max(draft) / max(min(region[2:]), 0.01))  # turned or not
    return side, side


def region_pixels(region: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in pixels of a region of an upright picture; size: (width, height).

    Raises BadRegionError.
    """
    left, top, width, height = region
    edges = (left, top, left + width, top + height)
    x0, y0, x1, y1 = (round(edge * side) for edge, side in zip(edges, size * 2, strict=True))
    inside = left >= 0 and top >= 0 and left + width <= FAR_EDGE and top + height <= FAR_EDGE
    if not inside or x1 - x0 < 8 or y1 - y0 < 8:
        raise BadRegionError(
            f"the region {list(region)} is not a part of the picture of at least 8x8 pixels; "
            "give left, top, width and height as fractions between 0 and 1"
        )
    return x0, y0, min(x1, size[0]), min(y1, size[1])


def upright_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height as a person sees the picture, from the header alone. Raises as `decode`."""

    def size(file: bytes) -> tuple[int, int]:
        tiff = _tiff_of(file)
        image = _open(file, tiff, max_pixels)
        orientation = _orientation(image, data) if tiff is None else tiff.orientation
        return (image.height, image.width) if orientation >= 5 else image.size  # a quarter turn, mirrored or not

    return _first_decodable(data, max_pixels, size)


def probe(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int, str]:
    """Width, height and format from the header alone; no pixel is decoded. Raises as `decode`."""

    def header(file: bytes) -> tuple[int, int, str]:
        image = _open(file, _tiff_of(file), max_pixels)
        return image.width, image.height, image.format or ""

    return _first_decodable(data, max_pixels, header)


def _first_decodable(data: bytes, max_pixels: int, attempt: Callable[[bytes], Result]) -> Result:
    """The attempt on the file as it is; where Pillow fails, on the file without metadata, last without its profile."""
    if not data:
        raise EmptyPictureError("the file is empty (0 bytes)")
    claim = examine(data, max_pixels)
    try:
        return attempt((without_metadata(data) if claim.excess else None) or data)
    except (UnknownFormatError, UnsupportedPixelsError, BrokenPictureError) as error:
        for profile in (True, False):
            bare = without_metadata(data, profile=profile)
            if bare is None:
                break
            try:
                return attempt(bare)
            except (UnknownFormatError, UnsupportedPixelsError, BrokenPictureError):
                continue
        raise error


def _tiff_of(data: bytes) -> TiffPicture | None:
    return tiff_picture(data) if data[:2] in (b"II", b"MM") else None


def _open(data: bytes, tiff: TiffPicture | None, max_pixels: int) -> Image.Image:
    if (stated := _stated_size(data)) and 0 in stated:  # which Pillow takes for an unknown format
        raise EmptyPictureError(f"the picture has no pixels ({stated[0]}x{stated[1]})")
    try:
        image = _identify(data if tiff is None else tiff.data)
    except UnknownFormatError:
        if tiff is not None and tiff.layout:
            raise UnsupportedPixelsError(_undecodable(tiff)) from None
        if (bits := jpeg_bits(data)) not in (None, 8):
            raise UnsupportedPixelsError(f"a JPEG of {bits} bits a channel; save it with 8") from None
        raise
    width, height = image.size
    if width < 1 or height < 1:
        raise EmptyPictureError(f"the picture has no pixels ({width}x{height})")
    require_size(width, height, max_pixels)
    return image


def _identify(data: bytes) -> Image.Image:
    kind = format_of_content(data[:HEAD_BYTES])
    formats: tuple[str, ...] = FORMATS
    if kind is HEIC and decodes_heic():
        register_heic()
        formats = ("HEIF",)
    try:
        with _pillow_errors():
            return Image.open(io.BytesIO(data), formats=formats)
    except UnknownFormatError as error:
        if formats != FORMATS:
            raise BrokenPictureError(
                "damaged or truncated: no picture can be read from the HEIC file; convert it to JPEG or PNG"
            ) from None
        if kind is not None:
            raise UnknownFormatError(f"{error}; it is {kind.noun}: {kind.advised()}") from None
        raise


def _stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a PNG (its IHDR) or a BMP (since version 3), else None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
    elif data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        return None
    return width, height


def read(path: Path, *, max_pixels: int = MAX_PIXELS, draft: Draft = None) -> Picture:
    """Decode a picture file; a fault names the file."""
    data = read_bytes(path)
    try:
        return decode(data, max_pixels=max_pixels, draft=draft)
    except PictureError as error:
        raise type(error)(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a picture file. Raises PictureNotFoundError, BrokenPictureError."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        if (reason := remote_reason(path)) or isinstance(error, FileNotFoundError):
            raise PictureNotFoundError(reason or f"{path}: there is no such file") from None
        raise BrokenPictureError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from error


def from_image(image: Image.Image) -> Picture:
    """A picture from a PIL image of any mode; it is not changed."""
    width, height = image.size
    if width < 1 or height < 1:
        raise EmptyPictureError(f"the picture has no pixels ({width}x{height})")
    with _pillow_errors():
        image.load()
    return Picture(to_rgb(image), width, height, image.format or "", _orientation(image))


def from_array(pixels: NDArray[np.generic]) -> Picture:
    """A picture from (h, w, 3) or (h, w) uint8 values."""
    array = np.asarray(pixels)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise UnsupportedPixelsError(
            f"an array of shape {array.shape} and type {array.dtype} is not a picture: give (h, w, 3) or (h, w) uint8"
        )
    if 0 in array.shape:
        raise EmptyPictureError(f"the picture has no pixels (shape {array.shape})")
    return from_image(Image.fromarray(array))


def rejection(error: Exception) -> RetrievalError:
    """The error to record for a picture that could not be decoded or embedded, so that the run can go on.

    Errors of this project as they are, anything that nobody foresaw as an UnexpectedPictureError; MemoryError is raised
    again, since the next picture would meet it as well.
    """
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, RetrievalError):
        return error
    unexpected = UnexpectedPictureError(f"unexpected {type(error).__name__}: {error}")
    unexpected.__cause__ = error
    return unexpected


def _undecodable(tiff: TiffPicture) -> str:
    return f"a TIFF that cannot be decoded ({tiff.layout}); save it as PNG"


def _undecoded(tiff: TiffPicture | None) -> str:
    return "" if tiff is None or tiff.decoded else _undecodable(tiff)


@contextmanager
def _pillow_errors(unsupported: str = "") -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged or hostile file into an error of this module, MemoryError excepted.

    Only around calls into Pillow: an error of our own code must not be reported as a damaged picture.
    unsupported: the reason where failing was to be expected, since the pixels are stored in a way that is not decoded.
    """
    try:
        yield
    except UnidentifiedImageError:
        raise UnknownFormatError("not a picture of a known format (JPEG, PNG, TIFF, BMP, WebP)") from None
    except MemoryError:
        raise
    except Exception as error:
        if unsupported:
            raise UnsupportedPixelsError(unsupported) from error
        if re.search(r"unsupported|not supported", str(error), re.IGNORECASE):
            raise UnsupportedPixelsError(f"its pixels are stored in a way that cannot be decoded: {error}") from error
        raise BrokenPictureError(f"damaged or truncated: {error}") from error


def _orientation(image: Image.Image, data: bytes = b"") -> int:
    """Orientation 1..8; 1 where none is stated or it cannot be read. data: the file that the image was opened from."""
    if (stated := exif_orientation(data)) is not None:
        return stated
    try:
        value = image.getexif().get(_ORIENTATION, 1)  # XMP's as well
    except MemoryError:
        raise
    except Exception:  # the parser raises anything on damaged EXIF, which says nothing of the pixels
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def thumbnail(picture: Picture, side: int) -> bytes:
    """A JPEG of the upright picture with its longer side at most `side`, free of comments, EXIF and profiles."""
    image = picture.bare()
    if max(image.size) > side:
        scale = side / max(image.size)
        # A frame thousands of times wider than high keeps one row.
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()
