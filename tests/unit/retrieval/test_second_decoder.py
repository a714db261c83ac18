"""PNG, BMP, JPEG and WebP over colour model, depth and layout, against known values or a decoder of its own."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.images import UnsupportedPixelsError, decode

HEIGHT, WIDTH = 37, 53
Y, X = np.mgrid[:HEIGHT, :WIDTH]
SMOOTH = np.stack([20 + X * 3, 30 + Y * 5, 60 + (X + Y)], -1).astype(np.uint8)
ALPHA = ((X * 5) % 256).astype(np.uint8)


def over_black(rgb: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.uint8]:
    return np.round(rgb * (alpha[..., None] / 255.0)).astype(np.uint8)


def near(data: bytes, expected: NDArray[Any], tolerance: int = 1) -> None:
    pixels = decode(data).pixels()
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


# PNG


def row_bytes(row: NDArray[Any], bits: int) -> bytes:
    if bits >= 8:
        return row.astype(f">u{bits // 8}").tobytes()
    text = "".join(format(int(value), f"0{bits}b") for value in row.ravel())
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


def png(array: NDArray[Any], bits: int, colour: int, chunks: list[tuple[bytes, bytes]], interlaced: bool) -> bytes:
    """A PNG written by hand, unfiltered, plain or in Adam7's seven passes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [array[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [array]
    body = b"".join(b"\0" + row_bytes(row, bits) for part in parts for row in part)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, int(interlaced))
    made = [chunk(b"IHDR", header), *(chunk(*pair) for pair in chunks), chunk(b"IDAT", zlib.compress(body))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made) + chunk(b"IEND", b"")


KINDS = [
    (0, 1),
    (0, 2),
    (0, 4),
    (0, 8),
    (0, 16),
    (2, 8),
    (2, 16),
    (3, 1),
    (3, 2),
    (3, 4),
    (3, 8),
    (4, 8),
    (4, 16),
    (6, 8),
    (6, 16),
]


@pytest.mark.parametrize("interlaced", [False, True], ids=["plain", "Adam7"])
@pytest.mark.parametrize("transparent", [False, True], ids=["opaque", "tRNS"])
@pytest.mark.parametrize(("colour", "bits"), KINDS)
def test_every_png_colour_type_and_depth(colour: int, bits: int, transparent: bool, interlaced: bool) -> None:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    top = (1 << bits) - 1
    array = np.stack(
        [(X * (c + 2) * (7 if bits < 16 else 1111) + Y * 5 * (c + 1)) % (top + 1) for c in range(channels)], -1
    )
    palette = np.random.default_rng(bits).integers(0, 256, (1 << min(bits, 8), 3), dtype=np.uint8)
    alphas = np.random.default_rng(9).integers(0, 256, 1 << min(bits, 8), dtype=np.uint8)
    chosen = array[5, 9]
    chunks = [(b"PLTE", palette.tobytes())] if colour == 3 else []
    if transparent and colour in (0, 2, 3):
        body = alphas.tobytes() if colour == 3 else struct.pack(f">{channels}H", *map(int, chosen))
        chunks.append((b"tRNS", body))
    eight = array >> 8 if bits == 16 else array * 255 // top
    if colour == 3:
        expected = palette[array[..., 0]].astype(np.uint8)
        expected = over_black(expected, alphas[array[..., 0]]) if transparent else expected
    elif colour in (4, 6):
        rgb = np.repeat(eight[..., :1], 3, -1) if colour == 4 else eight[..., :3]
        expected = over_black(rgb, eight[..., -1])
    else:
        expected = np.repeat(eight, 3, -1) if colour == 0 else eight
        if transparent:
            low = 8 if (colour, bits) == (2, 16) else 0  # Pillow keeps the upper 8 bits of RGB alone
            expected = np.where((array >> low == chosen >> low).all(-1, keepdims=True), 0, expected)
    near(png(array, bits, colour, chunks, interlaced), expected)


# BMP


def bmp(bits: int, body: bytes, *, compression: int = 0, palette: bytes = b"", masks: bytes = b"", header: int = 40,
        downwards: bool = False) -> bytes:  # fmt: skip
    height = -HEIGHT if downwards else HEIGHT
    head = struct.pack("<IiiHHIIiiII", header, WIDTH, height, 1, bits, compression, len(body), 2835, 2835, 0, 0)
    head += (masks + bytes(header - 40 - len(masks))) if header > 40 else masks
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body


def bmp_rows(array: NDArray[Any], bits: int, downwards: bool) -> bytes:
    rows = [row.tobytes() if bits >= 8 else row_bytes(row, bits) for row in (array if downwards else array[::-1])]
    return b"".join(row + b"\0" * (-len(row) % 4) for row in rows)


@pytest.mark.parametrize("downwards", [False, True])
def test_every_bmp_depth(downwards: bool) -> None:
    for bits in (1, 4, 8):
        array = ((X * 3 + Y * 5) % (1 << bits)).astype(np.uint8)
        palette = np.random.default_rng(bits).integers(0, 256, (1 << bits, 4), dtype=np.uint8)
        palette[:, 3] = 0
        body = bmp_rows(array, bits, downwards)
        near(bmp(bits, body, palette=palette.tobytes(), downwards=downwards), palette[array][..., 2::-1])
    bgr = np.ascontiguousarray(SMOOTH[..., ::-1])
    near(bmp(24, bmp_rows(bgr, 24, downwards), downwards=downwards), SMOOTH)
    unused = np.dstack([bgr, np.full((HEIGHT, WIDTH), 77, np.uint8)])
    near(bmp(32, bmp_rows(unused, 32, downwards), downwards=downwards), SMOOTH)
    red, green, blue = (SMOOTH[..., c].astype(int) for c in range(3))
    values = ((red >> 3) << 10 | (green >> 3) << 5 | blue >> 3).astype("<u2")
    near(bmp(16, bmp_rows(values, 16, downwards), downwards=downwards), SMOOTH, 8)
    values = ((red >> 3) << 11 | (green >> 2) << 5 | blue >> 3).astype("<u2")
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    near(bmp(16, bmp_rows(values, 16, downwards), compression=3, masks=masks, downwards=downwards), SMOOTH, 8)


def test_a_bmp_with_alpha_lies_over_black() -> None:
    body = bmp_rows(np.dstack([SMOOTH[..., ::-1], ALPHA]), 32, False)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    near(bmp(32, body, compression=3, masks=masks, header=124), over_black(SMOOTH, ALPHA))


def test_a_bmp_layout_that_cannot_be_decoded_is_told_as_such() -> None:
    masks = struct.pack("<III", 0xFF, 0xFF00, 0xFF0000)
    with pytest.raises(UnsupportedPixelsError, match="cannot be decoded: Unsupported BMP bitfields"):
        decode(bmp(32, bytes(4 * WIDTH * HEIGHT), compression=3, masks=masks))


# JPEG and WebP


@pytest.mark.parametrize("quality", [95, 50])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_against_another_decoder(quality: int, subsampling: int, progressive: bool) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    out = io.BytesIO()
    Image.fromarray(SMOOTH).save(out, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    near(out.getvalue(), imagecodecs.jpeg8_decode(out.getvalue()), 3)


@pytest.mark.parametrize("colourspace", ["CMYK", "YCCK"])
def test_four_channels_of_a_jpeg_are_ink_inverted_as_adobe_writes_them(colourspace: str) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    ink = np.dstack([SMOOTH, 255 - SMOOTH[..., 0]])
    data = imagecodecs.jpeg8_encode(ink, level=97, colorspace="CMYK", outcolorspace=colourspace)
    raw = imagecodecs.jpeg8_decode(data, outcolorspace="CMYK").astype(float)
    near(data, np.round(raw[..., :3] * raw[..., 3:] / 255), 4)


def test_a_jpeg_of_12_bits_is_told_as_such() -> None:
    out = io.BytesIO()
    Image.fromarray(SMOOTH).save(out, "JPEG")
    data = bytearray(out.getvalue())
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedPixelsError, match="a JPEG of 12 bits a channel; save it with 8"):
        decode(bytes(data))


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_webp_against_another_decoder(lossless: bool, alpha: bool) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    array = np.dstack([SMOOTH, ALPHA]) if alpha else SMOOTH
    data = imagecodecs.webp_encode(array, lossless=lossless, level=90)
    raw = imagecodecs.webp_decode(data)
    near(data, over_black(raw[..., :3], raw[..., 3]) if alpha else raw[..., :3], 2)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_bilevel_compressions_of_tiff_lose_nothing(compression: str) -> None:
    image = Image.fromarray(SMOOTH).convert("1")
    out = io.BytesIO()
    image.save(out, "TIFF", compression=compression)
    near(out.getvalue(), np.asarray(image.convert("RGB")), 0)


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr"])
def test_jpeg_within_tiff_against_another_decoder(mode: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    out = io.BytesIO()
    Image.fromarray(SMOOTH).convert(mode).save(out, "TIFF", compression="jpeg")
    raw = tifffile.imread(io.BytesIO(out.getvalue()))
    near(out.getvalue(), np.stack([raw] * 3, -1) if raw.ndim == 2 else raw, 3)
