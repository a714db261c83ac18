"""TIFF over colour model, bit depth, byte order, layout and compression, against tifffile, a decoder of its own."""

from __future__ import annotations

import io
import itertools
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import PictureError
from retrieval.images import UnsupportedPixelsError, decode, probe, upright_size
from retrieval.metadata import without_metadata

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

HEIGHT, WIDTH = 40, 56
Y, X = np.mgrid[:HEIGHT, :WIDTH]


def samples(channels: int, bits: int) -> NDArray[Any]:
    """(h, w, c) or (h, w) values over the whole range of a depth."""
    planes = [(X * (c + 2) * 5 + Y * (3 + c) * 3) % 256 / 255 for c in range(channels)]
    array = np.round(np.stack(planes, -1) * ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    return array if channels > 1 else array[..., 0]


def high_byte(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """As Java shows deep pixels; few bits fill the range."""
    if bits < 8:
        return np.round(array.astype(float) * 255 / ((1 << bits) - 1))
    return array >> (bits - 8)


def shown(array: NDArray[Any], bits: int, model: str) -> NDArray[np.uint8]:
    """The RGB that a picture of these samples must give."""
    top = (1 << bits) - 1
    if model in ("minisblack", "miniswhite"):
        grey = high_byte(top - array if model == "miniswhite" else array, bits)
        return np.stack([grey] * 3, -1).astype(np.uint8)
    values = high_byte(array, bits).astype(float)
    if model == "separated":  # ink: white less cyan, magenta and yellow, less black
        return np.round((255 - values[..., :3]) * (255 - values[..., 3:]) / 255).astype(np.uint8)
    if model == "rgba":  # over black
        return np.round(values[..., :3] * values[..., 3:] / 255).astype(np.uint8)
    return values[..., :3].astype(np.uint8)


def written(array: NDArray[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, metadata=None, **options)
    return out.getvalue()


MODELS = {
    "minisblack": (1, {"photometric": "minisblack"}),
    "miniswhite": (1, {"photometric": "miniswhite"}),
    "rgb": (3, {"photometric": "rgb"}),
    "rgba": (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "rgbx": (4, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    "separated": (4, {"photometric": "separated"}),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
def test_every_model_depth_order_and_compression(model: str, bits: int, order: str, big: bool) -> None:
    channels, options = MODELS[model]
    array = samples(channels, bits)
    expected = shown(array, bits, "rgb" if model == "rgbx" else model).astype(int)
    layouts = [
        (None, None, None),
        ("packbits", None, None),
        *itertools.product(("lzw", "zlib"), (None, 2), (None, (16, 16))),
    ]
    for compression, predictor, tile in layouts:
        kind = {"compression": compression, "predictor": predictor, "tile": tile, "byteorder": order, "bigtiff": big}
        data = written(array, **options, **kind)
        assert np.abs(decode(data).pixels() - expected).max() <= 2, kind
        assert probe(data) == (WIDTH, HEIGHT, "TIFF")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
def test_channels_stored_each_for_itself(bits: int, order: str, compression: str | None, tile: Any) -> None:
    array = samples(3, bits)
    planar = np.ascontiguousarray(array.transpose(2, 0, 1))
    options = {"photometric": "rgb", "planarconfig": "separate", "byteorder": order, "compression": compression}
    data = written(planar, tile=tile, rowsperstrip=None if tile else 7, **options)
    assert np.array_equal(decode(data).pixels(), shown(array, bits, "rgb"))


PLANES = {
    "grey, alpha": (2, {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    "grey, multiplied alpha": (2, {"photometric": "minisblack", "extrasamples": ["assocalpha"]}),
    "rgba": MODELS["rgba"],
    "rgb, multiplied alpha": (4, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    "separated": MODELS["separated"],
}


@pytest.mark.parametrize("model", PLANES)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_further_channels_stored_each_for_itself(model: str, bits: int, order: str) -> None:
    channels, options = PLANES[model]
    array = samples(channels, bits)
    values = high_byte(array, bits).astype(float)
    colours = values[..., :3] if channels == 4 else np.repeat(values[..., :1], 3, -1)
    alpha = values[..., -1:] / 255
    if model == "separated":
        expected = (255 - colours) * (1 - alpha)
    else:
        expected = colours if "multiplied" in model else colours * alpha
    planar = np.ascontiguousarray(array.transpose(2, 0, 1))
    for compression, predictor, tile in ((None, None, None), ("lzw", 2, None), ("zlib", None, (16, 16))):
        kind = {"compression": compression, "predictor": predictor, "tile": tile, "byteorder": order}
        if (bits, channels) == (16, 2):  # which Pillow does not open
            with pytest.raises(UnsupportedPixelsError, match="grey, 2 samples of 16 bits"):
                decode(written(planar, planarconfig="separate", **options, **kind))
            continue
        data = written(planar, planarconfig="separate", **options, **kind)
        assert np.abs(decode(data).pixels() - np.round(expected)).max() <= 2, kind


def test_grey_that_is_multiplied_by_its_alpha_lies_over_black() -> None:
    array = samples(2, 8)
    data = written(array, photometric="minisblack", extrasamples=["assocalpha"], planarconfig="contig")
    assert np.array_equal(decode(data).pixels(), np.repeat(array[..., :1], 3, -1))


def test_a_profile_of_channels_stored_each_for_itself_is_applied() -> None:
    from PIL import ImageCms

    array = samples(3, 8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tXYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tXYZ", b"bXYZ", 1)
    tags = [(34675, 7, len(swapped), swapped, True)]
    contiguous = written(array, photometric="rgb", extratags=tags)
    planar = np.ascontiguousarray(array.transpose(2, 0, 1))
    for bits in (8, 16):
        deep = planar.astype(np.uint16) * 257 if bits == 16 else planar
        data = written(deep, photometric="rgb", planarconfig="separate", extratags=tags)
        assert np.array_equal(decode(data).pixels(), decode(contiguous).pixels())
    assert not np.array_equal(decode(contiguous).pixels(), array)


@pytest.mark.parametrize("compression", ["webp", "lerc", "jpegxl", "jpeg2000"])
def test_a_compression_that_is_not_decoded_is_told_as_such(compression: str) -> None:
    data = written(samples(3, 8), photometric="rgb", compression=compression)
    with pytest.raises(UnsupportedPixelsError, match=r"a TIFF that cannot be decoded .* compression"):
        decode(data)


def test_lab_is_turned_into_rgb() -> None:
    from PIL import ImageCms

    smooth = np.stack([80 + X * 2, 90 + Y * 2, 70 + (X + Y)], -1).astype(np.uint8)
    kinds = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    lab = ImageCms.profileToProfile(Image.fromarray(smooth), *kinds, outputMode="LAB")
    out = io.BytesIO()
    assert lab is not None
    lab.save(out, "TIFF")
    assert np.abs(decode(out.getvalue()).pixels().astype(int) - smooth).max() <= 6


def tiff(
    array: NDArray[Any], photometric: int | None, bits: int, order: str = "<", body: bytes | None = None, **tags: Any
) -> bytes:
    """A TIFF of one uncompressed strip, written by hand. tags: number -> (field type, values)."""
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    data = body if body is not None else packed(array, bits) if bits < 8 or bits == 12 else (
        array.astype(f"{order}u{max(1, bits // 8)}").tobytes()
    )  # fmt: skip
    entries: dict[int, tuple[int, tuple[int, ...]]] = {
        256: (4, (width,)), 257: (4, (height,)), 258: (3, (bits,) * channels), 259: (3, (1,)), 273: (4, (8,)),
        277: (3, (channels,)), 278: (4, (height,)), 279: (4, (len(data),)),
    }  # fmt: skip
    if photometric is not None:
        entries[262] = (3, (photometric,))
    entries |= {int(tag.removeprefix("t")): value for tag, value in tags.items()}
    start = 8 + len(data) + len(data) % 2
    behind, table = b"", []
    for tag, (kind, values) in sorted(entries.items()):
        value = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(value) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(behind)
            behind += value
            value = struct.pack(f"{order}I", place)
        table.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + value.ljust(4, b"\0"))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    directory = struct.pack(f"{order}H", len(table)) + b"".join(table) + bytes(4)
    return head + data + b"\0" * (len(data) % 2) + directory + behind


def packed(array: NDArray[Any], bits: int) -> bytes:
    """Rows of bits, the highest first, each row filled to a whole byte; the order is the same in every file."""
    rows = []
    for row in array:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows.append(bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8)))
    return b"".join(rows)


@pytest.mark.parametrize("model", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_of_every_depth_with_white_or_black_as_zero(model: str, bits: int, order: str) -> None:
    array = samples(1, bits)
    data = tiff(array, 0 if model == "miniswhite" else 1, bits, order)
    assert np.abs(decode(data).pixels() - shown(array, bits, model).astype(int)).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_black_is_zero_where_the_file_does_not_say(bits: int) -> None:
    """As libtiff has it, which every other viewer reads by."""
    array = samples(1, bits)
    assert np.array_equal(decode(tiff(array, None, bits)).pixels(), shown(array, bits, "minisblack"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("deep", [True, False], ids=["16-bit map", "8-bit map"])
def test_palettes_of_every_depth(bits: int, deep: bool) -> None:
    """Old software wrote colour maps of 8 bits, which are black if they are taken for 16."""
    array = samples(1, bits)
    colors = np.random.default_rng(bits).integers(0, 256, (3, 1 << bits))
    colors[0, 0] = 200  # so that the map of 1 bit is no accident
    data = tiff(array, 3, bits, t320=(3, tuple((colors * (257 if deep else 1)).ravel().tolist())))
    assert np.array_equal(decode(data).pixels(), colors[:, array].transpose(1, 2, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_told_and_the_pixels_are_as_stored(orientation: int) -> None:
    """As for every other format; Pillow would turn a TIFF by itself."""
    array = samples(3, 8)
    data = tiff(array, 2, 8, t274=(3, (orientation,)))
    picture = decode(data)
    assert picture.orientation == orientation
    assert np.array_equal(picture.pixels(), array)
    size = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
    assert upright_size(data) == size == picture.upright().size


@pytest.mark.parametrize(
    ("array", "options", "layout"),
    [
        (samples(2, 16), {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"},
         "grey, 2 samples of 16 bits, compression 1"),
        (samples(1, 8).astype(np.float16), {"photometric": "minisblack"}, "grey, 1 sample of 16 bits"),
        (samples(1, 8).astype(np.float64), {"photometric": "minisblack"}, "grey, 1 sample of 64 bits"),
        (samples(1, 8).astype(np.float32), {"photometric": "minisblack"}, r"mode F \(32 bit\)"),
        (samples(1, 8).astype(np.int32), {"photometric": "minisblack"}, r"mode I \(32 bit\)"),
        (samples(1, 8).astype(np.int16), {"photometric": "minisblack"}, "have no agreed range"),
        (samples(1, 7).astype(np.int8), {"photometric": "minisblack"}, "signed pixels have no agreed range"),
    ],
)  # fmt: skip
def test_pixels_without_a_faithful_form_are_told_as_what_they_are(
    array: NDArray[Any], options: dict[str, Any], layout: str
) -> None:
    for order in "<>":
        with pytest.raises(UnsupportedPixelsError, match=layout if order == "<" else None):
            decode(written(array, byteorder=order, **options))


def test_the_first_of_several_pages_counts_and_its_tags_stay() -> None:
    pages = [Image.fromarray(samples(3, 8)), Image.new("RGB", (9, 9))]
    out = io.BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    assert np.array_equal(decode(out.getvalue()).pixels(), samples(3, 8))
    bare = without_metadata(out.getvalue())
    assert bare is not None
    assert np.array_equal(decode(bare).pixels(), samples(3, 8))


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("samples_per_pixel", [0, 65535])
def test_an_impossible_number_of_channels_is_a_damaged_picture(planar: int, samples_per_pixel: int) -> None:
    data = tiff(samples(3, 8), 2, 8, t277=(3, (samples_per_pixel,)), t284=(3, (planar,)))
    with pytest.raises(PictureError):
        decode(data)
    with pytest.raises(PictureError):
        probe(data)


def test_a_damaged_tag_of_metadata_does_not_cost_the_picture() -> None:
    array = samples(3, 8)
    broken = {"t34665": (4, (0xFFFFFFF0,)), "t282": (3, (7,)), "t305": (4, (1, 2, 3)), "t34853": (4, (3,))}
    assert np.array_equal(decode(tiff(array, 2, 8, **broken)).pixels(), array)
