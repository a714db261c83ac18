from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from retrieval.errors import PictureError
from retrieval.headers import PictureTooLargeError
from retrieval.images import (
    BrokenPictureError,
    EmptyPictureError,
    Picture,
    UnknownFormatError,
    UnsupportedPixelsError,
    decode,
    decode_drafts,
    from_array,
    from_image,
    read,
    thumbnail,
    upright_size,
)

ORACLE = Path(__file__).resolve().parents[3] / "../shared/specs/lire-oracle"

FORMATS = ["JPEG", "PNG", "TIFF", "BMP", "WEBP"]
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def ramp(width: int = 48, height: int = 32) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 5, y * 7, (x + y) * 3], -1).astype(np.uint8))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand: header, further chunks, and one IDAT of unfiltered rows."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *(chunk(*pair) for pair in chunks), chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


# What is accepted


@pytest.mark.parametrize("kind", sorted(LOSSLESS))
def test_lossless_formats_give_their_very_pixels(kind: str) -> None:
    picture = decode(save(ramp(), kind, **LOSSLESS[kind]))
    assert (picture.width, picture.height, picture.format) == (48, 32, kind)
    assert picture.pixels().dtype == np.uint8
    assert np.array_equal(picture.pixels(), np.asarray(ramp()))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_jpegs_come_out_near_what_went_in(options: dict[str, Any]) -> None:
    picture = decode(save(ramp(), "JPEG", **options))
    difference = np.abs(picture.pixels().astype(int) - np.asarray(ramp()))
    assert picture.format == "JPEG"
    assert difference.mean() < 8


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(save(ramp(), "PNG"))
    assert read(path).format == "PNG"


def test_mpo_gives_its_first_picture() -> None:
    first, second = Image.new("RGB", (32, 24), (200, 0, 0)), Image.new("RGB", (32, 24), (0, 0, 200))
    picture = decode(save(first, "MPO", save_all=True, append_images=[second]))
    assert picture.pixels().mean((0, 1))[0] > 190


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    picture = decode(save(frames[0], kind, save_all=True, append_images=frames[1:], **LOSSLESS[kind]))
    assert np.array_equal(picture.pixels(), np.asarray(frames[0]))


def test_grey_and_black_and_white_become_rgb() -> None:
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert np.array_equal(decode(save(grey, "PNG")).pixels()[..., 2], np.asarray(grey))
    two = Image.fromarray(np.eye(9, dtype=bool))
    assert np.array_equal(decode(save(two, "PNG")).pixels()[..., 0], np.eye(9) * 255)


def test_16_bits_a_channel_keep_the_high_byte() -> None:
    values = (np.arange(6 * 8 * 3) * 450).astype(">u2").reshape(6, 8, 3)
    rgb = png(8, 6, 16, 2, b"".join(b"\0" + row.tobytes() for row in values))
    assert np.array_equal(decode(rgb).pixels(), values >> 8)
    grey = png(8, 6, 16, 0, b"".join(b"\0" + row.tobytes() for row in values[..., 0]))
    assert np.array_equal(decode(grey).pixels()[..., 1], values[..., 0] >> 8)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_tiffs_of_either_byte_order(order: str) -> None:
    values = (np.arange(64) * 1000).astype(np.uint16).reshape(8, 8)
    image = Image.fromarray(values.astype(f"{order}u2"))
    assert np.array_equal(decode(save(image, "TIFF")).pixels()[..., 0], values >> 8)


def test_palette_pictures_show_their_colours() -> None:
    image = ramp().quantize(8)
    assert np.array_equal(decode(save(image, "PNG")).pixels(), np.asarray(image.convert("RGB")))


def test_transparency_lies_over_black() -> None:
    rgba = Image.new("RGBA", (4, 2), (200, 100, 50, 255))
    rgba.putpixel((0, 0), (200, 100, 50, 0))
    rgba.putpixel((1, 0), (200, 100, 50, 128))
    pixels = decode(save(rgba, "PNG")).pixels()
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert np.allclose(pixels[0, 1], [100, 50, 25], atol=1)
    assert pixels[1, 3].tolist() == [200, 100, 50]


def test_a_transparent_palette_entry_lies_over_black() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 250, 0, 0])
    image.putdata([0, 1])
    pixels = decode(save(image, "PNG", transparency=1)).pixels()
    assert pixels[0].tolist() == [[9, 9, 9], [0, 0, 0]]


def test_grey_with_alpha_lies_over_black() -> None:
    image = Image.new("LA", (2, 1), (200, 255))
    image.putpixel((0, 0), (200, 0))
    assert decode(save(image, "PNG")).pixels()[0].tolist() == [[0, 0, 0], [200, 200, 200]]


def test_cmyk_is_ink() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow ink make red
    for kind in ("JPEG", "TIFF"):
        red, green, blue = decode(save(cmyk, kind)).pixels()[4, 4].tolist()
        assert red > 240
        assert green < 15
        assert blue < 15


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0))])
def test_orientations_that_keep_the_shape(orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (30, 20))
    image.putpixel((0, 0), (255, 255, 255))
    picture = decode(save(image, "PNG", exif=exif(orientation)))
    assert picture.orientation == orientation
    assert upright_size(save(image, "PNG", exif=exif(orientation))) == image.size
    assert np.asarray(picture.upright())[corner].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("orientation", "corner"), [(5, (0, 0)), (6, (0, -1)), (7, (-1, -1)), (8, (-1, 0))])
def test_orientations_that_turn_the_frame(orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (30, 20))
    image.putpixel((0, 0), (255, 255, 255))
    picture = decode(save(image, "PNG", exif=exif(orientation)))
    assert picture.pixels().shape == (20, 30, 3)  # as the file stores it
    assert picture.upright().size == upright_size(save(image, "PNG", exif=exif(orientation))) == (20, 30)
    assert np.asarray(picture.upright())[corner].tolist() == [255, 255, 255]


def exif(orientation: int) -> Image.Exif:
    fields = Image.Exif()
    fields[0x0112] = orientation
    return fields


def test_an_orientation_that_is_none_means_upright() -> None:
    assert decode(save(ramp(), "JPEG", exif=exif(99))).orientation == 1


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("damage", [b"Exif\0\0GARBAGE", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\0\0\0", b"Exif\0\0MM\0*"])
def test_damaged_exif_does_not_cost_the_picture(damage: bytes) -> None:
    picture = decode(save(ramp(), "JPEG", exif=damage))
    assert (picture.width, picture.orientation) == (48, 1)


def lab_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with the colorants of red and blue exchanged, so that red pixels must come out blue."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[:] = data.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    return bytes(data)


def test_an_embedded_profile_is_applied_to_jpeg_but_not_to_png_as_java_does() -> None:
    red = Image.new("RGB", (16, 16), (230, 20, 20))
    converted = decode(save(red, "JPEG", icc_profile=swapped_profile())).pixels()[8, 8]
    assert converted[2] > converted[0] + 100
    ignored = decode(save(red, "PNG", icc_profile=swapped_profile())).pixels()[8, 8]
    assert ignored.tolist() == [230, 20, 20]


@pytest.mark.parametrize("profile", [b"not a profile at all", lab_profile()], ids=["no profile", "of another mode"])
def test_a_profile_that_cannot_apply_leaves_the_pixels(profile: bytes) -> None:
    data = save(Image.new("RGB", (16, 16), (230, 20, 20)), "JPEG", icc_profile=profile)
    assert np.allclose(decode(data).pixels()[8, 8], [230, 20, 20], atol=3)


# What is refused, and what it is called


def test_no_bytes_are_an_empty_picture() -> None:
    with pytest.raises(EmptyPictureError, match="0 bytes"):
        decode(b"")


def test_text_is_no_picture() -> None:
    with pytest.raises(UnknownFormatError, match="JPEG, PNG, TIFF, BMP, WebP"):
        decode(b"<html>404 not found</html>" * 20)


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO"])
def test_formats_that_are_not_named_are_refused(kind: str) -> None:
    with pytest.raises(UnknownFormatError):
        decode(save(ramp(), kind))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_cut_off_is_broken_and_never_half_a_picture(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 80, 3), np.uint8))
    data = save(noise, kind)
    with pytest.raises((BrokenPictureError, UnknownFormatError)):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_a_picture_of_zero_size_is_refused(kind: str) -> None:
    data = bytearray(save(ramp(), kind))
    if kind == "PNG":
        data[16:20] = bytes(4)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        data[18:22] = bytes(4)
    with pytest.raises(EmptyPictureError, match=r"the picture has no pixels \(0x32\)"):
        decode(bytes(data))


def too_large(kind: str) -> bytes:
    """A file of a few bytes whose header claims 60,000 x 50,000 pixels, 3 gigapixels."""
    width, height = 60_000, 50_000
    if kind == "PNG":
        return png(width, height, 8, 2, b"")
    if kind == "BMP":
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54 + 100, 0, 0, 54) + head + bytes(100)
    if kind == "TIFF":
        small = bytearray(save(Image.new("RGB", (300, 200)), "TIFF"))
        at = struct.unpack_from("<I", small, 4)[0]
        for entry in range(struct.unpack_from("<H", small, at)[0]):
            place = at + 2 + 12 * entry
            tag = struct.unpack_from("<H", small, place)[0]
            if tag in (256, 257):
                struct.pack_into("<HHII", small, place, tag, 4, 1, width if tag == 256 else height)
        return bytes(small)
    data = bytearray(save(Image.new("RGB", (64, 64)), "JPEG"))
    at = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, height, width)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_the_limit_is_held_against_the_header_before_a_pixel_is_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pixels were decoded")

    data = too_large(kind)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", refuse)
    tracemalloc.start()
    try:
        with pytest.raises(PictureTooLargeError, match=r"60000x50000 is 3000\.0 megapixels; the limit is 64\.0"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_counts_pixels_and_admits_its_own_number() -> None:
    data = save(ramp(10, 10), "PNG")
    assert decode(data, max_pixels=100).width == 10
    with pytest.raises(PictureTooLargeError):
        decode(data, max_pixels=99)


def test_a_webp_above_the_limit_is_refused() -> None:
    with pytest.raises(PictureTooLargeError):
        decode(save(Image.new("RGB", (200, 100)), "WEBP"), max_pixels=19_999)


def test_a_bomb_of_compressed_text_is_skipped_and_never_unpacked() -> None:
    text = b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9)
    rows = b"".join(b"\0" + bytes(12) for _ in range(4))
    data = png(4, 4, 8, 2, rows, (b"zTXt", text))
    tracemalloc.start()
    try:
        assert not decode(data).pixels().any()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_a_pixel_have_no_agreed_range(mode: str) -> None:
    with pytest.raises(UnsupportedPixelsError, match="32 bit"):
        decode(save(Image.new(mode, (4, 4)), "TIFF"))


def test_reading_a_file_names_it_in_every_fault(tmp_path: Path) -> None:
    bad = tmp_path / "bad picture.jpg"
    bad.write_bytes(b"no picture")
    for path, error in ((bad, UnknownFormatError), (tmp_path, BrokenPictureError), (tmp_path / "gone", PictureError)):
        with pytest.raises(error) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")


# Fuzz: whatever the bytes, a picture or a PictureError


def only_picture_errors(data: bytes) -> None:
    try:
        picture = decode(data, max_pixels=1_000_000)
    except PictureError:
        return
    assert picture.pixels().shape[2] == 3
    assert picture.image.mode == "RGB"


MAGIC = [
    b"",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"II*\0\x08\0\0\0",
    b"MM\0*",
    b"BM",
    b"RIFF\x40\0\0\0WEBPVP8 ",
]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_picture_errors(magic: bytes, tail: bytes) -> None:
    only_picture_errors(magic + tail)


def samples() -> list[bytes]:
    small = ramp(24, 16)
    made = [save(small, kind) for kind in FORMATS]
    made += [save(small, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    made.append(save(small, "JPEG", progressive=True, exif=exif(6), icc_profile=swapped_profile()))
    made.append(save(small, "PNG", exif=exif(6), icc_profile=swapped_profile()))
    made.append(save(small.convert("CMYK"), "JPEG"))
    made.append(save(small.quantize(8), "PNG", transparency=1))
    made.append(save(small, "MPO", save_all=True, append_images=[small]))
    made.append(save(small, "WEBP", save_all=True, append_images=[small, small], exif=exif(3)))
    made.append(save(small, "PNG", save_all=True, append_images=[small, small]))
    return made


SAMPLES = samples()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")
@settings(max_examples=1200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    st.floats(0.2, 1),
    st.booleans(),
)
def test_mutated_pictures_raise_nothing_but_picture_errors(
    data: bytes, changes: list[tuple[float, int]], length: float, in_header: bool
) -> None:
    changed = bytearray(data)
    reach = min(len(data), 120) if in_header else len(data)
    for place, value in changes:
        changed[int(place * reach)] = value
    only_picture_errors(bytes(changed[: max(1, int(length * len(changed)))]))


# Drafts


def test_a_draft_is_never_smaller_than_asked_and_keeps_the_files_size() -> None:
    image = ramp(800, 600)
    picture = decode(save(image, "JPEG"), draft=(150, 150))
    assert (picture.width, picture.height) == (800, 600)
    assert picture.image.size == (200, 150)
    assert decode(save(image, "JPEG"), draft=(151, 151)).image.size == (400, 300)


def test_a_draft_is_for_jpeg_alone() -> None:
    assert decode(save(ramp(80, 60), "PNG"), draft=(10, 10)).image.size == (80, 60)


# Pictures that never were files


def test_arrays_and_pil_images_become_pictures() -> None:
    array = np.asarray(ramp())
    assert np.array_equal(from_array(array).pixels(), array)
    assert np.array_equal(from_array(array[..., 0]).pixels()[..., 1], array[..., 0])
    assert np.array_equal(from_array(array[::-1, ::-1]).pixels(), array[::-1, ::-1])
    rgba = ramp().convert("RGBA")
    assert np.array_equal(from_image(rgba).pixels(), array)
    assert rgba.mode == "RGBA"


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.int64), np.zeros(5, np.uint8)]
)
def test_arrays_that_are_no_picture_say_what_one_is(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(UnsupportedPixelsError, match=r"give \(h, w, 3\) or \(h, w\) uint8"):
        from_array(array)


def test_an_array_or_image_without_pixels_is_empty() -> None:
    with pytest.raises(EmptyPictureError):
        from_array(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(EmptyPictureError):
        from_image(Image.new("RGB", (0, 5)))


def test_a_thumbnail_is_upright_small_and_bare() -> None:
    data = save(ramp(400, 200), "JPEG", exif=exif(6), icc_profile=swapped_profile())
    small = Image.open(io.BytesIO(thumbnail(decode(data), 100)))
    assert small.size == (50, 100)
    assert not small.getexif()
    assert "icc_profile" not in small.info


def test_a_thumbnail_is_never_enlarged() -> None:
    assert Image.open(io.BytesIO(thumbnail(from_image(ramp(20, 10)), 100))).size == (20, 10)


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000), (3000, 2)])
def test_a_thin_picture_has_a_thumbnail_too(size: tuple[int, int]) -> None:
    small = Image.open(io.BytesIO(thumbnail(from_image(Image.new("RGB", size)), 100)))
    assert max(small.size) == 100
    assert min(small.size) >= 1


# Java's pixels


def oracle_cases() -> list[tuple[str, int]]:
    cases = {}
    for name in ("synthetic", "photos", "endoscopy"):
        path = ORACLE / f"{name}.json"
        if path.is_file():
            for image in json.loads(path.read_text())["images"]:
                if image["bufferedImageType"] == 5:
                    cases[image["file"]] = image["rgb_crc32"]
    return sorted(cases.items())


@pytest.mark.skipif(not ORACLE.is_dir(), reason=f"{ORACLE} is not here")
def test_pixels_are_those_that_java_decodes() -> None:
    cases = oracle_cases()
    assert len(cases) > 50
    assert {file: zlib.crc32(read(ORACLE / file).pixels().tobytes()) for file, _ in cases} == dict(cases)


def test_each_space_sees_its_own_draft_and_those_of_one_share_a_decoding() -> None:
    data = save(Image.new("RGB", (800, 600)), "JPEG")
    decoded: list[tuple[int, int] | None] = []

    def decode_at(draft: tuple[int, int] | None) -> Picture:
        decoded.append(draft)
        return decode(data, draft=draft)

    seen = decode_drafts(decode_at, {"one": (100, 100), "whole": None, "two": (100, 100), "three": (300, 300)})
    assert decoded == [(100, 100), None, (300, 300)]
    assert {space: picture.image.size for space, picture in seen.items()} == {
        "one": (200, 150),
        "whole": (800, 600),
        "two": (200, 150),
        "three": (400, 300),
    }
