from __future__ import annotations

import io
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from retrieval.formats import (
    ARCHIVE,
    ARRAY,
    AVIF,
    DICOM,
    GIF,
    HEIC,
    UNDECODED,
    VIDEO,
    UndecodedFormat,
    decodes_heic,
    format_of_content,
    format_of_name,
)
from retrieval.images import BrokenPictureError, UnknownFormatError, decode

STUB = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(80)
"""A HEIC file's first box and nothing behind it."""


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return out.getvalue()


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("a/IMG_1.HEIC", HEIC),
        ("a.b.heif", HEIC),
        ("a.avif", AVIF),
        ("polyps.tar.gz", ARCHIVE),
        ("polyps.TGZ", ARCHIVE),
        ("x.7z", ARCHIVE),
        ("film.MP4", VIDEO),
        ("a.dcm", DICOM),
        ("a.jpg", None),
        ("heic", None),
        ("", None),
    ],
)
def test_formats_are_told_by_their_ending(file: str, kind: UndecodedFormat | None) -> None:
    assert format_of_name(file) is kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (STUB, HEIC),
        (b"\0\0\0\x1cftypavif", AVIF),
        (b"\0\0\0\x18ftypmp42", VIDEO),
        (b"RIFF\0\0\0\0AVI LIST", VIDEO),
        (b"GIF89a", GIF),
        (b"\0" * 128 + b"DICM", DICOM),
        (b"\x1f\x8b\x08", ARCHIVE),
        (tar()[:265], ARCHIVE),
        (b"\x93NUMPY", ARRAY),
        (b"\xff\xd8\xff", None),
        (b"", None),
    ],
)
def test_formats_are_told_by_their_first_bytes(head: bytes, kind: UndecodedFormat | None) -> None:
    assert format_of_content(head) is kind


def test_every_format_has_a_remedy_and_a_plural() -> None:
    assert [HEIC.counted(1), HEIC.counted(1200), ARRAY.counted(2)] == [
        "a HEIC file",
        "1,200 HEIC files",
        "2 files of arrays",
    ]
    for kind in UNDECODED:
        assert "them" not in kind.advised()
        assert kind.noun.startswith(("a ", "an "))


def test_a_picture_of_a_format_that_is_not_decoded_is_told_as_what_it_is() -> None:
    out = io.BytesIO()
    Image.new("RGB", (20, 16)).save(out, "GIF")
    with pytest.raises(UnknownFormatError, match="it is a GIF file: convert it to JPEG or PNG"):
        decode(out.getvalue())


def test_without_pillow_heif_the_remedy_is_to_convert_or_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert not decodes_heic()
    with pytest.raises(UnknownFormatError, match="a HEIC file: convert it to JPEG or PNG, or install pillow-heif"):
        decode(STUB)


def test_with_pillow_heif_heic_is_decoded_upright() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    assert decodes_heic()
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24] = (200, 40, 30)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=95, exif=exif.tobytes())
    picture = decode(out.getvalue())
    upright = np.asarray(picture.upright()).astype(int)
    assert (picture.format, upright.shape) == ("HEIF", (64, 48, 3))
    assert np.abs(upright[:, 30:].mean((0, 1)) - (200, 40, 30)).max() < 6
    assert upright[:, :18].max() < 12


def test_a_damaged_heic_is_a_damaged_picture() -> None:
    pytest.importorskip("pillow_heif")
    with pytest.raises(BrokenPictureError, match="no picture can be read from the HEIC file; convert it"):
        decode(STUB)
