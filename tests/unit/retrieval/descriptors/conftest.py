"""The drawn pictures whose values LIRE computed, and those values."""

from __future__ import annotations

import json
import lzma
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

DATA = Path(__file__).resolve().parents[3] / "data" / "lire"
SHARED = Path(__file__).resolve().parents[4] / ".." / "shared"


@cache
def lire() -> dict[str, Any]:
    return json.loads(lzma.decompress((DATA / "synthetic.json.xz").read_bytes()))


def _rgb(*channels):
    return np.stack(channels, -1).clip(0, 255).astype(np.uint8)


def _scope(width, height, seed, blobs=60):
    """Soft blobs, highlights and a black rim: what an endoscope's picture is like."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.full((height, width, 3), [150.0, 70, 55])
    for _ in range(blobs):
        cx, cy, s = random.uniform(0, width), random.uniform(0, height), random.uniform(0.02, 0.15) * width
        blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * s * s))
        picture += blob[..., None] * random.uniform(-50, 60, 3)
    for _ in range(12):
        cx, cy = random.uniform(0.2 * width, 0.8 * width), random.uniform(0.2 * height, 0.8 * height)
        picture[((x - cx) ** 2 + (y - cy) ** 2) < random.uniform(2, 7) ** 2] = 250
    rim = ((x - width / 2) ** 2 / (0.48 * width) ** 2 + (y - height / 2) ** 2 / (0.49 * height) ** 2) > 1
    picture[rim] = [4, 3, 5]
    return picture.clip(0, 255).astype(np.uint8)


@cache
def _noise():
    random = np.random.default_rng(20170620)
    sizes = [(160, 120), (33, 47), (39, 200), (200, 40), (79, 81), (80, 80), (5, 200), (3, 3), (16, 16)]
    pictures = {}
    for width, height in [*sizes, (64, 64), (65, 66)]:
        pictures[f"noise_{width}x{height}.png"] = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    low = random.integers(0, 24, (240, 320, 3)) + np.array([180, 90, 70])
    return pictures | {"noise_low_320x240.png": low.astype(np.uint8)}


def _pattern(name):
    y, x = np.mgrid[0:576, 0:720]
    across, down = x * 255 // 719, y * 255 // 575
    match name.split("_720x576")[0]:
        case "grad_h":
            return _rgb(across, across, across)
        case "grad_v":
            return _rgb(down, down, down)
        case "grad_rgb":
            return _rgb(across, down, (x + y) * 255 // 1294)
        case "hue_wheel":
            hsv = np.stack([across, 255 - down, np.full_like(x, 220)], -1).astype(np.uint8)
            return np.asarray(Image.frombytes("HSV", (720, 576), hsv.tobytes()).convert("RGB"))
        case "vstripes8" | "vstripes32" as stripes:
            v = ((x // int(stripes[8:])) % 2) * 255
            return _rgb(v, v, v)
        case "hstripes8" | "hstripes31" as stripes:
            v = ((y // int(stripes[8:])) % 2) * 200 + 20
            return _rgb(v, v // 2, v // 3)
        case "dstripes45":
            v = (((x + y) // 16) % 2) * 255
            return _rgb(v, v, v)
        case "dstripes135":
            v = (((x - y + 2000) // 23) % 2) * 180 + 40
            return _rgb(v, 255 - v, v)
        case "checker":
            v = (((x // 9) + (y // 7)) % 2) * 255
            return _rgb(v, v, v)
    raise KeyError(name)


SOLID = {
    "solid_black_720x576.png": (0, 0, 0),
    "solid_white_720x576.png": (255, 255, 255),
    "solid_grey128_320x240.png": (128, 128, 128),
    "solid_mucosa_633x531.png": (201, 112, 92),
    "solid_red_200x200.png": (255, 0, 0),
    "solid_green_81x79.png": (0, 255, 0),
    "solid_blue_40x39.png": (0, 0, 255),
    "solid_1x1.png": (10, 200, 30),
    "solid_2x2.png": (90, 20, 200),
    "solid_4x3.png": (90, 120, 20),
}
SCOPES = {
    "scope_720x576.png": (1, 60),
    "scope_1225x966.png": (2, 30),
    "scope_1920x1072.png": (3, 20),
    "scope_576x720.png": (4, 60),
    "scope_332x352.png": (5, 60),
    "scope_633x532.png": (6, 60),
    "mode_RGB_bmp_320x256.bmp": (7, 60),
}


@cache
def drawn(name: str):
    """The picture of that name, (h, w, 3) uint8, if this machine draws it as LIRE saw it."""
    width, height = map(int, name.rsplit("_", 1)[1].split(".")[0].split("x"))
    if name in SOLID:
        picture = np.full((height, width, 3), SOLID[name], dtype=np.uint8)
    elif name in SCOPES:
        picture = _scope(width, height, *SCOPES[name])
    elif name.startswith("jpeg"):
        with Image.open(DATA / name) as image:
            picture = np.asarray(image)
    else:
        picture = _noise()[name] if name.startswith("noise") else _pattern(name)
    expected = next(image["rgb_crc32"] for image in lire()["images"] if image["file"] == name)
    if zlib.crc32(np.ascontiguousarray(picture).tobytes()) != expected:
        pytest.skip(f"this machine draws or decodes {name} otherwise than the one on which LIRE saw it")
    return picture


@pytest.fixture(scope="session")
def oracle() -> dict[str, Any]:
    """LIRE's values for the drawn pictures."""
    return lire()


@pytest.fixture(scope="session")
def draw():
    """Name -> picture, (h, w, 3) uint8."""
    return drawn


@pytest.fixture(scope="session")
def shared_oracle() -> Path:
    """Folder with LIRE's values for endoscopy images and photographs."""
    folder = SHARED / "specs" / "lire-oracle"
    if not folder.exists():
        pytest.skip("needs ../shared/specs/lire-oracle")
    return folder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "picture_name" in metafunc.fixturenames:
        metafunc.parametrize("picture_name", [image["file"] for image in lire()["images"]])
