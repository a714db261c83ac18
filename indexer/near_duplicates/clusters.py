"""Exact copies and near duplicates -> cluster ids.

A space takes two frames of one organ for neighbours, so its neighbours are only candidates: a pair is linked where one
picture, aligned to the other, shows the same fine structure. Which spaces propose candidates decides how many copies
are detected, never what is a copy: of all 426,426 pairs of 924 frames of Kvasir, alignment accepts 7, which are true. A
cluster is what links connect; its id is the smallest image id in it. Only images that came since the last search are
checked, against all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.near_duplicates.alignment import SAME, SIDE, similarity, small_grey
from indexer.near_duplicates.greys import GreyFile
from retrieval.collection import Collection, CollectionWriter, Images, SpaceDefinition
from retrieval.cores import available_cores
from retrieval.errors import RetrievalError
from retrieval.filters import among
from retrieval.images import decode
from retrieval.search import Searcher

NEIGHBOURS = 3
"""How many nearest images are candidates: on Kvasir a copy's original is nearly always the first."""
_EQUAL = 0.98
"""Score from which a pair too dark or too plain to be aligned is compared pixel by pixel."""
_APART = 16
"""Mean difference of small greys, in grey levels, from which pixels are not the same: of one picture, decoded as a JPEG
at any size and as a PNG, they differ by up to 5."""
_BLOCK = 512
_BUILT_FROM = 10_000
"""Queries from which building an index of a large space takes less than comparing every image with each."""
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

    def to_dict(self) -> dict[str, object]:
        """The cluster as JSON."""
        images = [
            {"id": image_id, "file": file, "class": class_name}
            for image_id, file, class_name in zip(self.ids, self.files, self.class_names, strict=True)
        ]
        return {"cluster": self.id, "spans_classes": self.spans_classes, "images": images}


def clusters(collection: Collection) -> list[Cluster]:
    """The clusters of more than one image, those that span classes first, then by id."""
    numbers = np.sort(collection.images.clusters)
    several = [_cluster(collection, number) for number in np.unique(numbers[1:][numbers[1:] == numbers[:-1]]).tolist()]
    return sorted(several, key=lambda cluster: (not cluster.spans_classes, cluster.id))


def _cluster(collection: Collection, number: int) -> Cluster:
    images = collection.images
    ids = images.ids_of_cluster(number)
    members = images.at(images.places(ids))
    labels = members.column("labels").tolist()
    classes = tuple(images.classes[label] if label >= 0 else None for label in labels)
    return Cluster(number, tuple(ids.tolist()), tuple(members.files), classes)


def update_clusters(writer: CollectionWriter, searcher: Searcher | None = None) -> int:
    """Compare the images that came since the last call with all others; returns how many those are.

    One that was stored as vectors alone has no picture to compare. Candidates are the neighbours in every encoder's
    space or, where there is none, in every descriptor's. Takes time with the new images and the clusters that they
    join, not with all that are stored. searcher: a running one on the collection as it is now, whose indexes then serve
    instead of new ones.
    """
    searcher = searcher or Searcher(Collection.open(writer.path))
    images = searcher.collection.images
    ids = images.ids
    spaces = searcher.collection.spaces
    proposing = [space for space in spaces if searcher.space(space.name).proposes_duplicates] or spaces
    joined = ClusterForest(searcher.collection.images)
    counters: dict[str, int] = {}
    most = 0
    for space in proposing:
        counter = f"duplicates looked for in {space.name}"
        new = np.arange(np.searchsorted(ids, writer.counter(counter)), len(ids))
        if len(new):
            most = max(most, len(new))
            counters[counter] = int(ids[-1]) + 1
            for first, second in links(searcher, space, new[images.with_pictures[new]]):
                joined.join(first, second)
    if counters:
        writer.set_clusters(joined.changed(), counters)
    return most


def links(searcher: Searcher, space: SpaceDefinition, new: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of images, as positions in `images`, that show one picture; one of each pair is among `new`."""
    collection = searcher.collection
    ids = collection.images.ids
    with GreyFile(collection.path) as greys, ThreadPoolExecutor(available_cores(), "duplicates") as pool:

        def complete(image_id: int) -> None:
            if greys.has(image_id):
                return
            try:
                greys.put(image_id, small_grey(decode(collection.read(image_id), draft=(SIDE, SIDE))))
            except RetrievalError:  # a picture that is missing
                greys.forget(image_id)

        def compare(pairs: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
            return similarity(greys.stack(ids[pairs[:, 0]]), greys.stack(ids[pairs[:, 1]]))

        for pairs, scores in _candidates(searcher, space, new):
            list(pool.map(complete, ids[np.unique(pairs)].tolist()))
            parts = [pairs[start : start + _PAIRS] for start in range(0, len(pairs), _PAIRS)]
            similar = np.concatenate([np.empty(0, np.float32), *pool.map(compare, parts)])
            for (first, second), score, alike in zip(pairs.tolist(), scores, similar, strict=True):
                if alike >= SAME or (
                    score >= _EQUAL
                    and _alike(greys.stack(ids[[first, second]]))
                    and _same_pixels(collection, first, second)
                ):
                    yield first, second


def _candidates(
    searcher: Searcher, space: SpaceDefinition, new: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
    """Pairs (p, 2) of neighbours by position, the smaller first, each once in a block; and their scores (p,)."""
    collection, metric = searcher.collection, searcher.metric(space.name)
    queries = collection.images.ids[new[among(new, collection.positions(space.name))]]
    if not len(queries):
        return
    index, rows = searcher.index(space.name), collection.rows(space.name)
    if len(queries) >= _BUILT_FROM:
        index.flush()
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        distances, ids = index.search(rows.take(block), min(NEIGHBOURS, len(index)), without=list(block[:, None]))
        near = ids >= 0
        pairs = np.stack([np.repeat(block, near.sum(1)), ids[near]], axis=1)
        pairs = np.searchsorted(collection.images.ids, np.sort(pairs, axis=1))
        pairs, first = np.unique(pairs, axis=0, return_index=True)
        yield pairs, metric.scores(distances[near][first])


def _alike(greys: NDArray[np.uint8]) -> bool:
    """Whether two small greys (2, SIDE, SIDE) may be of the same pixels, which need not be decoded otherwise."""
    first, second = greys.astype(np.int16)
    return bool(np.abs(first - second).mean() < _APART)


def _same_pixels(collection: Collection, first: int, second: int) -> bool:
    if (collection.images.sizes[first] != collection.images.sizes[second]).any():
        return False
    try:
        # One after the other: two large ones take half a gigabyte each.
        one, other = (
            hashlib.sha256(decode(collection.read(int(collection.images.ids[at]))).pixels().data).digest()
            for at in (first, second)
        )
    except RetrievalError:
        return False
    return one == other


class ClusterForest:
    """A union-find forest over the clusters that links touch; each points to one of a smaller id.

    numbers: (n,) int64, the group of each image in the place of its cluster, such as its scene.
    """

    def __init__(self, images: Images, numbers: NDArray[np.int64] | None = None) -> None:
        self._images = images
        self._numbers = numbers
        self._parents: dict[int, int] = {}

    def join(self, first: int, second: int) -> None:
        """Make one cluster of those of two images, given as positions in `images`."""
        roots = {self._root(self._number(position)) for position in (first, second)}
        if len(roots) == 2:
            self._parents[max(roots)] = min(roots)

    def _number(self, position: int) -> int:
        return int(self._images.value("clusters", position) if self._numbers is None else self._numbers[position])

    def _root(self, cluster: int) -> int:
        root = cluster
        while root in self._parents:
            root = self._parents[root]
        while cluster != root:  # the next look-up takes one step
            self._parents[cluster], cluster = root, self._parents[cluster]
        return root

    def changed(self) -> dict[int, int]:
        """The new cluster of each image, by id, whose cluster joined one of a smaller id."""
        return self._roots(self._parents)

    def members(self) -> dict[int, int]:
        """The number of each image, by id, whose cluster is joined with another, of whatever id."""
        return self._roots({*self._parents, *map(self._root, self._parents)})

    def _roots(self, numbers: Iterable[int]) -> dict[int, int]:
        if not (joined := list(numbers)):
            return {}
        of_images = self._images.clusters if self._numbers is None else self._numbers
        places = np.flatnonzero(np.isin(of_images, joined))
        pairs = zip(self._images.ids[places].tolist(), of_images[places].tolist(), strict=True)
        return {image_id: self._root(cluster) for image_id, cluster in pairs}
