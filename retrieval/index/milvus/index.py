"""Search in Milvus: it proposes candidates, double precision ranks them, so scores are those of the local indexes.

Images that changed between the state that Milvus is in and the state that is searched are left out of what it proposes
and compared here, so that every state finds its own images whatever is being pushed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from shlex import quote
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, SpaceDefinition
from retrieval.errors import RemoteAnswerError, RemoteStaleError
from retrieval.filters import Selection, among
from retrieval.index.cosine import Cosine
from retrieval.index.cosine_batch import search_many
from retrieval.index.milvus.client import Client
from retrieval.index.milvus.filter import expression
from retrieval.index.milvus.kinds import EXACT_KIND, parameters
from retrieval.index.milvus.stamp import Stamp, alias_of, definition_of, stamp_of, state_of
from retrieval.index.neighbours import (
    FEW,
    empty_neighbours,
    excluded_by,
    measured_distances,
    merged,
    put_nearest,
    ranked,
    scan,
    selected,
    with_ids,
    without_ids,
)
from retrieval.index.protocol import Neighbours

LIMIT = 16_384
"""Candidates of a query that Milvus returns at most."""
_SPARE = 32
"""Candidates beyond the k nearest, since single precision orders near ones otherwise."""
_HITS = 1 << 15
"""Candidates of one request, all queries together."""
_ATTEMPTS = 20
"""Searches that are made again because the index was changed meanwhile."""
_ROUNDING = 1e-5
"""More than single precision can err on the inner product of unit vectors."""
_ADVICE = "`kvasir verify --engine` tells more"
_DEEPEST = 1024
"""Candidates up to which a graph is searched for those that pass a filter; beyond, all that pass are compared here."""
_TOLERANCE = {"IVF_SQ8": 0.05}
"""The most by which the product of a candidate may differ from that of its vectors here."""


@dataclass(frozen=True, eq=False)
class _View:
    """State of Milvus as one state of the collection sees it.

    touched: ids (t,) ascending of images that may be others there. present: those of them that are searched.
    """

    name: str
    stamp: Stamp
    touched: NDArray[np.int64]
    present: NDArray[np.int64]


class MilvusIndex:
    """Nearest unit vectors by cosine, proposed by the index that was pushed to Milvus.

    push: brings that index to the state of the collection as it is now. pinned: a Milvus collection and its stamp, to
    search instead of the one that the alias names. Raises RemoteStaleError where none was pushed, or one of
    another state from which the way to this one is not known.
    """

    def __init__(
        self,
        client: Client,
        collection: Collection,
        space: SpaceDefinition,
        push: Callable[[], object] = lambda: None,
        pinned: tuple[str, Stamp] | None = None,
    ) -> None:
        self._client, self._collection, self._space = client, collection, space
        self._push, self._pinned = push, pinned
        self._alias = alias_of(collection, space.name)
        self._definition = definition_of(space)
        self._metric = Cosine()
        self._rows = collection.rows(space.name)
        self._ids = collection.ids(space.name)
        self._pending = np.empty(0, np.int64)
        """Images (p,) ascending that were added or removed since the state of the collection."""
        self._changing = Lock()
        self._view: _View | None = None
        self._current_view()

    @property
    def description(self) -> str:
        """The kind of index there, how it is searched, and its recall as measured."""
        stamp = self._current_view().stamp
        settings = "".join(f", {name} {value}" for name, value in stamp.search.items())
        recall = "" if stamp.recall is None else f", recall@10 {stamp.recall:.4f}"
        return f"{stamp.kind}{settings}{recall}, in {self._client.address.name}"

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def compared_here(self) -> int:
        """How many images are compared here, since the index in Milvus does not have them as they are."""
        return len(self._current_view().present)

    @cached_property
    def _state(self) -> str:
        return state_of(self._collection, self._space)

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        """The k nearest images of each query (q, d); see the `Index` protocol. Raises a RemoteIndexError."""
        queries = np.ascontiguousarray(queries, np.float32)
        if not k or not len(queries) or not len(self._ids):
            return empty_neighbours(len(queries), k)
        if selection is not None and selection.included is not None and len(selection.included) <= FEW:
            distances, ids = scan(self._metric, self._rows, selected(self._ids, selection), queries, k, without)
            return np.maximum(distances, 0), ids
        loaded = False
        for _ in range(_ATTEMPTS):
            view = self._current_view()
            search = _Search(self._client, self._metric, self._rows, self._ids, view, queries, k, selection, without)
            try:
                result = search.result()
            except RemoteAnswerError:  # which may have been given by another state
                if self._refresh_view() is view:
                    if loaded:
                        raise
                    self._client.load(view.name)  # which a restart of milvus-lite, or another client, may have undone
                    loaded = True
                continue
            if self._refresh_view() is view:  # so no row was changed before the search had ended
                return result
        raise RemoteAnswerError(f"{self._client.address.name}: the index changes faster than it can be searched")

    def distances(self, queries: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (q, m), NaN where an image has no vector; see the `Index` protocol."""
        return measured_distances(self._metric, self._rows, self._ids, queries, ids)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Add images, which are compared here until they are pushed; see the `Index` protocol."""
        with self._changing:
            added = np.unique(ids)
            self._ids, self._pending = with_ids(self._ids, added), with_ids(self._pending, added)
            self._view = None

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove images; see the `Index` protocol."""
        with self._changing:
            removed = np.unique(ids)
            self._ids, self._pending = without_ids(self._ids, removed), with_ids(self._pending, removed)
            self._view = None

    def flush(self) -> None:
        """Push the collection as it is now."""
        self._push()
        self._refresh_view()

    def copy(self) -> Self:
        """An independent index that shares the connection."""
        copied = copy(self)
        copied._changing = Lock()
        return copied

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search returns; see the `Index` protocol."""
        if not len(self._ids):
            return 1.0
        count = min(sample, len(self._ids))
        ids = self._ids[np.sort(np.random.default_rng(seed).choice(len(self._ids), count, replace=False))]
        queries, own = np.array(self._rows.take(ids)), [ids[at : at + 1] for at in range(len(ids))]
        true = search_many(self._rows, self._ids, queries, k, own)[0][:, -1:]
        return float((self.search(queries, k, None, own)[0] <= true).mean())

    # The state of the index in Milvus

    def _current_view(self) -> _View:
        return self._view or self._refresh_view()

    def _refresh_view(self) -> _View:
        """What Milvus says that it has; the same view as the last where that has not changed."""
        current = self._pinned or stamp_of(self._client, self._alias)
        if current is None:
            raise self._stale(f"is not there yet; {self._remedy} makes it")
        name, stamp = current
        with self._changing:
            last = self._view
            if last is not None and (last.name, last.stamp) == (name, stamp):
                return last
            touched = None if stamp is None else self._touched(stamp)
            if stamp is None or touched is None:
                raise self._stale(f"is of another state of the collection; {self._remedy} brings it up to date")
            if last is None or last.name != name:  # milvus-lite has nothing loaded when it starts
                self._client.load(name)
            touched = with_ids(touched, self._pending)
            self._view = _View(name, stamp, touched, touched[among(touched, self._ids)])
            return self._view

    def _stale(self, how: str) -> RemoteStaleError:
        return RemoteStaleError(f"{self._client.address.name}: the index of the space '{self._space.name}' {how}")

    @property
    def _remedy(self) -> str:
        return f"`kvasir push {quote(str(self._collection.path))} {self._client.address.name}`"

    def _touched(self, stamp: Stamp) -> NDArray[np.int64] | None:
        """Images that may be others in Milvus than in the collection's state; None where that is not known."""
        if stamp.definition != self._definition or not stamp.complete:
            return None
        if stamp.before is None and stamp.state == self._state:
            return np.empty(0, np.int64)
        return self._collection.changed_between(stamp.positions) if stamp.positions else None


@dataclass(frozen=True, eq=False)
class _Search:
    """One search in one state of the index."""

    client: Client
    metric: Cosine
    rows: Any
    ids: NDArray[np.int64]
    view: _View
    queries: NDArray[np.float32]
    k: int
    selection: Selection | None
    without: Sequence[NDArray[np.int64]] | None

    @property
    def drops_afterwards(self) -> bool:
        """Whether a selection leaves out so few images that they are dropped from what is proposed."""
        return self.selection is None or (self.selection.included is None and len(self.selection.excluded) <= FEW)

    @property
    def sends_filter(self) -> bool:
        """Whether Milvus filters.

        Its graphs miss images that pass at any price, so their candidates are filtered here: among 4,000 images Milvus
        2.3.5 searched a random ninth with a recall of 0.88, by 64 nodes and by 4,096.
        """
        return not self.drops_afterwards and self.view.stamp.kind != "HNSW"

    @cached_property
    def chosen(self) -> NDArray[np.int64]:
        """All images that may be hits, ascending."""
        return selected(self.ids, self.selection)

    @property
    def passing(self) -> NDArray[np.int64]:
        """All images that pass the filter that is sent to Milvus, ascending."""
        return self.chosen if self.sends_filter else self.ids

    @cached_property
    def recent(self) -> NDArray[np.int64]:
        """Those that may be hits and are compared here, ascending."""
        return selected(self.view.present, self.selection)

    @cached_property
    def proposable(self) -> NDArray[np.int64]:
        """All images that Milvus is to propose, ascending."""
        return without_ids(self.passing, self.view.touched)

    def result(self) -> Neighbours:
        """The k nearest images of each query."""
        dropped = self.selection if self.drops_afterwards else None
        excluded = [excluded_by(dropped, self.without, at) for at in range(len(self.queries))]
        listed = self.view.touched if len(self.view.touched) > FEW else None
        filter_ = expression(self.selection if self.sends_filter else None, listed)
        beyond = max(map(len, excluded)) + (0 if listed is not None else len(self.view.touched))
        result = empty_neighbours(len(self.queries), self.k)
        left = np.arange(len(self.queries))
        limit, most = self.k + beyond + _SPARE, LIMIT
        if not self.drops_afterwards and not self.sends_filter:
            share = len(self.chosen) / len(self.ids)
            limit, most = math.ceil(2 * limit / share) if share else LIMIT + 1, _DEEPEST
        while len(left):
            if filter_ is None or limit > most:  # more ids or hits than a request may have
                further = None if self.without is None else [self.without[at] for at in left.tolist()]
                nearest = search_many(self.rows, self.chosen, self.queries[left], self.k, further)
                result[0][left], result[1][left] = nearest
                break
            proposals = self._proposals(left, limit, filter_)
            proven = np.array(
                [
                    self._rank(result, at, ids, products, excluded[at], limit)
                    for at, (ids, products) in zip(left.tolist(), proposals, strict=True)
                ]
            )
            left = left[~proven]
            limit *= 4
        return result

    def _proposals(
        self, left: NDArray[np.int64], limit: int, filter_: str
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Ids and inner products of what Milvus proposes for queries, best first."""
        stamp, step = self.view.stamp, max(1, _HITS // limit)
        search = parameters(stamp.kind, stamp.search, limit, stamp.images if self.sends_filter else None)
        proposals = []
        for start in range(0, len(left), step):
            block = left[start : start + step]
            answer = self.client.call(
                "search",
                self.view.name,
                data=list(self.queries[block]),
                filter=filter_,
                limit=limit,
                output_fields=["id"],
                search_params={"metric_type": "IP", "params": search},
                anns_field="vector",
                consistency_level="Strong" if stamp.is_recent else "Bounded",
            )
            if len(answer) != len(block):
                raise RemoteAnswerError(
                    f"{self.client.address.name}: {len(block)} queries were sent and {len(answer)} answered"
                )
            for hits in answer:
                ids = np.array([hit["id"] for hit in hits], np.int64)
                proposals.append((ids, np.array([hit["distance"] for hit in hits], np.float64)))
        return proposals

    def _rank(
        self,
        result: Neighbours,
        at: int,
        ids: NDArray[np.int64],
        products: NDArray[np.float64],
        excluded: NDArray[np.int64],
        limit: int,
    ) -> bool:
        """Write the k nearest of a query's candidates; False where more candidates are needed.

        An index that compares every vector has returned all whose product is larger than the last, so the result is
        proven once its worst cosine is. Of one that does not, too few candidates are made up for by comparing all here.
        """
        query, name = self.queries[at], self.client.address.name
        exact = self.view.stamp.kind == EXACT_KIND
        seen = among(ids, self.view.touched)
        candidates, products = ids[~seen], products[~seen]
        order = np.argsort(candidates)
        candidates, products = candidates[order], products[order]
        if not among(candidates, self.passing).all() or (candidates[1:] == candidates[:-1]).any():
            raise RemoteAnswerError(f"{name} proposes images that are not searched; {_ADVICE}")
        whole = len(ids) < limit
        if exact and whole and len(candidates) < len(self.proposable):
            raise RemoteAnswerError(
                f"{name} proposes {len(candidates):,} of {len(self.proposable):,} images; {_ADVICE}"
            )
        left = ~among(candidates, excluded)
        if not self.drops_afterwards and not self.sends_filter:
            left &= among(candidates, self.chosen)
        candidates, products = candidates[left], products[left]
        unseen = -np.inf if whole else float(products.min(initial=np.inf))
        distances, near = ranked(self.metric, self.rows, query, candidates, self.k)
        tolerance = _TOLERANCE.get(self.view.stamp.kind, 1e-3)
        if (np.abs(1 - distances - products[np.searchsorted(candidates, near)]) > tolerance).any():
            raise RemoteAnswerError(f"{name} has other vectors than the collection; {_ADVICE}")
        few = len(near) < self.k or (self.sends_filter and whole)  # or of the lists that were read
        if few and len(candidates) < len(without_ids(self.chosen, np.union1d(self.view.touched, excluded))):
            if exact:
                return False
            nearest = search_many(self.rows, self.chosen, query[None], self.k, [excluded])
            result[0][at], result[1][at] = nearest[0][0], nearest[1][0]
            return True
        if exact and not whole:
            worst = np.partition(distances, self.k - 1)[self.k - 1]
            if 1 - worst <= unseen + _ROUNDING:
                return False
        recent = without_ids(self.recent, excluded)
        if len(recent):
            further = self.metric.distances(query[None], self.rows.take(recent))[0]
            distances, near = merged(distances, near, further, recent)
        put_nearest(result, at, distances, near)
        return True
