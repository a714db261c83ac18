from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from indexer.near_duplicates.alignment import SAME, SIDE, similarity, small_grey
from retrieval.images import from_image

Draw = Callable[..., Image.Image]
Change = Callable[[Image.Image], Image.Image]
SIZE = (360, 288)
TISSUE = (220, 140, 120)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def part(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))


def blacked_out(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.paste((0, 0, 0), (0, round(0.65 * image.height), round(0.35 * image.width), image.height))
    return image


def alike(first: list[Image.Image], second: list[Image.Image]) -> list[float]:
    greys = (np.stack([small_grey(from_image(image)) for image in images]) for images in (first, second))
    values: list[float] = similarity(*greys).tolist()
    return values


CHANGES: dict[str, Change] = {
    "nothing": lambda image: image,
    "strong compression": lambda image: compressed(image, 30),
    "half size": lambda image: image.resize((180, 144)),
    "twice the size": lambda image: image.resize((720, 576)),
    "squashed to a square": lambda image: image.resize((300, 300)),
    "5 % cut off every side": lambda image: part(image, 0.05, 0.05, 0.05, 0.05),
    "5 % cut off at the left": lambda image: part(image, 0.05, 0, 0, 0),
    "5 % cut off at right and top": lambda image: part(image, 0, 0.05, 0.05, 0),
    "overlay blacked out": blacked_out,
    "darker": lambda image: image.point(lambda value: int(0.7 * value)),
    "brighter": lambda image: image.point(lambda value: min(255, int(1.2 * value + 15))),
    "less contrast": lambda image: image.point(lambda value: int(0.6 * value + 50)),
    "cut, darker and compressed": lambda image: compressed(
        part(image, 0.03, 0.02, 0.01, 0.02).point(lambda value: int(0.8 * value)), 50
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_the_same_picture(draw: Draw, change: str) -> None:
    originals = [draw(seed, TISSUE, SIZE) for seed in range(20)]
    copies = [CHANGES[change](image) for image in originals]
    assert np.mean(np.array(alike(originals, copies)) >= SAME) >= 0.95
    assert np.mean(np.array(alike(copies, originals)) >= SAME) >= 0.95


@pytest.mark.slow
def test_pictures_of_the_same_kind_are_not_the_same() -> None:
    def scene(seed: int) -> Image.Image:
        """A lumen that all share, with folds and texture of its own."""
        random = np.random.default_rng(seed)
        y, x = np.mgrid[-1:1:288j, -1:1:360j]
        grey = 60 + 110 * np.hypot(x - 0.1, y)
        for _ in range(30):
            fx, fy, phase = random.uniform(-12, 12, 3)
            grey += 6 * np.cos(fx * x + fy * y + phase)
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")

    values = alike([scene(seed) for seed in range(60)], [scene(seed + 1) for seed in range(60)])
    assert max(values) < SAME


def test_equal_pictures_are_fully_similar(draw: Draw) -> None:
    assert alike([draw(1, TISSUE, SIZE)], [draw(1, TISSUE, SIZE)]) == pytest.approx([1], abs=1e-4)


def test_what_is_black_or_plain_resembles_nothing() -> None:
    black, plain = Image.new("RGB", SIZE), Image.new("RGB", SIZE, (120, 80, 70))
    assert alike([black, plain, black], [black, plain, plain]) == [0, 0, 0]


def test_a_pair_has_the_same_similarity_in_any_company(draw: Draw) -> None:
    originals = [draw(seed, TISSUE, SIZE) for seed in range(7)]
    copies = [part(image, 0.04, 0, 0, 0.04) for image in originals]
    together = alike(originals, copies)
    alone = [alike([one], [other])[0] for one, other in zip(originals, copies, strict=True)]
    assert together == alone


def test_no_pairs_have_no_similarities() -> None:
    none = np.empty((0, SIDE, SIDE), np.uint8)
    assert similarity(none, none).shape == (0,)


def test_a_turned_picture_is_compared_upright(draw: Draw) -> None:
    image = draw(3, TISSUE, SIZE)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be shown turned clockwise
    out = io.BytesIO()
    turned.save(out, "PNG", exif=turned.getexif())
    assert alike([image], [Image.open(out)]) == pytest.approx([1], abs=1e-3)
