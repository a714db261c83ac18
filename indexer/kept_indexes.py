"""Indexes that are kept on disk, checked against the vectors that they were built from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, SpaceDefinition
from retrieval.index import compares_all, metric_named
from retrieval.index.keeping import is_intact, read_kept
from retrieval.index.protocol import BLOCK

FOLDER = "index"


def faulty_indexes(collection: Collection) -> Iterator[tuple[Path, SpaceDefinition | None, str]]:
    """(file, the space whose index it is, what is wrong) of each file that is of no use or not to be trusted."""
    for path in sorted((collection.path / FOLDER).glob("*")):
        space = _space_of(path, collection)
        if space is None:
            yield path, None, "belongs to no space"
        elif path.suffix == ".new":
            yield path, space, "was left by a run that was stopped"
        elif not _is_used(path, collection, space):
            yield path, space, "is no longer used: the collection has another size"
        elif not is_intact(path):
            yield path, space, "is damaged"
        elif space.kind == "descriptor" and path.name != _descriptor_index(collection, space):
            continue  # pictures came since: the next search replaces it
        elif not holds(path, space, *collection.vectors(space.name)):
            yield path, space, "does not hold the collection's vectors"


def holds(path: Path, space: SpaceDefinition, ids: NDArray[np.int64], vectors: NDArray[Any]) -> bool:
    """Whether an index file that is intact has the vectors (n, d) of these ids (n,), as far as it keeps vectors whole.

    A graph and an inverted file of descriptors do. One of compressed codes cannot be compared, and only proposes.
    """
    import faiss

    index = read_kept(path)
    if index is None:
        return False
    rows = np.arange(len(ids))
    stored: Any = index
    if isinstance(index, faiss.IndexIDMap):
        labels = faiss.vector_to_array(index.id_map)
        stored = faiss.downcast_index(index.index)
        rows = np.searchsorted(ids, labels)
        rows[ids[np.minimum(rows, len(ids) - 1)] != labels] = -1  # removed since
    if isinstance(stored, faiss.IndexIVFFlat):
        stored.make_direct_map()
    elif not isinstance(stored, faiss.IndexHNSWFlat):
        return True
    if stored.ntotal != len(rows):
        return False
    metric: Any = metric_named(space.metric)  # of a descriptor it is a NativeDistance
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        expected = vectors[block[block >= 0]]
        expected = expected if space.kind == "encoder" else metric.candidate_coordinates(expected)
        found = stored.reconstruct_n(start, len(block))[block >= 0]
        if found.shape != expected.shape or not np.array_equal(found, expected):
            return False
    return True


def _space_of(path: Path, collection: Collection) -> SpaceDefinition | None:
    named = [space for space in collection.spaces if path.name.startswith(f"{space.name}.")]
    return max(named, key=lambda space: len(space.name), default=None)


def _descriptor_index(collection: Collection, space: SpaceDefinition) -> str:
    from retrieval.index.proposed import file_name

    return file_name(space.name, collection.images.ids[collection.positions(space.name)])


def _is_used(path: Path, collection: Collection, space: SpaceDefinition) -> bool:
    """Whether a search opens this file, or replaces it: a descriptor's index serves exactly the ids it was built of."""
    count = len(collection.positions(space.name))
    if compares_all(space.metric, count):
        return False
    if space.kind == "descriptor":
        return True
    from retrieval.index.embedding import description_of

    return path.name == f"{space.name}.{description_of(count, space.dimension)}.faiss"
