"""Learn a space of a collection: choose the images, fit the model, store it, and give every image its vector."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.collection import Collection, CollectionWriter, SpaceDefinition, SpaceNameError
from retrieval.collection.manifest import SPACE_NAME
from retrieval.disk import write_atomically
from retrieval.evaluation.protocols import cluster_numbers, stratified_parts
from retrieval.evaluation.split_file import split_from_file
from retrieval.index.cosine import Cosine
from retrieval.learn.completion import Progress, complete_learned_spaces
from retrieval.learn.methods import METHODS, method_named
from retrieval.learn.model import LearnOptions, Model, NothingToLearnError
from retrieval.learn.training_set import TrainingSet, training_set
from retrieval.spaces import open_space
from retrieval.spaces.learned import KIND, definitions, model_path, require_one_draft

FOLDS = 5
CHOICES = ("lda", "head", "blend")
"""Methods among which cross-validation chooses by default."""


def validated(training: TrainingSet, options: LearnOptions, seed: int = 0, folds: int = FOLDS) -> dict[str, float]:
    """P@1 and mAP of a method by cross-validation over clusters: each fold queries the others, which teach."""
    parts = stratified_parts(training.labels, cluster_numbers(training.clusters), (1 / folds,) * folds, seed)
    first, precision = [], []
    for fold in range(folds):
        queries, gallery = np.flatnonzero(parts == fold), np.flatnonzero(parts != fold)
        if not len(queries) or len(np.unique(training.labels[gallery])) < 2:
            continue
        vectors = training.fit(gallery, options).transform(training.frames)
        order = np.argsort(-(vectors[queries] @ vectors[gallery].T), axis=1, kind="stable")
        relevant = training.labels[gallery][order] == training.labels[queries][:, None]
        known = relevant.any(axis=1)
        first += relevant[known, 0].tolist()
        ranks = np.arange(1, relevant.shape[1] + 1)
        hits = relevant[known]
        precision += ((hits.cumsum(axis=1) / ranks * hits).sum(axis=1) / hits.sum(axis=1)).tolist()
    if not first:
        raise NothingToLearnError("too few clusters of near duplicates to validate; give the method by --method")
    return {"precision@1": float(np.mean(first)), "mAP": float(np.mean(precision))}


def choose_method(
    training: TrainingSet, options: LearnOptions, progress: Progress = lambda task, done, total: None
) -> tuple[str, dict[str, dict[str, float]]]:
    """The method of CHOICES with the best sum of P@1 and mAP by cross-validation, and the figures of each."""
    figures = {}
    for done, method in enumerate(CHOICES):
        progress("choosing the method", done, len(CHOICES))
        figures[method] = validated(training, replace(options, method=method), options.seed)
    progress("choosing the method", len(CHOICES), len(CHOICES))
    return max(figures, key=lambda name: sum(figures[name].values())), figures


def learn(
    writer: CollectionWriter,
    name: str,
    sources: Sequence[str] = (),
    method: str | None = None,
    split: Path | None = None,
    views: str = "central",
    options: LearnOptions = LearnOptions(),  # noqa: B008  # frozen
    progress: Progress = lambda task, done, total: None,
) -> SpaceDefinition:
    """Learn a space and give every image its vector; the model is on disk before the manifest names it.

    sources: frozen spaces, the collection's first where none is given. method: None for the best by cross-validation.
    A stop leaves images without a vector in the space; `kvasir index` gives it to them.
    Raises SpaceNameError, NothingToLearnError, UnknownMethodError, SplitFileError, UnsupportedQueryError.
    """
    if not SPACE_NAME.fullmatch(name) or any(space.name == name for space in writer.manifest.spaces):
        raise SpaceNameError(f"the collection has a space '{name}' already, or it cannot name one; give another name")
    collection = Collection.open(writer.path)
    if method is not None:
        method_named(method)
    names = [collection.manifest.space(one).name for one in sources] or [collection.spaces[0].name]
    for one in names:
        if collection.manifest.space(one).name in definitions(collection.manifest):
            raise SpaceNameError(f"'{one}' is learned itself; learn from frozen spaces")
    opened = [open_space(collection.path, collection.manifest.space(one), "indexing") for one in names]
    require_one_draft(opened)
    part = None if split is None else split_from_file(split, collection.images.files).rounds[0].gallery
    training = training_set(collection, opened, part, views if method != "pca" else "none", progress)
    figures: Mapping[str, Any] = {}
    if method is None:
        method, figures = choose_method(training, options, progress)
    elif METHODS[method].labelled:
        progress("validating", 0, 1)
        figures = {method: validated(training, replace(options, method=method), options.seed)}
        progress("validating", 1, 1)
    model = training.fit(np.arange(len(training.ids)), replace(options, method=method))
    model = Model(model.shares, {**model.arrays, "images": training.ids})  # type: ignore[dict-item]
    data = model.to_bytes()
    path = model_path(writer.path, name)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, data)
    recipe = {
        "sources": names,
        "method": method,
        "shares": {part: float(share) for part, share in model.shares.items()},
        "dimension": options.dimension,
        "seed": options.seed,
        "views": views if method != "pca" else "none",
        "split": None if split is None else split.name,
        "images": len(training.ids),
        "classes": [collection.classes[label] for label in np.unique(training.labels)],
        "clusters": hashlib.sha256(np.ascontiguousarray(training.clusters).tobytes()).hexdigest(),
        "validation": figures,
        "model": hashlib.sha256(data).hexdigest(),
    }
    definition = writer.add_space(name, KIND, model.dimension, Cosine.name, recipe)
    complete_learned_spaces(writer, progress)
    return definition
