"""Vectors in derived spaces for the images that lack them; they are made of stored vectors, so no picture is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionWriter, DamagedVectorError
from retrieval.learn.methods import Progress
from retrieval.spaces import open_space

BLOCK = 2048
"""Images that are committed together."""


def complete_derived_spaces(
    writer: CollectionWriter,
    progress: Progress = lambda task, done, total: None,
    again: Mapping[int, frozenset[str]] = {},  # not changed
) -> int:
    """Give every image that has a vector in all sources of a derived space its vector there; returns how many got one.

    again: spaces, by image, in which the stored vector is damaged; it is replaced unless a source's is damaged too.
    Raises DamagedModelError.
    """
    derived = [
        space
        for space in (open_space(writer.path, definition) for definition in writer.manifest.spaces)
        if space.derived
    ]
    if not derived:
        return 0
    collection = Collection.open(writer.path)
    completed = 0
    for space in derived:
        sources = [source.name for source in space.sources]
        ids = ids_in_all(collection, sources)
        damaged = [image_id for image_id, spaces in again.items() if space.name in spaces]
        damaged = [image_id for image_id in damaged if image_id in ids and _sound(collection, sources, image_id)]
        ids = np.union1d(np.setdiff1d(ids, collection.ids(space.name)), np.array(damaged, np.int64))
        for some, vectors in derived_vectors(collection, space.derive, sources, ids, progress):
            writer.fill({int(image_id): {space.name: vector} for image_id, vector in zip(some, vectors, strict=True)})
        completed += len(ids)
    return completed


def ids_in_all(collection: Collection, spaces: Sequence[str]) -> NDArray[np.int64]:
    """The ids of the images that have a vector in every one of these spaces, ascending."""
    ids = collection.images.ids
    for name in spaces:
        ids = np.intersect1d(ids, collection.ids(name))
    return ids


def derived_vectors(
    collection: Collection,
    derive: Callable[[Sequence[NDArray[Any]]], NDArray[Any]],
    sources: Sequence[str],
    ids: NDArray[np.int64],
    progress: Progress,
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Blocks of image ids (m,) and the vectors (m, d) that `derive` makes of their vectors in the sources."""
    for start in range(0, len(ids), BLOCK):
        some = ids[start : start + BLOCK]
        yield some, derive([collection.rows(name).take(some) for name in sources])
        progress("vectors", start + len(some), len(ids))


def _sound(collection: Collection, spaces: Sequence[str], image_id: int) -> bool:
    """Whether the vectors of an image in these spaces are as they were stored."""
    try:
        return all(collection.vector(space, image_id) is not None for space in spaces)
    except DamagedVectorError:
        return False
