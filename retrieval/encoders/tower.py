"""Loading a tower: its model with the weights, its recipe, and the proof that it tells pictures apart."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from retrieval.encoders.fitting import weights_digest
from retrieval.encoders.image_model import ImageModel
from retrieval.encoders.known import known_checkpoint
from retrieval.encoders.preprocessing import EncoderOptions
from retrieval.encoders.recipe import DEFAULT_FIT, DEFAULT_MARKS, Fit, Recipe
from retrieval.encoders.selftest import require_embeddings
from retrieval.encoders.spec import EncoderSpec, EncoderSpecError
from retrieval.encoders.stages import stage_statistics
from retrieval.encoders.tower_module import Tower
from retrieval.errors import EncoderError

log = logging.getLogger(__name__)

_AS_NAMED = EncoderOptions()


class NotPooledError(EncoderError):
    """A model gives more than one vector for a picture, so there is nothing that stands for the whole of it."""


def load_tower(
    spec: EncoderSpec, fit: Fit | None = None, full_size: bool = False, options: EncoderOptions = _AS_NAMED
) -> Tower:
    """Build a tower with its weights, and prove that it tells pictures apart; the family's module knows how.

    fit: None for the way that a known checkpoint's authors use, else the default. Raises WeightsNotFoundError,
    WeightsMismatchError, EncoderSpecError, NotPooledError, UnusableEmbeddingError.
    """
    if spec.family == "timm":
        from retrieval.encoders.timm import load_image_model
    else:
        from retrieval.encoders.open_clip import load_image_model
    made = load_image_model(spec, options)
    made.model.eval()
    model, features = embedding_model(made, spec, options.features)
    recipe = _recipe(spec, made, model, fit, full_size, features, options.marks or DEFAULT_MARKS)
    for note in (*_assumptions(made, spec), *made.notes):
        log.warning("%s: %s", spec.text, note)
    tower = Tower(model, recipe)
    require_embeddings(tower)
    return tower


def embedding_model(made: ImageModel, spec: EncoderSpec, features: str) -> tuple[torch.nn.Module, str]:
    """The model that embeds, and its features: what is wanted, or for `auto` the statistics of stages where it can.

    Raises EncoderSpecError where a model does not give the stages that are wanted.
    """
    if features == "last":
        return made.model, features
    try:
        statistics = stage_statistics(made.model, spec)
        width, height = made.preprocessing.size
        _dimension(statistics, spec, width, height)
    except EncoderError as error:
        if features == "multi":
            raise
        log.warning("%s; its last layer alone serves", error)
        return made.model, "last"
    return statistics, "multi"


def _recipe(
    spec: EncoderSpec,
    made: ImageModel,
    model: torch.nn.Module,
    fit: Fit | None,
    full_size: bool,
    features: str,
    marks: str,
) -> Recipe:
    preprocessing = made.preprocessing
    known = known_checkpoint(spec.known) if spec.known else None
    width, height = preprocessing.size
    fitted = made.fitted
    return Recipe(
        spec=spec.text,
        weights=weights_digest(made.model.state_dict().items()),
        dimension=_dimension(model, spec, width, height),
        size=preprocessing.size,
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
        fit=fit or (known.fit if known and known.fit else DEFAULT_FIT),
        library=made.library,
        full_size=full_size,
        features=features,
        marks=marks,
        preprocessing=preprocessing.provenance,
        activation=made.activation,
        weights_key=fitted.key if fitted else "",
        notes=(*(fitted.notes if fitted else ()), *_assumptions(made, spec), *made.notes, *_tuned(made.card)),
        known=spec.known,
        seen=tuple(map(str, made.card.get("seen", ()))),
    )


def _tuned(card: Mapping[str, Any]) -> list[str]:
    """What a person should know of weights that `kvasir finetune` wrote."""
    if not card:
        return []
    return [
        f"fine-tuned from {card.get('encoder')} on {len(card.get('seen', ())):,} images of {card.get('collection')}"
    ]


def _assumptions(made: ImageModel, spec: EncoderSpec) -> list[str]:
    """What a person should check: values that nobody stated for these weights."""
    preprocessing = made.preprocessing
    if not {"mean", "std"}.intersection(preprocessing.assumed):  # a configuration without interpolation means bicubic
        return []
    values = {"mean": preprocessing.mean, "std": preprocessing.std}
    words = [f"{name} {' '.join(f'{v:.3g}' for v in values[name])}" for name in preprocessing.assumed if name in values]
    words += [preprocessing.interpolation] if "interpolation" in preprocessing.assumed else []
    tag = f", or name a tag as timm:{spec.architecture}.TAG/FILE" if spec.family == "timm" else ""
    options = ", ".join(f"--{name}" for name in preprocessing.assumed)
    return [f"{', '.join(words)}: {preprocessing.assumed_from}; if these weights need others, give {options}{tag}"]


def _dimension(model: torch.nn.Module, spec: EncoderSpec, width: int, height: int) -> int:
    """Numbers in an embedding. Raises NotPooledError, EncoderSpecError."""
    try:
        with torch.inference_mode():
            output = model(torch.zeros(1, 3, height, width))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise EncoderSpecError(f"{spec.text}: it does not take pictures of {width}x{height} ({reason})") from error
    if not isinstance(output, torch.Tensor):
        raise NotPooledError(f"{spec.text}: gives a {type(output).__name__}, not one vector for a picture")
    if output.ndim == 2:
        return int(output.shape[1])
    what = {3: "a vector for each of its tokens", 4: "a map of features"}.get(output.ndim, "values")
    raise NotPooledError(
        f"{spec.text}: gives {what} {tuple(output.shape)}, not one vector for a picture; it cannot make a space"
    )
