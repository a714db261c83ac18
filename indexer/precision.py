"""The precision of a new encoder: as it was asked for, or as a measurement on the collection's own pictures shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.datasets import Dataset
from retrieval.collection import CollectionWriter, SpaceDefinition, tower_folder
from retrieval.encoders.precision import (
    AUTO,
    LOSS,
    PrecisionError,
    Trial,
    chosen,
    emulated,
    quantise,
    scratch_folder,
    trials,
)
from retrieval.encoders.recipe import Recipe
from retrieval.encoders.resizing import resize
from retrieval.encoders.runtime import converted_digest
from retrieval.encoders.text import TEXT_MODEL
from retrieval.errors import RetrievalError
from retrieval.images import decode
from retrieval.spaces.encoder import EncoderFitError

_SAMPLE = 256
"""Pictures that precisions are compared on."""
_LEAST = 32
_PRECISION = "precision"


def set_precision(
    writer: CollectionWriter,
    definition: SpaceDefinition,
    dataset: Dataset,
    precision: str,
    say: Callable[[str], None],
) -> None:
    """Give a new encoder's space its precision. precision: of `retrieval.encoders.precision`, or `auto`.

    Raises PrecisionError, and EncoderFitError where the space was made with another one.
    """
    recipe = Recipe.from_dict(definition.recipe)
    stored = recipe.precision
    if writer.has_vectors(definition.name):
        if precision not in (AUTO, stored):
            raise EncoderFitError(
                f"the space '{definition.name}' was made with --precision {stored}; "
                f"index into another collection to use {precision}"
            )
        return
    if "converted" not in definition.recipe:
        if precision == AUTO:
            return
        raise PrecisionError(f"{recipe.spec} runs on PyTorch, which has no precision to choose")
    folder = tower_folder(writer.path, definition.name)
    if stored == "int8":
        raise PrecisionError(
            f"the space '{definition.name}' has an int8 encoder already, but no vector yet; "
            "delete the collection, and index again"
        )
    pictures, labels = _sample(dataset, recipe, _SAMPLE if precision in (AUTO, "int8") else 0)
    taken, tried = precision, list[Trial]()
    with scratch_folder() as name:
        scratch = Path(name) / "int8"
        if precision in (AUTO, "int8") and len(pictures) < _LEAST:
            if precision == "int8":
                raise PrecisionError(f"int8 is calibrated on {_LEAST} pictures at least; there are {len(pictures)}")
            say(f"space {definition.name}: f32, since {len(pictures)} pictures are too few to compare precisions on")
            return
        if precision == AUTO:
            tried = trials(folder, recipe, pictures, labels, scratch)
            taken = chosen(tried).precision
            figures = "; ".join(map(str, tried))
            say(f"space {definition.name}: {taken}, the fastest that keeps mAP within {LOSS} on a sample ({figures})")
        elif precision == "int8":
            quantise(folder, scratch, pictures[::2])
        fields = {_PRECISION: taken, "precision_trials": [str(one) for one in tried]}
        if taken == "int8":
            beside = writer.path / "encoders" / ".new"
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(scratch, beside)
            for file in folder.glob(f"{Path(TEXT_MODEL).stem}.*"):  # the text tower stays in single precision
                shutil.copy2(file, beside)
            fields["converted"] = converted_digest(beside)
            writer.adopt_tower(definition.name, beside)
    writer.update_recipe(definition.name, definition.recipe | fields)
    if note := emulated(taken):
        say(f"space {definition.name}: {note}")


def _sample(dataset: Dataset, recipe: Recipe, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Prepared pictures (n, h, w, 3) spread over the data set, and their classes (n,), -1 for none."""
    classes = {name: label for label, name in enumerate(dataset.classes)}
    items = dataset.items
    prepared, labels = [], []
    for at in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)).tolist():
        try:
            picture = decode(dataset.read(items[at]), draft=recipe.draft)
        except RetrievalError:  # which indexing lists with its reason
            continue
        prepared.append(recipe.prepare(picture, resize))
        labels.append(classes.get(items[at].class_name or "", -1))
    return np.stack(prepared) if prepared else np.empty((0, 1, 1, 3), np.uint8), np.array(labels, np.int64)
