"""Pictures as they are shown: the same pixels, and not a word of what their files said beside them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from web.served_picture import without_metadata


def test_a_progressive_jpeg_keeps_its_pixels_and_loses_its_words() -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    out = io.BytesIO()
    image.save(out, "JPEG", progressive=True, comment=b"secret", exif=_exif("secret"), quality=90)
    data, media_type = without_metadata(out.getvalue() + b"secret behind the end")
    assert media_type == "image/jpeg"
    assert b"secret" not in data
    before, after = (np.asarray(Image.open(io.BytesIO(one))) for one in (out.getvalue(), data))
    assert np.array_equal(before, after)


def test_a_jpeg_keeps_what_its_colours_need_and_no_word_behind_it() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 16, 4), dtype=np.uint8), "CMYK")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    out = io.BytesIO()
    image.save(out, "JPEG", icc_profile=profile)
    plain = out.getvalue()
    adobe = plain.index(b"Adobe")
    length = int.from_bytes(plain[adobe - 2 : adobe], "big")
    longer = (length + 6).to_bytes(2, "big") + plain[adobe : adobe + length - 2] + b"secret"
    words = b"".join(
        b"\xff" + marker + (2 + len(word)).to_bytes(2, "big") + word
        for marker, word in ((b"\xe0", b"AVI1secret"), (b"\xe2", b"FPXR\0secret"), (b"\xee", b"secret"))
    )
    data, _ = without_metadata(plain[:2] + words + plain[2 : adobe - 2] + longer + plain[adobe + length - 2 :])
    assert b"secret" not in data
    before, after = (Image.open(io.BytesIO(one)) for one in (plain, data))
    assert after.mode == "CMYK"
    assert np.array_equal(np.asarray(before), np.asarray(after))
    assert after.info["icc_profile"] == profile


def test_a_jpeg_with_a_small_picture_in_its_head_loses_that() -> None:
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    out = io.BytesIO()
    image.save(out, "JPEG")
    plain = out.getvalue()
    assert plain[2:11] == b"\xff\xe0\x00\x10JFIF\0"
    small = plain[6:18] + b"\x02\x01secret"
    data, _ = without_metadata(plain[:4] + (2 + len(small)).to_bytes(2, "big") + small + plain[20:])
    assert b"secret" not in data
    before, after = (np.asarray(Image.open(io.BytesIO(one))) for one in (plain, data))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_other_formats_become_plain_png(kind: str) -> None:
    image = Image.new("RGB", (20, 10), (200, 30, 40))
    out = io.BytesIO()
    image.save(out, kind, **({"exif": _exif("secret")} if kind != "BMP" else {}))
    data, media_type = without_metadata(out.getvalue())
    assert media_type == "image/png"
    assert b"secret" not in data
    assert Image.open(io.BytesIO(data)).size == (20, 10)


def _exif(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = text
    return exif
