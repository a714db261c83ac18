"""Encoders: a picture -> an embedding of unit length, one file a family.

Importing this package loads neither torch nor OpenVINO; building an encoder loads torch, running a converted one
only OpenVINO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.encoders.checkpoint import UnreadableWeightsError, WeightsMismatchError
from retrieval.encoders.known import KnownCheckpoint, known_checkpoint, known_checkpoints, known_to
from retrieval.encoders.parsing import FORMS, parse_spec
from retrieval.encoders.preprocessing import EncoderOptions
from retrieval.encoders.published import require_architecture
from retrieval.encoders.recipe import DEFAULT_FIT, EncoderMismatchError, Fit, Recipe, RecipeError
from retrieval.encoders.runtime import ConversionError, Encoder, OpenVinoEncoder, TorchEncoder, convert
from retrieval.encoders.selftest import UnusableEmbeddingError
from retrieval.encoders.spec import DEFAULT, EncoderSpec, EncoderSpecError, WeightsNotFoundError

if TYPE_CHECKING:
    from retrieval.encoders.tower_module import Tower

__all__ = [
    "DEFAULT",
    "DEFAULT_FIT",
    "FORMS",
    "ConversionError",
    "Encoder",
    "EncoderMismatchError",
    "EncoderOptions",
    "EncoderSpec",
    "EncoderSpecError",
    "Fit",
    "KnownCheckpoint",
    "OpenVinoEncoder",
    "Recipe",
    "RecipeError",
    "TorchEncoder",
    "UnreadableWeightsError",
    "UnusableEmbeddingError",
    "WeightsMismatchError",
    "WeightsNotFoundError",
    "build_tower",
    "convert",
    "known_checkpoint",
    "known_checkpoints",
    "known_to",
    "parse_spec",
    "rebuild_tower",
]

_AS_NAMED = EncoderOptions()


def build_tower(
    spec: str, fit: Fit | None = None, full_size: bool = False, options: EncoderOptions = _AS_NAMED
) -> Tower:
    """A tower with its weights, from an encoder's name (see retrieval.encoders.parsing).

    fit: how frames meet its input; None for a known checkpoint's own way, else the default. options: what its name
    and its weights do not say. Raises EncoderSpecError, WeightsNotFoundError, WeightsMismatchError, NotPooledError,
    UnusableEmbeddingError; within seconds where there is no network.
    """
    parsed = parse_spec(spec)
    require_architecture(parsed)
    from retrieval.encoders.tower import load_tower

    return load_tower(parsed, fit, full_size, options)


def rebuild_tower(recipe: Recipe) -> Tower:
    """The tower that a recipe names, prepared as it says. Raises EncoderMismatchError where its weights are others."""
    options = EncoderOptions(
        recipe.mean,
        recipe.std,
        recipe.size,
        recipe.interpolation,
        recipe.weights_key,
        recipe.activation or "own",
        recipe.features,
        recipe.marks,
    )
    tower = build_tower(recipe.spec, recipe.fit, recipe.full_size, options)
    recipe.require(tower.recipe)
    return tower
