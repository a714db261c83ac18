"""The indexer's own resampling gives Pillow's bytes, or an index and its queries would disagree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retrieval.encoders.resizing import resize

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
