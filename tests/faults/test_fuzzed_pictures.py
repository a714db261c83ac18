"""Whatever bytes a picture file has, it is a picture or a PictureError: mutated files of twelve formats.

By hand `pytest tests/faults/test_fuzzed_pictures.py --rounds 2000` tries so many of each format, and so many times ten
over HTTP.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageCms

from retrieval.errors import PictureError
from retrieval.images import decode, probe, upright_size

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

EXIF = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\x87\x69\0\4\0\0\0\x01\0\0\0\x26\0\0\0\0"
    + bytes(40)
)


def photograph() -> Image.Image:
    """A small picture with structure and noise."""
    y, x = np.mgrid[:40, :56]
    waves = np.stack([127 + 90 * np.sin(x / 5 + y / 9), 127 + 90 * np.cos(x / 7), 2.0 * (x + y)], -1)
    noise = np.random.default_rng(0).normal(0, 12, waves.shape)
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8))


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (image or photograph()).save(out, kind, **options)
    return out.getvalue()


def planar(pixels: np.ndarray) -> bytes:
    """A TIFF that stores each channel for itself, with alpha that the colours are not multiplied by."""
    out = io.BytesIO()
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    options = {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"], "compression": "lzw"}
    tifffile.imwrite(out, planes, metadata=None, **options)
    return out.getvalue()


def with_text(png: bytes) -> bytes:
    """A PNG with a text, a compressed text and EXIF, each of which a mutation may hit."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    texts = chunk(b"tEXt", b"Comment\0hello") + chunk(b"zTXt", b"Notes\0\0" + zlib.compress(bytes(3000)))
    return png[:33] + texts + chunk(b"eXIf", EXIF[6:]) + png[33:]


def formats() -> dict[str, bytes]:
    """One sound file of each format; most with EXIF and a colour profile."""
    image = photograph()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    deep = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)
    return {
        "jpeg": saved("JPEG", exif=EXIF, icc_profile=profile, dpi=(72, 72), comment=b"a comment"),
        "progressive jpeg": saved("JPEG", progressive=True, exif=EXIF),
        "cmyk jpeg": saved("JPEG", image.convert("CMYK")),
        "mpo": saved("MPO", image, save_all=True, append_images=frames[1:]),
        "png": with_text(saved("PNG", icc_profile=profile)),
        "palette png": saved("PNG", image.quantize(16), transparency=3),
        "tiff": saved("TIFF", exif=EXIF, icc_profile=profile),
        "deep tiff": saved("TIFF", deep, compression="tiff_lzw"),
        "jpeg tiff": saved("TIFF", compression="jpeg"),
        "planar tiff": planar(np.dstack([np.asarray(image), np.asarray(deep) >> 8]).astype(np.uint8)),
        "bmp": saved("BMP", image.quantize(16)),
        "webp": saved("WEBP", image, save_all=True, append_images=frames[1:], exif=EXIF, icc_profile=profile),
    }


FORMATS = formats()
CLIENTS = 3
"""Connections that upload at the same time."""
Mutation = Callable[[bytearray, np.random.Generator], None]


def flip_bits(data: bytearray, random: np.random.Generator) -> None:
    for _ in range(random.integers(1, 9)):
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))


def set_header(data: bytearray, random: np.random.Generator) -> None:
    for _ in range(random.integers(1, 5)):
        data[random.integers(min(len(data), 160))] = int(random.integers(256))


def set_number(data: bytearray, random: np.random.Generator) -> None:
    """A length, an offset or a size that is 0, 1, huge or off by one."""
    at = int(random.integers(max(1, len(data) - 4)))
    code = random.choice([">I", "<I", ">H", "<H"])
    width = struct.calcsize(code)
    old = struct.unpack_from(code, data, min(at, len(data) - width))[0]
    new = random.choice([0, 1, 8, 0x7FFF, 0xFFFF, old + 1, max(0, old - 1), old * 2])
    struct.pack_into(code, data, min(at, len(data) - width), int(new) % (1 << 8 * width))


def cut(data: bytearray, random: np.random.Generator) -> None:
    del data[int(random.integers(1, len(data))) :]


def leave_out(data: bytearray, random: np.random.Generator) -> None:
    at = int(random.integers(len(data)))
    del data[at : at + int(random.integers(1, 40))]


def repeat(data: bytearray, random: np.random.Generator) -> None:
    at, length = int(random.integers(len(data))), int(random.integers(1, 80))
    data[at:at] = data[at : at + length] * int(random.integers(1, 4))


def insert_noise(data: bytearray, random: np.random.Generator) -> None:
    at = int(random.integers(len(data)))
    data[at:at] = random.bytes(int(random.integers(1, 60)))


def splice(data: bytearray, random: np.random.Generator) -> None:
    other = list(FORMATS.values())[random.integers(len(FORMATS))]
    at = int(random.integers(min(len(data), len(other))))
    data[at:] = other[at:]


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, set_header, set_header, set_number, set_number),
    *(cut, leave_out, repeat, insert_noise, splice),
)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """One to three mutations of a file."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        if len(changed) > 8:
            MUTATIONS[random.integers(len(MUTATIONS))](changed, random)
    return bytes(changed)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_sound_file_is_a_picture(kind: str) -> None:
    assert decode(FORMATS[kind]).pixels().shape == (40, 56, 3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_mutated_file_is_a_picture_or_a_picture_error(
    kind: str, rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    random = np.random.default_rng([sorted(FORMATS).index(kind), 11])
    pictures, count = 0, rounds(200)
    for _ in range(count):
        data = mutated(FORMATS[kind], random)
        for read in (lambda data: decode(data, max_pixels=500_000), probe, upright_size):
            with contextlib.suppress(PictureError):
                read(data)
                pictures += 1
    assert pictures > 0
    tally(files=count, read_all_the_same=pictures)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_metadata_of_any_bytes_never_cost_a_picture(kind: str, rounds: Callable[[int], int]) -> None:
    """The EXIF block is noise, a mutation of a sound one, or of any length; the pixels are those of the bare file."""
    random = np.random.default_rng(5)
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    bare = decode(saved(kind, **options)).pixels()
    for _ in range(rounds(100)):
        block = mutated(EXIF, random) if random.integers(2) else b"Exif\0\0" + random.bytes(int(random.integers(0, 80)))
        picture = decode(saved(kind, exif=block, dpi=(72, 72), **options) if block else saved(kind, **options))
        assert np.array_equal(picture.pixels(), bare)
        assert picture.orientation in range(1, 9)


def form(fields: dict[str, str], files: list[bytes]) -> tuple[str, bytes]:
    """The content type and body of a form with pictures as its parts `image`."""
    head = b"--kvasir-part\r\nContent-Disposition: form-data; name="
    parts = [head + f'"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    parts += [head + b'"image"; filename="a"\r\n\r\n' + file + b"\r\n" for file in files]
    return "multipart/form-data; boundary=kvasir-part", b"".join(parts) + b"--kvasir-part--\r\n"


def upload(door: int, space: str, data: bytes) -> tuple[str, str, bytes]:
    """The address, content type and body of a search by a picture: as a body, in a form, in JSON, in both batches."""
    options = {"spaces": space, "k": "3"}
    text = base64.b64encode(data).decode()
    match door % 5:
        case 0:
            return f"/api/v1/search?spaces={space}&k=3", "image/jpeg", data
        case 1:
            return "/api/v1/search", *form(options, [data])
        case 2:
            search = {"image": text, "spaces": [space], "k": 3}
            return "/api/v1/search", "application/json", json.dumps(search).encode()
        case 3:
            return "/api/v1/search/batch", *form(options, [data])
        case _:
            batch = {"searches": [{"image": text}], "spaces": [space], "k": 3}
            return "/api/v1/search/batch", "application/json", json.dumps(batch).encode()


def send_uploads(url: str, space: str, seed: int, count: int) -> Counter[str]:
    """Send mutated pictures one after the other on one connection; returns the counts of their statuses."""
    counts = Counter({"5xx": 0, "resets": 0, "wrong": 0})
    address, random, kinds = httpx.URL(url), np.random.default_rng([12, seed]), list(FORMATS)
    with contextlib.closing(http.client.HTTPConnection(address.host, address.port, timeout=60)) as api:
        for number in range(count):
            data = mutated(FORMATS[kinds[random.integers(len(kinds))]], random)
            path, kind, body = upload(number, space, data)
            try:
                api.request("POST", path, body, {"Content-Type": kind})
                response = api.getresponse()
                said, status = json.loads(response.read()), response.status
            except (OSError, http.client.HTTPException):
                counts["resets"] += 1
                continue
            if path.endswith("batch") and status == 200:
                said = said["results"][0]
                status = said.get("status", 200)
            counts[str(status)] += 1
            counts["5xx"] += status >= 500
            counts["wrong"] += len(said["hits"]) != 3 if status == 200 else not said["detail"]
    return counts


def test_a_mutated_upload_has_hits_or_a_reason(
    served: Any, rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    each = 10 * rounds(24) // CLIENTS
    with httpx.Client(base_url=served.url, timeout=60) as api, ThreadPoolExecutor(CLIENTS) as clients:
        space = api.get("/api/v1/collection").json()["spaces"][-1]["name"]
        before = api.get("/api/v1/images/0/similar?k=10").json()["hits"]
        sent = clients.map(lambda seed: send_uploads(served.url, space, seed, each), range(CLIENTS))
        counts = Counter[str]()
        for one in sent:
            counts.update(one)
        assert api.get("/api/v1/images/0/similar?k=10").json()["hits"] == before
    tally(uploads=each * CLIENTS, **dict(sorted(counts.items())))
    assert (counts["5xx"], counts["resets"], counts["wrong"]) == (0, 0, 0)
    assert set(counts) <= {"200", "413", "415", "422", "5xx", "resets", "wrong"}
    assert '"level": "error"' not in served.log.read_text()
