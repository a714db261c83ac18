"""Query -> ranked hits, with precision@k and recall@k where the query's class is known."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.encoders import Encoder
from retrieval.errors import QueryError
from retrieval.filters import NoSuchClassError, Selection
from retrieval.fusion import DEPTH, RankedList, fuse
from retrieval.hits import Hit, Hits, Quality
from retrieval.images import MAX_PIXELS, Picture, Region
from retrieval.index import Index, Metric, metric_named, open_index
from retrieval.query import BadQueryError, Extractor, Purpose, QueryLike, is_number, is_whole, listed


class EmptySpaceError(QueryError):
    """There is nothing to search."""


class Searcher:
    """Answers queries on one collection. Safe to share between threads; encoders and indexes load on first use.

    While one space's encoder or index loads, queries that need neither go on.
    purpose: "latency" lets one query use every core; "throughput" gives each of many queries at once a core of its own.
    max_pixels: the largest width x height of a picture from outside that is decoded.
    """

    def __init__(self, collection: Collection, purpose: Purpose = "latency", max_pixels: int = MAX_PIXELS) -> None:
        self.collection = collection
        self._extractor = Extractor(collection, purpose, max_pixels)
        self._indexes: dict[str, Index] = {}
        self._building = {space.name: Lock() for space in collection.spaces}

    def __repr__(self) -> str:
        spaces = ", ".join(space.name for space in self.collection.spaces)
        return f"<Searcher of {len(self.collection)} images in {self.collection.path}, spaces: {spaces}>"

    def search(
        self,
        query: QueryLike,
        k: int = 10,
        *,
        spaces: str | Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        classes: str | Names[str] | None = None,
        exclude_self: bool = True,
        exclude_cluster: bool = False,
        query_class: str | None = None,
        region: Region | None = None,
    ) -> Hits:
        """The k nearest images.

        spaces: one or several names, by default the collection's first space; several are fused by reciprocal ranks
        with the given weights. classes: only images of these. exclude_self and exclude_cluster leave out the query's
        own image and its near duplicates, where the query is an image of the collection. query_class: the class of
        the query where it is known; that of an image of the collection is known by itself. region: search only by
        this part of the query's picture.

        Raises BadQueryError, NoSuchClassError, NoSuchImageError, SpaceNameError, EmptySpaceError, a PictureError.
        """
        self._require_hits(k)
        if query_class is not None and not isinstance(query_class, str):
            raise BadQueryError(f"a class is given by name, not as {query_class!r}")
        names = self.space_names(spaces)
        image_id = int(query) if is_whole(query) else None
        if image_id is not None and query_class is None:
            query_class = self.collection.class_of(image_id)
        shares = self._weights(weights, len(names))
        vectors = self.vectors_of(query, names, region)
        allowed = self._allowed(image_id, classes, exclude_self, exclude_cluster)
        return self._ranked(vectors, shares, k, allowed, image_id, query_class)

    def search_by_vectors(
        self,
        vectors: Mapping[str, NDArray[Any]],
        k: int = 10,
        *,
        weights: Sequence[float] | None = None,
        classes: str | Names[str] | None = None,
        query_class: str | None = None,
    ) -> Hits:
        """The k nearest images to a query from outside, whose vector (d,) in each space is as `vectors_of` makes it."""
        self._require_hits(k)
        allowed = self._allowed(None, classes, False, False)
        return self._ranked(vectors, self._weights(weights, len(vectors)), k, allowed, None, query_class)

    def _require_hits(self, k: int) -> None:
        if not is_whole(k) or k < 1:
            raise BadQueryError(f"k is {k!r}; ask for a whole number of hits, at least 1")
        if not len(self.collection):
            raise EmptySpaceError(
                f"the collection {self.collection.path} is empty; "
                f"`kvasir index DATA {self.collection.path}` puts pictures into it"
            )

    def _ranked(
        self,
        vectors: Mapping[str, NDArray[Any]],
        shares: Sequence[float],
        k: int,
        allowed: NDArray[np.bool_],
        image_id: int | None,
        query_class: str | None,
    ) -> Hits:
        names = list(vectors)
        depth = k if len(names) == 1 else max(DEPTH, 10 * k)
        found = {name: self._nearest(name, vectors[name], depth, allowed) for name in names}
        if len(names) == 1:
            ids, nearest = found[names[0]]
            scores = self.metric(names[0]).scores(nearest)
        else:
            lists, fused = fuse([RankedList(found[name][0][None]) for name in names], shares)
            ids, scores = lists[0, :k], fused[0, :k]
        if len(names) == 1:
            for hit_id in ids.tolist():
                self.collection.vector(names[0], hit_id)  # raises where it is damaged
            distances: dict[str, Sequence[float | None]] = {names[0]: nearest.tolist()}
        else:
            distances = {name: self._distances(name, vectors[name], ids) for name in names}
        return self._answer(names, distances, ids, scores, allowed, image_id, query_class, k)

    def vectors_of(
        self, query: QueryLike, spaces: Sequence[str], region: Region | None = None
    ) -> dict[str, NDArray[Any]]:
        """The query's vector (d,) in each space, made by the space's own recipe from the region where one is given."""
        return self._extractor.vectors_of(query, spaces, region)

    def pictures(self, query: QueryLike, spaces: Sequence[str]) -> dict[str, Picture]:
        """What each space sees of a query's picture, for those who time or bundle the steps to its vectors."""
        return self._extractor.pictures(query, spaces)

    def reopened(self) -> Searcher:
        """A searcher on the collection as it is now; encoders that made the same spaces before are not loaded again."""
        later = Searcher(Collection.open(self.collection.path))
        later._extractor = self._extractor.reopened(later.collection)
        return later

    def encoder(self, space: str) -> Encoder:
        """The encoder that made a space, ready to run."""
        return self._extractor.encoder(space)

    def metric(self, space: str) -> Metric:
        """The native distance of a space."""
        return metric_named(self.collection.manifest.space(space).metric)

    def index(self, space: str) -> Index:
        """The index of a space."""
        name = self.collection.manifest.space(space).name
        with self._building[name]:
            if name not in self._indexes:
                self._indexes[name] = open_index(self.collection, name, self.metric(name))
            return self._indexes[name]

    # The question

    def space_names(self, spaces: str | Sequence[str] | None) -> list[str]:
        """The spaces that are searched where these are asked for. Raises SpaceNameError, EmptySpaceError."""
        if not self.collection.spaces:
            raise EmptySpaceError(f"{self.collection.path} has no spaces yet; `kvasir index` makes them")
        if spaces is None:
            return [self.collection.spaces[0].name]
        names = [self.collection.manifest.space(name).name for name in _names(spaces, "spaces")]
        if not names or len(set(names)) != len(names):
            raise BadQueryError("name each space to search once, and at least one")
        return names

    def _weights(self, weights: Sequence[float] | None, count: int) -> list[float]:
        if weights is None:
            return [1.0] * count
        shares = [float(weight) if is_number(weight) else 0.0 for weight in listed(weights)]
        if len(shares) != count or not all(0 < share < float("inf") for share in shares):
            raise BadQueryError(f"give one positive number as weight for each space ({count}), not {weights!r}")
        return shares

    def _allowed(
        self, image_id: int | None, classes: str | Names[str] | None, exclude_self: bool, exclude_cluster: bool
    ) -> NDArray[np.bool_]:
        """Which images may be hits, (n,) over the collection's `images`."""
        held = self.collection.images
        allowed = np.ones(len(held), bool)
        if classes is not None:
            wanted = set(_names(classes, "classes"))
            unknown = sorted(wanted - set(held.classes))
            if unknown:
                raise NoSuchClassError(f"no class '{unknown[0]}'; the classes: {', '.join(held.classes) or 'none'}")
            allowed &= np.isin(held.labels, [held.classes.index(name) for name in wanted])
        if image_id is not None:
            position = self.collection.position(image_id)
            if exclude_cluster:
                allowed &= (held.clusters != held.clusters[position]) | (held.ids == image_id)
            if exclude_self:
                allowed[position] = False
        return allowed

    # The answer

    def _nearest(
        self, space: str, vector: NDArray[Any], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        index, all_ids = self.index(space), self.collection.images.ids
        left_out = all_ids[~allowed]
        if len(left_out) <= len(allowed) // 2:
            selection = Selection(all_ids, None, left_out)
        else:
            selection = Selection(all_ids, all_ids[allowed])
        distances, ids = index.search(vector[None], min(k, len(index)), selection)
        found = ids[0] >= 0
        return ids[0][found], distances[0][found]

    def _answer(
        self,
        names: Sequence[str],
        distances: Mapping[str, Sequence[float | None]],
        ids: NDArray[np.int64],
        scores: NDArray[np.floating],
        allowed: NDArray[np.bool_],
        image_id: int | None,
        query_class: str | None,
        k: int,
    ) -> Hits:
        held = self.collection.images
        at = np.searchsorted(held.ids, ids)
        hits = tuple(
            Hit(
                rank=rank + 1,
                id=int(ids[rank]),
                score=float(scores[rank]),
                distance=distances[names[0]][rank],
                distances={name: distances[name][rank] for name in names},
                class_name=held.classes[held.labels[position]] if held.labels[position] >= 0 else None,
                file=held.files[position],
                cluster=int(held.clusters[position]),
            )
            for rank, position in enumerate(at.tolist())
        )
        with_vector = np.zeros(len(held), bool)
        for name in names:
            with_vector[self.collection.positions(name)] = True
        searched = allowed & with_vector
        quality = None
        if query_class is not None:
            label = held.classes.index(query_class) if query_class in held.classes else -2
            relevant = int(np.count_nonzero(searched & (held.labels == label)))
            quality = Quality.of(sum(hit.class_name == query_class for hit in hits), relevant, k)
        return Hits(
            hits, tuple(names), int(np.count_nonzero(searched)), image_id, query_class, quality, self.collection
        )

    def _distances(self, space: str, query: NDArray[Any], ids: NDArray[np.int64]) -> list[float | None]:
        stored = [self.collection.vector(space, image_id) for image_id in ids.tolist()]
        there = [vector for vector in stored if vector is not None]
        computed = iter(self.metric(space).distances(query[None], np.array(there))[0].tolist() if there else [])
        return [None if vector is None else max(0.0, float(next(computed))) for vector in stored]


def _names(value: Any, what: str) -> list[str]:
    names = listed(value)
    if not all(isinstance(name, str) for name in names):
        raise BadQueryError(f"{what} are given by name, one or several, not as {value!r}")
    return names


def open_collection(path: Path | str, purpose: Purpose = "latency", max_pixels: int = MAX_PIXELS) -> Searcher:
    """Open a collection for searching.

    >>> import retrieval
    >>> engine = retrieval.open("kvasir.collection")
    >>> engine.search("picture.jpg", k=5)
    """
    return Searcher(Collection.open(path), purpose, max_pixels)
