"""Embeddings of every depth of a network in place of its last layer alone.

Early blocks keep colour and texture that the last one drops: mean and standard deviation of each block's channels,
over the picture, describe both (Huang and Belongie, ICCV 2017, use these statistics as the style of a picture). All
groups of blocks retrieve better than the ends of stages alone, see tests/benchmarks/bench_quality.py.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from retrieval.encoders.spec import EncoderSpec, EncoderSpecError

MOST = 8
"""Outputs that are taken of a network; of a deeper one, a transformer, DEPTHS evenly spaced ones."""
DEPTHS = 4


class StageStatistics(torch.nn.Module):
    """Pixels (n, 3, h, w) -> mean and standard deviation of the channels of each output, (n, 2 * channels of all).

    The block of each output has the same length, so that none outweighs the others.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        parameters = inspect.signature(model.forward_intermediates).parameters
        # timm's EfficientNets give the ends of stages only, unless all groups of blocks are wanted.
        self.arguments = {"extra_blocks": True} if "extra_blocks" in parameters else {}

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed a batch; one pass of the network."""
        blocks = []
        for maps in self._maps(pixels):
            values = maps.flatten(2)
            mean = values.mean(dim=2)
            deviation = (values - mean[..., None]).square().mean(dim=2).add(1e-12).sqrt()
            blocks.append(torch.nn.functional.normalize(torch.cat([mean, deviation], dim=1), dim=1))
        return torch.cat(blocks, dim=1)

    def _maps(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        outputs = self.model.forward_intermediates(pixels, intermediates_only=True, **self.arguments)
        # open_clip's towers give a table, timm's models the list itself.
        maps: list[torch.Tensor] = outputs["image_intermediates"] if isinstance(outputs, dict) else outputs
        if len(maps) <= MOST:
            return maps
        return [maps[len(maps) * depth // DEPTHS - 1] for depth in range(1, DEPTHS + 1)]


def has_stages(model: torch.nn.Module) -> bool:
    """Whether a model gives the outputs of its blocks."""
    return hasattr(_tower(model), "forward_intermediates")


def stage_statistics(model: torch.nn.Module, spec: EncoderSpec) -> StageStatistics:
    """A model as one that embeds by its blocks. Raises EncoderSpecError where it does not give their outputs."""
    if not has_stages(model):
        raise EncoderSpecError(
            f"{spec.text}: it does not give the outputs of its stages; use its last layer, --encoder-features last"
        )
    return StageStatistics(_tower(model))


def _tower(model: torch.nn.Module) -> torch.nn.Module:
    """The image tower of an open_clip model, a timm model itself."""
    visual = getattr(model, "visual", model)
    assert isinstance(visual, torch.nn.Module)
    return visual
