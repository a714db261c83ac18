"""CLIP encoders of the open_clip library; here their image tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

from retrieval.encoders.checkpoint import load_strictly, mismatch, read_weights
from retrieval.encoders.hub import unreachable
from retrieval.encoders.published import near_names
from retrieval.encoders.spec import EncoderSpec, EncoderSpecError, folder_weights, open_clip_config
from retrieval.errors import EncoderError


class _ImageTower(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual: torch.nn.Module = model.visual

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embedding = self.visual(pixels)
        # CoCa's tower gives its caption decoder's tokens as well.
        pooled: torch.Tensor = embedding[0] if isinstance(embedding, tuple) else embedding
        return pooled


_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
"""A text tower of nothing, in place of one that would need a language model of the hub."""


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
        if _has_language_model(spec):
            model = open_clip.create_model(
                name, pretrained=pretrained, load_weights=False, pretrained_text=False, text_cfg=_NO_TEXT
            )
            _load_image_tower(model, spec)
        else:
            model = open_clip.create_model(name, pretrained=pretrained, require_pretrained=True, pretrained_text=False)
    except EncoderError:
        raise
    except Exception as error:
        if spec.source in ("hub", "tag"):
            raise unreachable(spec, error) from error
        file = Path(spec.weights) if spec.source == "file" else folder_weights(Path(spec.weights), spec.text)
        read_weights(file, spec)  # says so where they are no weights at all
        raise mismatch(spec, error) from error
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


def _has_language_model(spec: EncoderSpec) -> bool:
    """Whether the text tower is a language model of the hub, as BiomedCLIP's is; only its image tower is built then."""
    if spec.source in ("file", "tag"):
        return "hf_model_name" in open_clip.get_model_config(spec.architecture)["text_cfg"]
    if spec.source == "folder":
        file = Path(spec.weights) / "open_clip_config.json"
    else:
        file = Path(download_pretrained_from_hf(spec.weights, filename="open_clip_config.json"))
    return "hf_model_name" in open_clip_config(file, spec.text)["text_cfg"]


def _load_image_tower(model: Any, spec: EncoderSpec) -> None:
    """Load the image tower's part of a whole model's weights; a missing, surplus or misshapen tensor is an error."""
    if spec.source == "file":
        path = spec.weights
    elif spec.source == "folder":
        path = str(folder_weights(Path(spec.weights), spec.text))
    elif spec.source == "hub":
        path = download_pretrained_from_hf(spec.weights)
    else:
        path = download_pretrained(open_clip.get_pretrained_cfg(spec.architecture, spec.weights))
    state = {
        name.removeprefix("visual."): tensor
        for name, tensor in read_weights(Path(path), spec).items()
        if name.startswith("visual.")
    }
    load_strictly(model.visual, state, spec)


def _require_known(spec: EncoderSpec) -> None:
    name, known = spec.architecture, open_clip.list_models()
    if name not in known:
        raise EncoderSpecError(f"{spec.text}: open_clip has no architecture '{name}'{near_names(name, known)}")
