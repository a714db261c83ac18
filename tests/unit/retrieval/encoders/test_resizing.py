"""The indexer's own resampling gives Pillow's bytes, or an index and its queries would disagree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retrieval.encoders.resizing import resize
from retrieval.field_of_view import crop_to_field
from retrieval.pixel_memory import packed_pixels

side = st.integers(1, 300)


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@settings(max_examples=200, deadline=None)
@given(width=side, height=side, to_width=side, to_height=side, seed=st.integers(0, 99))
def test_any_size_to_any_size_is_equal_to_pillow(
    interpolation: str, width: int, height: int, to_width: int, to_height: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = np.asarray(image.resize((to_width, to_height), Image.Resampling[interpolation.upper()]))
    np.testing.assert_array_equal(resize(image, (to_width, to_height), interpolation), expected)


def test_a_filter_that_is_not_ours_is_left_to_pillow() -> None:
    image = Image.effect_noise((40, 30), 60).convert("RGB")
    expected = np.asarray(image.resize((7, 9), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(resize(image, (7, 9), "lanczos"), expected)


@pytest.mark.parametrize("box", [(0, 0, 90, 70), (11, 3, 88, 66), (4, 0, 44, 70), (0, 0, 9, 9)])
def test_the_field_of_view_alone_is_resized_as_if_it_had_been_cut_out(box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    pixels = np.random.default_rng(0).integers(0, 20, (70, 90, 3), dtype=np.uint8)
    pixels[top:bottom, left:right, 2] += 120  # blue alone is light as well
    image = Image.fromarray(pixels)
    expected = np.asarray(crop_to_field(image).resize((32, 24), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(image, (32, 24), "bicubic", True), expected)


@pytest.mark.parametrize("size", [(1, 1), (70, 50), (2100, 2100)])  # the last lies in several blocks of memory
def test_packed_pixels_are_those_of_the_picture_and_outlive_it(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    packed = packed_pixels(Image.fromarray(pixels))
    assert not packed.flags.writeable
    np.testing.assert_array_equal(np.stack([packed & 255, packed >> 8 & 255, packed >> 16 & 255], axis=2), pixels)
