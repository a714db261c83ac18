from __future__ import annotations

from pathlib import Path

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
from retrieval.encoders.selftest import drawn_inputs
from retrieval.encoders.stages import StageStatistics, stage_statistics


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
    assert made.shape == (3, recipe.dimension) == (3, 1024)  # twice 16 + 24 + 40 + 112 + 320 channels
    convert(tower, tmp_path)
    assert np.allclose(OpenVinoEncoder(tmp_path, recipe).encode(inputs), made, atol=1e-4)
    assert rebuild_tower(recipe).recipe == recipe


def test_a_model_without_stages_is_refused() -> None:
    with pytest.raises(EncoderSpecError, match="does not give the outputs of its stages"):
        stage_statistics(torch.nn.Identity(), parse_spec("timm:tf_efficientnet_lite0"))
