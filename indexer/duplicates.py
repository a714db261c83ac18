"""Exact copies and near duplicates -> cluster ids.

A space takes two frames of one organ for neighbours, so its neighbours are only candidates: a pair is linked where one
picture, aligned to the other, shows the same fine structure. Which spaces propose candidates decides how many copies
are found, never what is a copy: of all 426,426 pairs of 924 frames of Kvasir, alignment accepts 7, which are true. A
cluster is what links connect; its id is the smallest image id in it. Only images that came since the last search are
checked, against all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.alignment import SAME, SIDE, similarity, small_grey
from indexer.greys import GreyFile
from retrieval.collection import Collection, CollectionWriter, SpaceDefinition
from retrieval.cores import available_cores
from retrieval.errors import RetrievalError
from retrieval.images import decode
from retrieval.search import Searcher
from retrieval.spaces import open_space

NEIGHBOURS = 3
"""How many nearest images are candidates: on Kvasir a copy's original is nearly always the first."""
_EQUAL = 0.98
"""Score from which a pair too dark or too plain to be aligned is compared pixel by pixel."""
_BLOCK = 512
_PAIRS = 128


@dataclass(frozen=True)
class Cluster:
    """Images that show the same picture, in order of their ids; classes: the different ones that they have, sorted."""

    id: int
    ids: tuple[int, ...]
    files: tuple[str, ...]
    class_names: tuple[str | None, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The different classes of the images, sorted; more than one is a fault in the labels."""
        return tuple(sorted({name for name in self.class_names if name is not None}))

    @property
    def spans_classes(self) -> bool:
        """Whether one picture has several labels."""
        return len(self.classes) > 1


def clusters(collection: Collection) -> list[Cluster]:
    """The clusters of more than one image, those that span classes first, then by id."""
    held = collection.images
    members: defaultdict[int, list[int]] = defaultdict(list)
    for position, cluster in enumerate(held.clusters.tolist()):
        members[cluster].append(position)
    found = [
        Cluster(
            cluster,
            tuple(held.ids[positions].tolist()),
            tuple(held.files[at] for at in positions),
            tuple(held.classes[held.labels[at]] if held.labels[at] >= 0 else None for at in positions),
        )
        for cluster, positions in members.items()
        if len(positions) > 1
    ]
    return sorted(found, key=lambda cluster: (not cluster.spans_classes, cluster.id))


def update_clusters(writer: CollectionWriter, searcher: Searcher | None = None) -> int:
    """Look for near duplicates of the images that came since the last call; returns how many those were.

    Candidates are the neighbours in every encoder's space or, where there is none, in every descriptor's. searcher: a
    running one on the collection as it is now, whose indexes then serve instead of new ones.
    """
    searcher = searcher or Searcher(Collection.open(writer.path))
    spaces = searcher.collection.spaces
    proposing = [space for space in spaces if open_space(writer.path, space).proposes_duplicates] or spaces
    found = 0
    for space in proposing:
        found = max(found, _update(writer, space, searcher))
        searcher = searcher.refreshed()  # sees the clusters of the space before
    return found


def _update(writer: CollectionWriter, space: SpaceDefinition, searcher: Searcher) -> int:
    held = searcher.collection
    counter = f"duplicates looked for in {space.name}"
    new = np.flatnonzero(held.images.ids >= writer.counter(counter))
    if not len(new):
        return 0
    clusters_of = held.images.clusters
    smaller: dict[int, int] = {}
    for first, second in links(searcher, space, new):
        _join(smaller, int(clusters_of[first]), int(clusters_of[second]))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for cluster in sorted({*smaller, *smaller.values()}):
        groups[_root(smaller, cluster)].append(cluster)
    renamed: dict[int, int] = {}
    for group in groups.values():
        members = np.concatenate([held.images.ids_of_cluster(cluster) for cluster in group])
        renamed |= dict.fromkeys(members.tolist(), int(members.min()))
    writer.set_clusters(renamed, counter, int(held.images.ids[-1]) + 1)
    return len(new)


def links(searcher: Searcher, space: SpaceDefinition, new: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of images, as positions in `images`, that show one picture; one of each pair is among `new`."""
    held = searcher.collection
    ids = held.images.ids
    with GreyFile(held.path) as greys, ThreadPoolExecutor(available_cores(), "duplicates") as pool:

        def complete(image_id: int) -> None:
            if greys.has(image_id):
                return
            try:
                greys.put(image_id, small_grey(decode(held.read(image_id), draft=(SIDE, SIDE))))
            except RetrievalError:  # a picture that is gone
                greys.forget(image_id)

        def compare(pairs: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
            return similarity(greys.stack(ids[pairs[:, 0]]), greys.stack(ids[pairs[:, 1]]))

        for pairs, scores in _candidates(searcher, space, new):
            list(pool.map(complete, ids[np.unique(pairs)].tolist()))
            parts = [pairs[start : start + _PAIRS] for start in range(0, len(pairs), _PAIRS)]
            similar = np.concatenate([np.empty(0, np.float32), *pool.map(compare, parts)])
            for (first, second), score, alike in zip(pairs.tolist(), scores, similar, strict=True):
                if alike >= SAME or (score >= _EQUAL and _same_pixels(held, first, second)):
                    yield first, second


def _candidates(
    searcher: Searcher, space: SpaceDefinition, new: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
    """Pairs (p, 2) of neighbours by position, the smaller first, each once in a block; and their scores (p,)."""
    held, metric = searcher.collection, searcher.metric(space.name)
    queries = held.images.ids[np.intersect1d(held.positions(space.name), new)]
    if not len(queries):
        return
    index, rows = searcher.index(space.name), held.rows(space.name)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        distances, ids = index.search(rows.take(block), min(NEIGHBOURS, len(index)), without=list(block[:, None]))
        near = ids >= 0
        pairs = np.stack([np.repeat(block, near.sum(1)), ids[near]], axis=1)
        pairs = np.searchsorted(held.images.ids, np.sort(pairs, axis=1))
        pairs, first = np.unique(pairs, axis=0, return_index=True)
        yield pairs, metric.scores(distances[near][first])


def _same_pixels(held: Collection, first: int, second: int) -> bool:
    if (held.images.sizes[first] != held.images.sizes[second]).any():
        return False
    try:
        one, other = (decode(held.read(int(held.images.ids[at]))).pixels() for at in (first, second))
    except RetrievalError:
        return False
    return np.array_equal(one, other)


# Connected components of clusters: each that was joined points to a smaller one of its component.


def _root(smaller: dict[int, int], cluster: int) -> int:
    while cluster in smaller:
        cluster = smaller[cluster]
    return cluster


def _join(smaller: dict[int, int], first: int, second: int) -> None:
    one, other = sorted((_root(smaller, first), _root(smaller, second)))
    if one != other:
        smaller[other] = one
