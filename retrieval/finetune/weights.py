"""A fine-tuned encoder as a weights file that `--encoder` takes, with its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.collection import Collection
from retrieval.disk import new_path
from retrieval.encoders import (
    EncoderOptions,
    EncoderSpec,
    Recipe,
    WeightsMismatchError,
    build_tower,
    parse_spec,
)
from retrieval.encoders.checkpoint import CARD
from retrieval.encoders.known import known_checkpoint
from retrieval.encoders.recipe import SEEN_DIGITS
from retrieval.finetune.blocks import NotTunableError
from retrieval.finetune.training import Tuned

_QUICK = "-quickgelu"


def name_with(recipe: Recipe, path: Path) -> str:
    """What `--encoder` takes to load a file of an encoder's weights. Raises NotTunableError where nothing names it."""
    spec: EncoderSpec = parse_spec(recipe.spec, existing=False)
    if spec.source in ("hub", "folder"):
        raise NotTunableError(
            f"{recipe.spec}: a file of its weights alone would not say its architecture; index by "
            f"{spec.family}:ARCHITECTURE/FILE first, with the weights file of that model"
        )
    if spec.config:
        return f"known:{spec.known}/{path}"
    architecture = spec.architecture
    if spec.known:
        architecture = known_checkpoint(spec.known).encoder.partition(":")[2]
    if spec.family == "open_clip" and recipe.activation == "quick_gelu" and not architecture.endswith(_QUICK):
        architecture += _QUICK
    return f"{spec.family}:{architecture}/{path}"


def write_weights(path: Path, collection: Collection, tuned: Tuned, settings: Mapping[str, Any]) -> str:
    """Write the weights with their preprocessing and card, and prove that they load; returns the encoder's name.

    Raises DiskFullError, and WeightsMismatchError where the file does not give the weights that were trained.
    """
    from safetensors.torch import save_file

    recipe = tuned.recipe
    width, height = recipe.size
    contents = collection.images.contents[np.searchsorted(collection.images.ids, tuned.images)]
    seen = [content.tobytes().hex()[:SEEN_DIGITS] for content in contents]
    card = {
        "encoder": recipe.spec,
        "encoder_weights": recipe.weights,
        "collection": collection.manifest.name,
        "classes": tuned.classes,
        "settings": dict(settings),
        "before": tuned.before,
        "after": tuned.after,
        "epoch": tuned.epoch,
        "seen": seen,
    }
    preprocessing = {
        "mean": recipe.mean,
        "std": recipe.std,
        "interpolation": recipe.interpolation,
        "input_size": (3, height, width),
    }
    metadata = {"format": "pt", "pretrained_cfg": json.dumps(preprocessing), CARD: json.dumps(card)}
    state = {name: value.contiguous() for name, value in tuned.state.items()}
    with new_path(path) as partial:
        save_file(state, partial, metadata)
    name = name_with(recipe, path)
    made = build_tower(name, recipe.fit, recipe.full_size, EncoderOptions(features=recipe.features)).recipe
    if (made.size, made.mean, made.std, made.seen) != (recipe.size, recipe.mean, recipe.std, tuple(seen)):
        raise WeightsMismatchError(f"{path}: {name} does not load as it was trained")
    return name
