"""A tower that cannot tell pictures apart, or changes its mind, makes no space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.encoders import EncoderSpec, UnusableEmbeddingError
from retrieval.encoders.recipe import Recipe
from retrieval.encoders.selftest import drawn_pictures, require_embeddings
from retrieval.encoders.tower import NotPooledError, _dimension
from retrieval.encoders.tower_module import Tower

RECIPE = Recipe("a spec", "weights", 4, (32, 32), (0.5,) * 3, (0.5,) * 3, "bilinear", "squash", "lib 1")


class Constant(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(pixels), 4) + 0 * pixels.mean()


class Random(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(pixels), 4)


class OfTheBatch(torch.nn.Module):
    """As a batch normalisation that was left in training mode: each embedding depends on the others."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        means = pixels.mean((2, 3))
        return torch.cat([means, means.sum(1, keepdim=True)], 1) - means.mean()


class Means(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([pixels.mean((2, 3)), torch.ones(len(pixels), 1)], 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Constant(), "a spec: different pictures get the same embedding"),
        (Random(), "a spec: the embedding of one picture changes by"),
        (OfTheBatch(), "a spec: the embedding of one picture changes by"),
    ],
)
def test_a_tower_that_cannot_make_a_space_is_refused(model: torch.nn.Module, message: str) -> None:
    with pytest.raises(UnusableEmbeddingError, match=message):
        require_embeddings(Tower(model, RECIPE))


def test_a_tower_that_tells_pictures_apart_is_accepted() -> None:
    require_embeddings(Tower(Means(), RECIPE))


def test_the_drawn_pictures_are_always_the_same_and_differ() -> None:
    first, second = drawn_pictures(), drawn_pictures()
    assert all(np.array_equal(a.pixels(), b.pixels()) for a, b in zip(first, second, strict=True))
    assert len({picture.pixels().tobytes() for picture in first}) == len(first) == 3


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(1, 196, 8), r"gives a vector for each of its tokens \(1, 196, 8\), not one vector for a picture"),
        (torch.zeros(1, 8, 7, 7), r"gives a map of features \(1, 8, 7, 7\), not one vector for a picture"),
        ((torch.zeros(1, 8),), "gives a tuple, not one vector for a picture"),
        ({"pooled": torch.zeros(1, 8)}, "gives a dict, not one vector for a picture"),
    ],
)
def test_a_model_without_one_vector_for_a_picture_is_told_as_what_it_is(output: Any, message: str) -> None:
    model: Callable[..., Any] = lambda pixels: output  # noqa: E731
    with pytest.raises(NotPooledError, match=message):
        _dimension(model, EncoderSpec("timm:x", "timm", "x", "tag", "x"), 32, 32)  # type: ignore[arg-type]


@pytest.mark.slow  # the lowest timm lacks them
@pytest.mark.parametrize("name", ["deepseek_vit_412m", "gemma4_vit_167m", "qwen3_vit_88m"])
def test_families_of_timm_with_a_vector_for_each_token_are_told_as_what_they_are(name: str) -> None:
    """Image towers of language models: their `_enc` forms pool nothing, the others make spaces.

    Only shapes are computed (PyTorch's `meta`), since the smallest has 88 million parameters.
    """
    import timm

    def dimension(name: str) -> int:
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=0).eval()
            _, height, width = model.pretrained_cfg["input_size"]
            return _dimension(model, EncoderSpec(f"timm:{name}", "timm", name, "tag", ""), width, height)

    assert dimension(name) > 0
    told = rf"timm:{name}_enc: gives a vector for each of its tokens \(1, \d+, \d+\), not one vector for a picture"
    with pytest.raises(NotPooledError, match=told):
        dimension(f"{name}_enc")
