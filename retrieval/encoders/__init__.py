"""Encoders: a picture -> an embedding of unit length, one file a family.

Importing this package loads neither torch nor OpenVINO; building an encoder loads torch, running a converted one
only OpenVINO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.encoders.hub import require_weights
from retrieval.encoders.published import require_published
from retrieval.encoders.recipe import DEFAULT_FIT, EncoderMismatchError, Fit, Recipe
from retrieval.encoders.runtime import ConversionError, Encoder, OpenVinoEncoder, TorchEncoder, convert
from retrieval.encoders.spec import DEFAULT, EncoderSpec, EncoderSpecError, WeightsNotFoundError, parse_spec

if TYPE_CHECKING:
    from retrieval.encoders.tower import Tower

__all__ = [
    "DEFAULT",
    "DEFAULT_FIT",
    "ConversionError",
    "Encoder",
    "EncoderMismatchError",
    "EncoderSpec",
    "EncoderSpecError",
    "Fit",
    "OpenVinoEncoder",
    "Recipe",
    "TorchEncoder",
    "WeightsNotFoundError",
    "build_tower",
    "convert",
    "parse_spec",
]


def build_tower(spec: str, fit: Fit = DEFAULT_FIT, full_size: bool = False) -> Tower:
    """A tower with its weights, from an encoder's name (see retrieval.encoders.spec).

    Raises EncoderSpecError, WeightsNotFoundError, WeightsMismatchError, UnusableEmbeddingError; within seconds where
    there is no network.
    """
    parsed = parse_spec(spec)
    require_published(parsed)
    require_weights(parsed)
    from retrieval.encoders.tower import load_tower

    return load_tower(parsed, fit, full_size)
