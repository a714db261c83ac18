"""Metadata never cost a picture: EXIF, profiles, comments and texts of any size and in any state."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from retrieval.images import (
    BrokenPictureError,
    UnexpectedPictureError,
    UnknownFormatError,
    decode,
    rejection,
    upright_size,
)
from retrieval.metadata import exif_orientation, jpeg_bits, without_metadata

SIDEWAYS = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""EXIF of one entry: orientation 6, a quarter turn."""
UNREADABLE = {
    "4 bytes": b"II*\0",
    "6 bytes": b"II*\0\x08\0",
    "2 bytes": b"MM",
    "1 byte": b"M",
    "none": b"",
    "zeroed": bytes(64),
    "begins at the directory": SIDEWAYS[8:],
    "a cut BigTIFF header": b"II+\0\x08\0\0\0",
    "a BigTIFF header": b"MM\0+\0\x08\0\0" + bytes(8),
    "offset behind the end": b"II*\0\xff\xff\xff\x7f",
    "endless count": b"MM\0*\0\0\0\x08\xff\xff",
    "text": b"not EXIF at all, but a sentence",
}


def waves(number: int = 0) -> Image.Image:
    y, x = np.mgrid[0:60, 0:80]
    return Image.fromarray(
        np.stack([127 + 100 * np.sin((x * (number + 2) + y * shift) / 25) for shift in (1, 3, 7)], 2).astype(np.uint8)
    )


def saved(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    waves().save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


def png(*extra: bytes) -> bytes:
    """A PNG with further chunks before its pixels."""
    data = saved("PNG")
    return data[:33] + b"".join(extra) + data[33:]


PIXELS = np.asarray(waves())


# EXIF


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "MPO"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_exif_that_cannot_be_read_means_orientation_1(kind: str, name: str) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {"dpi": (72, 72)}
    bare = decode(saved(kind, **options))
    picture = decode(saved(kind, exif=b"Exif\0\0" + UNREADABLE[name], **options))
    assert picture.orientation == 1
    assert np.array_equal(picture.pixels(), bare.pixels())
    assert upright_size(saved(kind, exif=b"Exif\0\0" + UNREADABLE[name], **options)) == (80, 60)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "MPO"])
def test_exif_that_can_be_read_turns_the_picture(kind: str) -> None:
    data = saved(kind, exif=b"Exif\0\0" + SIDEWAYS, **({} if kind == "WEBP" else {"dpi": (72, 72)}))
    assert decode(data).orientation == 6
    assert upright_size(data) == (60, 80)


def raw_profile(block: bytes) -> bytes:
    """A text chunk as ImageMagick writes EXIF into a PNG: hexadecimal, after its name and length."""
    return chunk(b"tEXt", b"Raw profile type exif\0\nexif\n" + b"%8d\n" % len(block) + block.hex().encode() + b"\n")


def test_exif_in_a_raw_profile_of_a_png() -> None:
    assert decode(png(raw_profile(b"Exif\0\0" + SIDEWAYS))).orientation == 6
    for damaged in (raw_profile(b"Exif\0\0II*\0"), chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  9\nzz\n")):
        picture = decode(png(damaged))
        assert picture.orientation == 1
        assert np.array_equal(picture.pixels(), PIXELS)


def with_exif(kind: str, *blocks: bytes) -> bytes:
    """A picture with several EXIF blocks in a row."""
    if kind == "JPEG":
        data = saved("JPEG", dpi=(72, 72))
        return data[:2] + b"".join(segment(0xE1, b"Exif\0\0" + block) for block in blocks) + data[2:]
    if kind == "PNG":
        return png(*(chunk(b"eXIf", block) for block in blocks))
    chunks = b"".join(b"EXIF" + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for b in blocks)
    data = saved("WEBP", exif=b"Exif\0\0" + bytes(8), lossless=True)  # which gives it an extended header
    return data[:4] + struct.pack("<I", len(data) + len(chunks) - 8) + data[8:30] + chunks + data[30:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_sound_exif_next_to_unreadable_exif_turns_the_picture(kind: str, name: str) -> None:
    for blocks in ((UNREADABLE[name], SIDEWAYS), (SIDEWAYS, UNREADABLE[name])):
        data = with_exif(kind, *blocks)
        assert decode(data).orientation == 6
        assert upright_size(data) == (60, 80)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_of_several_sound_exif_blocks_the_first_with_an_orientation_counts(kind: str) -> None:
    halfway, invalid = SIDEWAYS.replace(b"\x01\0\x06", b"\x01\0\x03"), SIDEWAYS.replace(b"\x01\0\x06", b"\x01\0\x09")
    no_orientation = SIDEWAYS.replace(b"\x01\x12", b"\x01\x13")
    assert decode(with_exif(kind, halfway, SIDEWAYS)).orientation == 3
    assert decode(with_exif(kind, no_orientation, invalid, SIDEWAYS, halfway)).orientation == 6


def test_exif_in_a_raw_profile_counts_where_the_file_is_decoded_without_its_metadata() -> None:
    packed = b"Raw profile type APP1\0\0" + zlib.compress(b"\nexif\n      32\n" + SIDEWAYS.hex().encode() + b"\n")
    for profile in (raw_profile(b"Exif\0\0" + SIDEWAYS), chunk(b"zTXt", packed)):
        assert decode(png(profile)).orientation == 6
        assert decode(png(chunk(b"iCCP", b"printer\0\0" + LONG), profile)).orientation == 6


# PNG chunks

LONG = zlib.compress(bytes(1_100_000))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"printer\0\0" + LONG),
        chunk(b"zTXt", b"Comment\0\0" + LONG),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + LONG),
        chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        chunk(b"tEXt", b"Comment\0hello", crc=7),
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b"\0" * 5),
        chunk(b"iCCP", b"no end of the name"),
        chunk(b"acTL", b"\0"),
        chunk(b"zTXt", b"Comment\0\0not zlib"),
        chunk(b"zTXt", b"Comment\0\x07" + LONG),
        b"".join(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000))) for _ in range(70)),
    ],
    ids=["iCCP", "zTXt", "iTXt", "tEXt", "crc", "pHYs", "gAMA", "cHRM", "iCCP cut", "acTL", "zlib", "method", "many"],
)
@pytest.mark.filterwarnings("ignore:Invalid APNG:UserWarning")
def test_a_chunk_of_metadata_is_skipped_whatever_is_in_it(extra: bytes) -> None:
    assert np.array_equal(decode(png(extra)).pixels(), PIXELS)
    turned = decode(png(extra, chunk(b"eXIf", SIDEWAYS)))
    assert turned.orientation == 6  # the metadata that can be read are


def test_a_bomb_of_metadata_is_never_unpacked() -> None:
    data = png(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(80_000_000), 9)))
    tracemalloc.start()
    try:
        assert np.array_equal(decode(data).pixels(), PIXELS)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_damaged_pixels_are_damaged_all_the_same() -> None:
    data = bytearray(png(chunk(b"zTXt", b"Comment\0\0" + LONG)))
    at = data.index(b"IDAT")
    data[at + 4 : at + 40] = bytes(36)
    with pytest.raises(BrokenPictureError, match="damaged or truncated"):
        decode(bytes(data))


# Segments of JPEG, chunks of WebP, tags of TIFF


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE0, b"JFIF"),
        segment(0xEE, b"Adobe"),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x02ab"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
        segment(0xE1, b"Exif\0\0" + b"II*\0"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"),
        segment(0xFE, b""),
        segment(0xEF, bytes(65000)),
    ],
)
def test_a_segment_of_a_jpeg_is_skipped_whatever_is_in_it(extra: bytes) -> None:
    data = saved("JPEG")
    expected = decode(data).pixels()
    assert np.array_equal(decode(data[:2] + extra + data[2:]).pixels(), expected)


def test_a_jpeg_whose_metadata_stop_the_decoder_keeps_its_orientation_and_profile() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved("JPEG", exif=b"Exif\0\0" + SIDEWAYS, icc_profile=profile)
    broken = data[:2] + segment(0xE0, b"JFIF") + data[2:]
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(broken), formats=["JPEG"])
    assert decode(broken).orientation == 6


def test_metadata_are_left_out_of_every_format() -> None:
    exif = b"Exif\0\0" + SIDEWAYS
    for kind, options in (("JPEG", {"comment": b"hello"}), ("PNG", {}), ("WEBP", {"xmp": b"<x/>", "lossless": True})):
        data = saved(kind, exif=exif, **options)
        bare = without_metadata(data)
        assert bare is not None
        assert (exif_orientation(data), exif_orientation(bare)) == (6, None)
        assert SIDEWAYS not in bare
        assert b"hello" not in bare
        assert len(bare) < len(data)
        assert np.array_equal(decode(bare).pixels(), decode(data).pixels())
    tiff = saved("TIFF", description="hello")
    stripped = without_metadata(tiff)
    assert stripped is not None
    assert Image.open(io.BytesIO(stripped)).tag_v2.get(270) is None  # type: ignore[attr-defined]
    assert np.array_equal(decode(stripped).pixels(), PIXELS)
    assert without_metadata(saved("BMP")) is None
    assert without_metadata(b"text") is None
    assert without_metadata(saved("JPEG")[:5]) is None


def test_bits_of_a_jpeg_are_told_from_its_header() -> None:
    assert jpeg_bits(saved("JPEG")) == 8
    assert jpeg_bits(saved("JPEG", progressive=True)) == 8
    assert jpeg_bits(saved("PNG")) is None
    assert jpeg_bits(saved("JPEG")[:20]) is None


# What goes wrong otherwise


def raising(error: BaseException) -> Callable[..., Any]:
    def broken(*_: object, **__: object) -> None:
        raise error

    return broken


@pytest.mark.parametrize("error", [struct.error("x"), KeyError("x"), RecursionError(), Warning("x"), AssertionError()])
def test_whatever_a_decoder_raises_is_a_picture_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("JPEG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", raising(error))
    with pytest.raises(BrokenPictureError):
        decode(data)


def test_exhausted_memory_is_no_damaged_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("JPEG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", raising(MemoryError()))
    with pytest.raises(MemoryError):
        decode(data)


def test_an_error_of_our_own_is_no_damaged_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("JPEG")
    monkeypatch.setattr("retrieval.images.to_rgb", raising(KeyError("a slip of ours")))
    with pytest.raises(KeyError):
        decode(data)


def test_what_a_run_notes_of_a_picture_that_failed() -> None:
    foreseen = UnknownFormatError("text")
    assert rejection(foreseen) is foreseen
    unexpected = rejection(ZeroDivisionError("division by zero"))
    assert isinstance(unexpected, UnexpectedPictureError)
    assert str(unexpected) == "unexpected ZeroDivisionError: division by zero"
    with pytest.raises(MemoryError):
        rejection(MemoryError())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["indexer.embedding.decode", "indexer.embedding.small_grey"])
def test_a_run_goes_on_after_a_picture_that_nobody_foresaw(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_spec: str
) -> None:
    from importlib import import_module

    from indexer.datasets import open_dataset
    from indexer.run import run_dataset
    from retrieval.collection import CollectionWriter

    folder = tmp_path / "data" / "waves"
    folder.mkdir(parents=True)
    for number in range(4):
        waves(number).save(folder / f"{number}.png")
    module, _, name = where.rpartition(".")
    real, calls = getattr(import_module(module), name), iter(range(99))

    def sometimes(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 2:
            raise ZeroDivisionError("division by zero")
        return real(*arguments, **options)

    monkeypatch.setattr(where, sometimes)
    with open_dataset(tmp_path / "data") as dataset, CollectionWriter(tmp_path / "c", create=True) as writer:
        run = run_dataset(dataset, writer, encoders=(tiny_spec,))
        assert run.outcome.added == 3
        assert [reason for _, reason in run.outcome.rejected] == ["unexpected ZeroDivisionError: division by zero"]
        assert run.exit_status == 1
