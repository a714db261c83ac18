from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.encoders import (
    EncoderOptions,
    EncoderSpecError,
    OpenVinoEncoder,
    build_tower,
    convert,
    parse_spec,
    rebuild_tower,
)
from retrieval.encoders.image_model import ImageModel
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.encoders.selftest import drawn_inputs
from retrieval.encoders.stages import StageStatistics, stage_statistics
from retrieval.encoders.tower import embedding_model


class TwoStages(torch.nn.Module):
    def forward_intermediates(self, pixels: torch.Tensor, intermediates_only: bool) -> list[torch.Tensor]:
        assert intermediates_only
        return [pixels, 10 * pixels[:, :1, ::2, ::2]]


def test_each_stage_gives_mean_and_deviation_of_its_channels_at_one_length() -> None:
    pixels = torch.zeros(1, 2, 2, 2)
    pixels[0, 0] = torch.tensor([[1.0, 3.0], [1.0, 3.0]])  # mean 2, deviation 1
    pixels[0, 1] = 2.0  # mean 2, deviation 0
    out = StageStatistics(TwoStages())(pixels)[0].numpy()
    assert out == pytest.approx([2 / 3, 2 / 3, 1 / 3, 0, 1, 0], abs=1e-5)


@pytest.mark.slow
def test_the_default_encoder_by_its_stages_runs_alike_in_both_forms(tmp_path: Path) -> None:
    tower = build_tower("timm:tf_efficientnet_lite0", options=EncoderOptions(features="multi"))
    recipe = tower.recipe
    assert recipe.features == "multi"
    inputs = drawn_inputs(tower)
    made = tower(torch.tensor(inputs)).numpy()
    assert made.shape == (3, recipe.dimension) == (3, 1632)  # twice 32 + 16 + 24 + 40 + 80 + 112 + 192 + 320
    convert(tower, tmp_path)
    assert np.allclose(OpenVinoEncoder(tmp_path, recipe).encode(inputs), made, atol=1e-4)
    assert rebuild_tower(recipe).recipe == recipe


def test_a_model_without_stages_is_refused() -> None:
    with pytest.raises(EncoderSpecError, match="does not give the outputs of its stages"):
        stage_statistics(torch.nn.Identity(), parse_spec("timm:tf_efficientnet_lite0"))


class Deep(torch.nn.Module):
    def forward_intermediates(self, pixels: torch.Tensor, intermediates_only: bool) -> dict[str, list[torch.Tensor]]:
        return {"image_intermediates": [torch.full((1, 1, 2, 2), float(depth + 1)) for depth in range(12)]}


def test_of_a_deep_network_four_evenly_spaced_outputs_are_taken() -> None:
    assert [float(maps[0, 0, 0, 0]) for maps in StageStatistics(Deep())._maps(torch.zeros(1, 3, 2, 2))] == [3, 6, 9, 12]


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_other_families_give_their_stages(timm_weights: Callable[..., Path], name: str) -> None:
    tower = build_tower(f"timm:{name}/{timm_weights(name)}", options=EncoderOptions(features="multi"))
    assert tower(torch.tensor(drawn_inputs(tower))).shape == (3, tower.recipe.dimension)


def test_an_open_clip_tower_gives_its_blocks(tiny_clip: Any) -> None:
    tower = build_tower(f"open_clip:{tiny_clip.architecture}/{tiny_clip.pt}", options=EncoderOptions(features="multi"))
    assert tower.recipe.dimension == 2 * 2 * 64  # mean and deviation of two blocks


def test_where_a_model_gives_no_stages_the_last_layer_serves(caplog: pytest.LogCaptureFixture) -> None:
    parsed = parse_spec("timm:tf_efficientnet_lite0")
    preprocessing = Preprocessing((4, 4), (0.5,) * 3, (0.5,) * 3, "bilinear", "")
    made = ImageModel(torch.nn.Identity(), preprocessing, "none")
    assert embedding_model(made, parsed, "auto") == (made.model, "last")
    assert "its last layer alone serves" in caplog.text
