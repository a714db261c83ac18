from __future__ import annotations

from typing import Any

import pytest

from retrieval.encoders.recipe import Recipe, RecipeError

STORED: dict[str, Any] = {
    "spec": "timm:test_vit",
    "weights": "0" * 64,
    "dimension": 64,
    "size": [160, 120],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.4, 0.3],
    "interpolation": "bicubic",
    "fit": "squash",
    "library": "timm 1",
}


def test_a_recipe_is_read_as_it_was_written_and_further_fields_are_ignored() -> None:
    recipe = Recipe.from_dict(STORED | {"converted": "1" * 64})
    assert (recipe.size, recipe.std, recipe.features) == ((160, 120), (0.5, 0.4, 0.3), "last")
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize("name", STORED)
def test_a_recipe_that_lacks_a_field_is_told_by_its_name(name: str) -> None:
    with pytest.raises(RecipeError, match=f"has no field '{name}'; restore the collection's manifest"):
        Recipe.from_dict({field: value for field, value in STORED.items() if field != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dimension", "many"),
        ("dimension", None),
        ("dimension", float("inf")),
        ("dimension", float("nan")),
        ("dimension", -3),
        ("dimension", 0),
        ("size", [160]),
        ("size", [0, 0]),
        ("size", [-1, 5]),
        ("size", [float("inf"), 2]),
        ("size", 160),
        ("size", ["wide", "high"]),
        ("mean", None),
        ("mean", [0.5]),
        ("mean", [float("nan")] * 3),
        ("std", ["x", "y", "z"]),
        ("std", [0, 0, 0]),
        ("std", [-0.2, 0.2, 0.2]),
        ("std", [float("inf"), 0.2, 0.2]),
        ("interpolation", "sharpest"),
        ("fit", "stretch"),
        ("fit", ["squash"]),
        ("features", "first"),
        ("notes", 3),
    ],
)
def test_a_recipe_with_a_value_that_it_cannot_have_is_damaged(name: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=r"an encoder's recipe .*; restore the collection's manifest"):
        Recipe.from_dict(STORED | {name: value})
