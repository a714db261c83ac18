from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from retrieval.encoders import Recipe
from retrieval.field_of_view import crop_to_field, field_of_view
from retrieval.images import from_image

RECIPE = Recipe("spec", "weights", 3, (40, 20), (0.5,) * 3, (0.5,) * 3, "bilinear", "field", "lib 1")


def frame(box: tuple[int, int, int, int], size: tuple[int, int] = (80, 60)) -> np.ndarray:
    pixels = np.full((size[1], size[0], 3), 6, np.uint8)  # JPEG's noise in black
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = (180, 90, 70)
    return pixels


def test_the_lit_part_is_the_field_of_view() -> None:
    assert field_of_view(frame((20, 5, 75, 55))) == (20, 5, 75, 55)


def test_texts_and_small_pictures_in_the_surroundings_do_not_widen_it() -> None:
    pixels = frame((30, 5, 78, 55))
    pixels[50:55, 2:12] = 255  # 5 of 60 rows: no column of it is 15 % lit
    assert field_of_view(pixels) == (30, 5, 78, 55)


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (10, 10, 12, 58), (0, 0, 80, 60)])
def test_a_dark_frame_a_streak_and_a_full_frame_stay_whole(box: tuple[int, int, int, int]) -> None:
    assert field_of_view(frame(box)) == (0, 0, 80, 60)
    image = Image.fromarray(frame(box))
    assert crop_to_field(image) is image


def test_a_recipe_with_the_field_sees_no_surroundings() -> None:
    picture = from_image(Image.fromarray(frame((20, 5, 75, 55))))
    assert (RECIPE.prepare(picture) == (180, 90, 70)).all()
    assert not (replace(RECIPE, fit="squash").prepare(picture) == (180, 90, 70)).all()
    assert RECIPE.draft == (50, 25)  # the field alone must have the pixels
    assert Recipe.from_dict(RECIPE.to_dict()) == RECIPE
