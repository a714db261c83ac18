"""Load what a space is learned from: images with their classes, clusters and frozen vectors, and views of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.learn.learner import TrainingSet
from retrieval.learn.methods import Progress
from retrieval.learn.model import NothingToLearnError
from retrieval.learn.view_cache import view_vectors
from retrieval.learn.views import NO_VIEWS, views_named
from retrieval.marks import kind_of
from retrieval.spaces import Space


def training_set(
    collection: Collection,
    sources: Sequence[Space],
    part: NDArray[np.int64] | None = None,
    views: str = NO_VIEWS,
    progress: Progress = lambda task, done, total: None,
    labelled: bool = True,
    taught: NDArray[np.int64] | None = None,
) -> TrainingSet:
    """Images that have a class and a vector in every source. part: rows of the collection's images, all where None.

    labelled: False for images without a class as well, whose label is -1. taught: rows of the images that views are
    made of, all where None: queries teach nothing.

    Raises NothingToLearnError, UnknownViewsError.
    """
    images = collection.images
    positions = np.flatnonzero(images.labels >= 0) if labelled else np.arange(len(images))
    for source in sources:
        positions = np.intersect1d(positions, collection.positions(source.name))
    if part is not None:
        positions = np.intersect1d(positions, part)
    if not len(positions):
        needed = "a class and a vector" if labelled else "a vector"
        raise NothingToLearnError(f"no image of {collection.path} has {needed} in every source")
    ids = images.ids[positions]
    teaching = ids if taught is None else images.ids[np.intersect1d(positions, taught)]
    rows = [np.arange(len(ids))]
    vectors: list[list[NDArray[Any]]] = [[collection.rows(source.name).take(ids)] for source in sources]
    for view in views_named(views):
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress("views", done, len(teaching) * len(sources))

        made = [view_vectors(collection, source, view, teaching, advance) for source in sources]
        common = teaching
        for made_ids, _ in made:
            common = np.intersect1d(common, made_ids)
        rows.append(np.searchsorted(ids, common))
        for at, (made_ids, of_view) in enumerate(made):
            vectors[at].append(of_view[np.searchsorted(made_ids, common)])
    return TrainingSet(
        ids,
        images.labels[positions].astype(np.int64),
        images.scenes[positions],
        np.concatenate(rows),
        tuple(np.concatenate(of_source) for of_source in vectors),
        kind_of(images.marks[positions]),
    )
