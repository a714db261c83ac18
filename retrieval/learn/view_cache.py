"""Vectors of augmented views, cached in the collection's folder, so that a second `learn` takes seconds.

One file for each space and view; a row is valid while its image has the same bytes, which an id promises.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.cores import prefetch
from retrieval.disk import DAMAGE, new_file
from retrieval.errors import RetrievalError
from retrieval.images import decode
from retrieval.learn.views import View
from retrieval.spaces import Space

BATCH = 64


def view_vectors(
    collection: Collection,
    space: Space,
    view: View,
    ids: NDArray[np.int64],
    progress: Callable[[int], None] = lambda count: None,
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The ids (m,) ascending, of those given, whose picture can be read, and the vectors (m, d) of their views.

    progress(count) is called with how many more images are done.
    """
    path = _path(collection.path, space, view.name)
    stored_ids, stored = _read(path, space)
    missing = np.setdiff1d(ids, stored_ids)
    progress(len(ids) - len(missing))
    if len(missing):
        made_ids, made = [stored_ids], [stored]
        for batch_ids, vectors in _extracted(collection, space, view, missing, progress):
            made_ids.append(batch_ids)
            made.append(vectors)
        stored_ids, stored = np.concatenate(made_ids), np.concatenate(made)
        order = np.argsort(stored_ids)
        stored_ids, stored = stored_ids[order], stored[order]
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path, sync=False) as stream:
            np.savez(stream, ids=stored_ids, vectors=stored)
    wanted = np.isin(stored_ids, ids)
    return stored_ids[wanted], stored[wanted]


def _extracted(
    collection: Collection,
    space: Space,
    view: View,
    ids: NDArray[np.int64],
    progress: Callable[[int], None],
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    waiting: list[tuple[int, NDArray[Any]]] = []
    done = 0

    def embedded() -> tuple[NDArray[np.int64], NDArray[Any]]:
        return np.array([image_id for image_id, _ in waiting], np.int64), space.embed([inputs for _, inputs in waiting])

    for image_id, inputs in prefetch(partial(prepared_views, collection, space, [view]), ids.tolist(), 2 * BATCH):
        done += 1
        waiting += [(image_id, prepared) for prepared in inputs]
        if len(waiting) == BATCH:
            yield embedded()
            progress(done)
            waiting, done = [], 0
    if waiting:
        yield embedded()
    progress(done)


def prepared_views(
    collection: Collection, space: Space, views: Sequence[View | None], image_id: int
) -> list[NDArray[Any]]:
    """Views of an image's picture, None for itself, as the space's `embed` takes them; none where it cannot be read."""
    try:
        picture = decode(collection.read(image_id), draft=space.draft)
        return [space.prepare(picture if view is None else view.of(picture)) for view in views]
    except RetrievalError:
        return []


def _read(path: Path, space: Space) -> tuple[NDArray[np.int64], NDArray[Any]]:
    try:
        with path.open("rb") as stream, np.load(stream) as stored:
            return stored["ids"], stored["vectors"]
    except DAMAGE:  # not there yet, or damaged: made again
        return np.empty(0, np.int64), np.empty((0, space.definition.dimension), space.definition.dtype)


def _path(collection: Path, space: Space, view: str) -> Path:
    """The file's name has the digest of the recipe: another recipe has other vectors."""
    recipe = json.dumps(space.definition.recipe, sort_keys=True).encode()
    return collection / "learned" / "views" / f"{space.name}.{view}.{hashlib.sha256(recipe).hexdigest()[:12]}.npz"
