"""Learn a space of a collection: choose the images, fit the model, store it, and give every image its vector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionWriter, SpaceDefinition, SpaceNameError
from retrieval.collection.manifest import SPACE_NAME
from retrieval.evaluation.split_file import split_from_file
from retrieval.index.cosine import Cosine
from retrieval.learn.completion import derived_vectors, ids_in_all
from retrieval.learn.methods import AUTO, Progress
from retrieval.learn.model import LearnOptions, Model, NothingToLearnError
from retrieval.learn.model_files import delete_models_but, store_model
from retrieval.learn.selection import figures_of, fit_chosen
from retrieval.learn.sources import frozen_sources, learner_of, marks_differ, require_one_draft
from retrieval.learn.training_set import training_set
from retrieval.spaces import open_space

KIND = "learned"
"""The kind of space that a model makes vectors for, `retrieval.spaces.learned`."""


def learn(
    writer: CollectionWriter,
    name: str,
    sources: Sequence[str] = (),
    method: str | None = None,
    split: Path | None = None,
    views: str | None = None,
    options: LearnOptions = LearnOptions(),  # noqa: B008  # frozen
    progress: Progress = lambda task, done, total: None,
    replaces: str | None = None,
) -> SpaceDefinition:
    """Learn a space and give every image its vector; both are on disk before the manifest names it.

    sources: frozen spaces, the collection's first where none is given; principal components stand for what they were
    made of. method: None for the best by cross-validation. views: None for what `default_views` says. replaces: the
    space in whose place this one is searched. A stop leaves no space.
    Raises SpaceNameError, NothingToLearnError, UnknownMethodError, SplitFileError, UnsupportedQueryError.
    """
    if not SPACE_NAME.fullmatch(name):
        raise SpaceNameError(f"'{name}' cannot name a space: use letters, digits, '.', '_' and '-'")
    if any(space.name == name for space in writer.manifest.spaces):
        raise SpaceNameError(
            f"the collection has a space '{name}' already; give another name, or fit that one again by "
            f"`kvasir refit {writer.path} {name}`"
        )
    if options.unmarked and not marks_differ(Collection.open(writer.path)):
        raise NothingToLearnError(
            f"no class of {writer.path} has images with different marks of the device, as far as they are known; "
            "leave out --marks remove"
        )
    model, recipe = _learned(writer, sources, replace(options, method=method or AUTO), split, views, progress)
    recipe |= {"chosen": method is None} | ({"replaces": replaces} if replaces else {})
    recipe["model"] = store_model(writer.path, name, model)
    vectors = _vectors(writer, model, recipe["sources"], progress)
    return writer.add_space(name, KIND, model.dimension, Cosine.name, recipe, vectors=vectors)


def refit(writer: CollectionWriter, name: str, progress: Progress = lambda task, done, total: None) -> SpaceDefinition:
    """Fit a learned space again, as its recipe says, on the images that the collection has now.

    Its vectors are all made anew, and replace the earlier ones in one step: a server that runs takes them over with its
    next look at the collection, and a stop leaves the earlier fit whole. Raises SpaceNameError, NothingToLearnError.
    """
    return open_space(writer.path, writer.manifest.space(name), "indexing").refit(writer, progress)


def learn_again(
    writer: CollectionWriter, definition: SpaceDefinition, options: LearnOptions, progress: Progress
) -> SpaceDefinition:
    """Fit the model of a learned space again by these options. Raises SpaceNameError, NothingToLearnError.

    A space that was learned from the training part of a split needs that file again, so it is learned under a new name.
    """
    recipe = definition.recipe
    if recipe.get("split"):
        raise SpaceNameError(
            f"'{definition.name}' is not learned from the whole collection; use `kvasir learn` with a new name"
        )
    model, made = _learned(writer, recipe["sources"], options, None, recipe["views"], progress)
    made |= {key: recipe[key] for key in ("chosen", "replaces") if key in recipe}
    made["model"] = store_model(writer.path, definition.name, model)
    delete_models_but(writer.path, definition.name, {recipe["model"], made["model"]})
    vectors = _vectors(writer, model, made["sources"], progress)
    return writer.replace_space(definition.name, model.dimension, made, vectors)


def _learned(
    writer: CollectionWriter,
    sources: Sequence[str],
    options: LearnOptions,
    split: Path | None,
    views: str | None,
    progress: Progress,
) -> tuple[Model, dict[str, Any]]:
    """A model of a collection's images, which are listed in it, and its recipe but for the model's digest."""
    collection = Collection.open(writer.path)
    learner = learner_of(collection, options, sources, views)
    options = learner.options
    opened = frozen_sources(collection, learner.sources)
    require_one_draft(opened)
    part = None if split is None else split_from_file(split, collection.images.files).rounds[0].gallery
    training = training_set(collection, opened, part, learner.views, progress, learner.labelled)
    given = options.unlearned
    model, options, tried = fit_chosen(training, np.arange(len(training.ids)), options, progress)
    model = Model(model.shares, {**model.arrays, "images": training.ids})  # type: ignore[dict-item]
    return model, {
        "sources": list(learner.sources),
        "method": options.method,
        "shares": {part: float(share) for part, share in model.shares.items()},
        "unlearned": given,
        "dimension": options.dimension,
        "seed": options.seed,
        "seeds": options.seeds,
        "unmarked": bool(options.unmarked),  # asked for, as a refit does again; removed are:
        "mark_directions": model.arrays["base.marks"].shape[1] if "base.marks" in model.arrays else 0,
        "views": learner.views,
        "split": None if split is None else split.name,
        "images": len(training.ids),
        "classes": [collection.classes[label] for label in np.unique(training.labels) if label >= 0],
        "clusters": hashlib.sha256(np.ascontiguousarray(training.clusters).tobytes()).hexdigest(),
        "validation": figures_of(tried),
    }


def _vectors(
    writer: CollectionWriter, model: Model, sources: Sequence[str], progress: Progress
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Blocks of the images that have vectors in all sources, with what the model makes of them."""
    collection = Collection.open(writer.path)
    return derived_vectors(collection, model.transform, sources, ids_in_all(collection, sources), progress)
