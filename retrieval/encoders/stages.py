"""Embeddings of every stage of a network in place of its last layer alone.

Early stages keep colour and texture that the last one drops: mean and standard deviation of each stage's channels, over
the picture, describe both (Huang and Belongie, ICCV 2017, use these statistics as the style of a picture).
"""

from __future__ import annotations

from typing import Any

import torch

from retrieval.encoders.spec import EncoderSpec, EncoderSpecError


class StageStatistics(torch.nn.Module):
    """Pixels (n, 3, h, w) -> mean and standard deviation of each stage's channels, (n, 2 * channels of all stages).

    The block of each stage has the same length, so that no stage outweighs the others.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed a batch; one pass of the network."""
        blocks = []
        for maps in self.model.forward_intermediates(pixels, intermediates_only=True):
            values = maps.flatten(2)
            mean = values.mean(dim=2)
            deviation = (values - mean[..., None]).square().mean(dim=2).add(1e-12).sqrt()
            blocks.append(torch.nn.functional.normalize(torch.cat([mean, deviation], dim=1), dim=1))
        return torch.cat(blocks, dim=1)


def stage_statistics(model: torch.nn.Module, spec: EncoderSpec) -> StageStatistics:
    """A model as one that embeds by its stages. Raises EncoderSpecError where it does not give them."""
    if not hasattr(model, "forward_intermediates"):
        raise EncoderSpecError(f"{spec.text}: it does not give the outputs of its stages; use its last layer alone")
    return StageStatistics(model)
