"""Which spaces a run fills, and what makes their vectors: encoders, shipped features, computed descriptors."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from ctypes import CDLL
from dataclasses import asdict
from pathlib import Path

from retrieval.collection import CollectionWriter, SpaceDefinition
from retrieval.encoders import (
    DEFAULT,
    DEFAULT_FIT,
    ConversionError,
    Encoder,
    EncoderMismatchError,
    Fit,
    OpenVinoEncoder,
    Recipe,
    TorchEncoder,
    WeightsNotFoundError,
    build_tower,
    convert,
    parse_spec,
)
from retrieval.errors import EncoderError
from retrieval.index import Cosine
from retrieval.query import load_encoder

log = logging.getLogger(__name__)


class EncoderFitError(EncoderError):
    """An encoder's space was made with another way of fitting frames to the encoder's input."""


class WeightsChangedError(EncoderError):
    """A weights file holds other weights than those that made a space."""


def open_encoders(
    writer: CollectionWriter,
    specs: Sequence[str],
    fit: Fit | None,
    full_size: bool = False,
    broken: dict[str, str] | None = None,
) -> dict[str, Encoder]:
    """The encoders of a run by space: those that made the collection's spaces, and new ones by their specs.

    full_size: whether new encoders see pictures decoded at full size, since descriptors need that decoding too.
    Without specs, a new collection gets the default encoder. broken: where it is given, the collection's encoders that
    cannot be loaded are noted there, space -> reason, and left out. Raises EncoderError of several kinds.
    """
    existing = {space.name: space for space in writer.manifest.spaces if space.kind == "encoder"}
    encoders = {}
    wanted = list(specs) or ([] if writer.manifest.spaces else [DEFAULT])
    for spec in wanted:
        space = space_of(writer, spec)
        if space is None:
            name, encoder = _new_encoder(writer, spec, fit, full_size)
            encoders[name] = encoder
            continue
        _require_fit(space, fit)
        _require_same_weights(writer, space, spec)
    for name, space in existing.items():
        if not specs:
            _require_fit(space, fit)
        try:
            encoders[name] = _on_cuda(space) or load_encoder(writer.path, space)
        except EncoderError as error:
            if broken is None:
                raise
            broken.setdefault(name, str(error))
    return encoders


def _on_cuda(space: SpaceDefinition) -> Encoder | None:
    """The encoder of a space on CUDA, as the run that made the space had it; None without CUDA or the same weights."""
    try:  # the driver alone, which is told in no time; PyTorch loads for seconds
        CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    recipe = Recipe.from_json(space.recipe)
    try:
        tower = build_tower(recipe.spec, recipe.fit, recipe.full_size)
        recipe.require(tower.recipe)
    except EncoderError as error:
        log.warning("space %s: its encoder runs on the CPU, not on CUDA: %s", space.name, error)
        return None
    return TorchEncoder(tower)


def space_of(writer: CollectionWriter, spec: str) -> SpaceDefinition | None:
    """The space that an encoder of this name made, if there is one; its weights need not be there any more."""
    by_spec = {space.recipe["spec"]: space for space in writer.manifest.spaces if space.kind == "encoder"}
    return by_spec.get(spec) or by_spec.get(parse_spec(spec, existing=False).text)


def _require_fit(space: SpaceDefinition, fit: Fit | None) -> None:
    if fit is not None and space.recipe["fit"] != fit:
        raise EncoderFitError(
            f"the space '{space.name}' was made with --fit {space.recipe['fit']}; "
            f"index into another collection to use --fit {fit}"
        )


def _require_same_weights(writer: CollectionWriter, space: SpaceDefinition, spec: str) -> None:
    """Raise WeightsChangedError where the weights file that made a space was overwritten with other weights.

    A file that is gone is no fault: the converted encoder lies in the collection.
    """
    try:
        parsed = parse_spec(spec)
    except WeightsNotFoundError:
        return
    stamp = parsed.weights_stamp()
    if stamp == space.recipe.get("weights_files"):
        return
    recipe = Recipe.from_json(space.recipe)
    try:
        recipe.require(build_tower(parsed.text, recipe.fit, recipe.full_size).recipe)
    except EncoderMismatchError as error:
        raise WeightsChangedError(
            f"{parsed.weights} was changed since it made the space '{space.name}', and vectors of two encoders cannot "
            f"be compared; give the new one a path of its own, which makes a second space ({error})"
        ) from error
    writer.update_recipe(space.name, space.recipe | {"weights_files": stamp})


def _new_encoder(writer: CollectionWriter, spec: str, fit: Fit | None, full_size: bool) -> tuple[str, Encoder]:
    """Build an encoder, keep its converted form in the collection, and only then add its space."""
    parsed = parse_spec(spec)
    stamp = parsed.weights_stamp()  # before the weights are read, so that a change meanwhile is noticed later
    tower = build_tower(spec, fit or DEFAULT_FIT, full_size)
    import torch  # only now: missing weights are told in less time than it takes to load

    taken = {space.name for space in writer.manifest.spaces}
    base = parsed.space
    name = next(n for n in (base, *(f"{base}-{i}" for i in range(2, 1000))) if n not in taken)
    beside = _scratch(writer)
    fields = asdict(tower.recipe) | {"weights_files": stamp}
    encoder: Encoder
    try:
        fields["converted"] = convert(tower, beside)
    except ConversionError as error:
        log.warning("%s; it runs on PyTorch instead, more slowly", error)
        encoder = TorchEncoder(tower)
    else:
        folder = writer.adopt_tower(name, beside)
        encoder = TorchEncoder(tower) if torch.cuda.is_available() else OpenVinoEncoder(folder, tower.recipe)
    writer.add_space(name, "encoder", tower.recipe.dimension, Cosine.name, fields)
    return name, encoder


def rebuild_tower(writer: CollectionWriter, space: SpaceDefinition) -> None:
    """Convert a space's encoder anew from the weights that its recipe names.

    Raises EncoderMismatchError where those are not the weights that made the space, and what `build_tower` raises.
    """
    recipe = Recipe.from_json(space.recipe)
    tower = build_tower(recipe.spec, recipe.fit, recipe.full_size)
    recipe.require(tower.recipe)
    beside = _scratch(writer)
    digest = convert(tower, beside)
    writer.adopt_tower(space.name, beside)
    writer.update_recipe(space.name, space.recipe | {"converted": digest})


def _scratch(writer: CollectionWriter) -> Path:
    beside = writer.path / "encoders" / ".new"
    shutil.rmtree(beside, ignore_errors=True)
    return beside
