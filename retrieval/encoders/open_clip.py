"""CLIP encoders of the open_clip library; here their image tower."""

from __future__ import annotations

from typing import Any

import open_clip
import torch

from retrieval.encoders.hub import unreachable
from retrieval.encoders.spec import EncoderSpec, EncoderSpecError, WeightsNotFoundError
from retrieval.encoders.tower import WeightsMismatchError


class _ImageTower(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual: torch.nn.Module = model.visual

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.visual(pixels)
        return embedding


def load_image_model(spec: EncoderSpec) -> tuple[torch.nn.Module, dict[str, Any], str]:
    """The image tower, its preprocessing (size as (width, height), mean, std, interpolation), the library's version.

    open_clip only warns where weights are missing and gives random numbers; here that is an error.
    """
    pretrained: str | None = None
    if spec.source in ("hub", "folder"):
        name = ("hf-hub:" if spec.source == "hub" else "local-dir:") + spec.weights
    else:
        name, pretrained = spec.architecture, spec.weights
        _require_known(spec)
    try:
        model = open_clip.create_model(name, pretrained=pretrained, require_pretrained=True, pretrained_text=False)
    except Exception as error:
        if spec.source in ("hub", "tag"):
            raise unreachable(spec) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise WeightsMismatchError(
            f"{spec.text}: these weights are not of this architecture: {' '.join(lines[:2])[:300]}"
        ) from error
    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    preprocessing = {
        "size": (width, height),
        "mean": config["mean"],
        "std": config["std"],
        "interpolation": config["interpolation"] if config["interpolation"] != "random" else "bicubic",
    }
    return _ImageTower(model), preprocessing, f"open_clip {open_clip.__version__}"


def _require_known(spec: EncoderSpec) -> None:
    if spec.architecture not in open_clip.list_models():
        close = [name for name in open_clip.list_models() if spec.architecture.lower()[:6] in name.lower()][:5]
        raise EncoderSpecError(
            f"{spec.text}: open_clip has no architecture '{spec.architecture}'"
            + (f"; near: {', '.join(close)}" if close else "")
        )
    if spec.source == "tag" and not open_clip.get_pretrained_cfg(spec.architecture, spec.weights):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.architecture)) or "none"
        raise WeightsNotFoundError(
            f"{spec.text}: open_clip publishes no weights '{spec.weights}' for {spec.architecture}; its tags: {tags}"
        )
