"""How an encoder came to be, in phrases for a person: input, activation, weights, licence, data that it has seen."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.encoders.known import known_to
from retrieval.encoders.recipe import Recipe

_ACTIVATIONS = {"quick_gelu": "runs QuickGELU", "gelu": "runs GELU"}


def provenance(recipe: Recipe) -> list[str]:
    """One phrase for each thing that the recipe knows; recipes of older collections know nothing of it."""
    phrases = []
    if recipe.preprocessing:
        values = f"mean {_short(recipe.mean)}, std {_short(recipe.std)}, {recipe.interpolation}"
        phrases.append(f"{values} ({recipe.preprocessing})")
    if recipe.activation in _ACTIVATIONS:
        phrases.append(_ACTIVATIONS[recipe.activation])
    phrases += recipe.notes
    if (known := known_to(recipe.to_dict())) is not None:
        phrases.append(f"{known.title}; trained on {known.trained_on}; licence: {known.licence}")
        phrases += [known.seen_note] if known.seen_note else []
    return phrases


def _short(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
