"""Vectors in learned spaces for the images that lack them; they are made of stored vectors, so no picture is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionWriter, DamagedVectorError
from retrieval.learn.methods import Progress
from retrieval.learn.model import Model
from retrieval.spaces.learned import definitions, model_path

BLOCK = 2048
"""Images that are committed together."""


def complete_learned_spaces(
    writer: CollectionWriter,
    progress: Progress = lambda task, done, total: None,
    again: Mapping[int, frozenset[str]] = {},  # not changed
) -> int:
    """Give every image that has a vector in all sources of a learned space its vector there; returns how many got one.

    again: spaces, by image, in which the stored vector is damaged; it is replaced unless a source's is damaged too.
    Raises DamagedModelError.
    """
    learned = definitions(writer.manifest).values()
    if not learned:
        return 0
    collection = Collection.open(writer.path)
    completed = 0
    for definition in learned:
        sources = definition.recipe["sources"]
        ids = ids_in_all(collection, sources)
        damaged = [image_id for image_id, spaces in again.items() if definition.name in spaces]
        damaged = [one for one in damaged if one in ids and _sound(collection, sources, one)]
        ids = np.union1d(np.setdiff1d(ids, collection.ids(definition.name)), np.array(damaged, np.int64))
        if not len(ids):
            continue
        model = Model.load(
            model_path(writer.path, definition.name, definition.recipe["model"]), definition.recipe["model"]
        )
        for some, vectors in derived_vectors(collection, model, sources, ids, progress):
            writer.fill({int(one): {definition.name: vector} for one, vector in zip(some, vectors, strict=True)})
        completed += len(ids)
    return completed


def ids_in_all(collection: Collection, spaces: Sequence[str]) -> NDArray[np.int64]:
    """The ids of the images that have a vector in every one of these spaces, ascending."""
    ids = collection.images.ids
    for name in spaces:
        ids = np.intersect1d(ids, collection.ids(name))
    return ids


def derived_vectors(
    collection: Collection, model: Model, sources: Sequence[str], ids: NDArray[np.int64], progress: Progress
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Blocks of image ids (m,) and what a model makes of their vectors in the sources, (m, dimension)."""
    for start in range(0, len(ids), BLOCK):
        some = ids[start : start + BLOCK]
        yield some, model.transform([collection.rows(name).take(some) for name in sources])
        progress("vectors", start + len(some), len(ids))


def _sound(collection: Collection, spaces: Sequence[str], image_id: int) -> bool:
    """Whether the vectors of an image in these spaces are as they were stored."""
    try:
        return all(collection.vector(space, image_id) is not None for space in spaces)
    except DamagedVectorError:
        return False
