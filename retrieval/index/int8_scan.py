"""Exact search among unit vectors by cosine: a scan of int8 codes proposes, double precision decides.

The scan reads a quarter of the bytes that a scan of the vectors would. What coding takes from both sides bounds the
cosine of every vector that was not proposed, so a search goes on until no such vector can belong to the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.filters import Selection, among
from retrieval.index.cosine import Cosine
from retrieval.index.cosine_batch import PAYS_FROM, search_many
from retrieval.index.neighbours import (
    FEW,
    empty_neighbours,
    excluded_by,
    measured_distances,
    put_nearest,
    ranked,
    scan,
    selected,
    with_ids,
    without_ids,
)
from retrieval.index.protocol import EXACT, Metric, Neighbours, Rows

_SPARE = 128
"""Candidates beyond k that the first scan proposes."""
_CODING_BLOCK = 256
"""Vectors that are coded at once; they fit a cache."""
_DIRECT = 512
"""Vectors that are rather compared themselves than by their codes."""
_SHARE = 16
"""The same for one vector in so many: to skip the others' codes takes longer."""
_SMALLEST = 1e-30
"""What stands in for the largest number of vectors of zeros."""
_ROUNDING = 1e-5
"""More than single precision can err on the inner product of unit vectors of 100,000 dimensions in FAISS's order."""


class Int8Index:
    """Nearest unit vectors by cosine, every one compared.

    rows: the stored vectors, float32 of unit length. ids: (n,) int64 ascending, the images that have one.
    """

    description = EXACT

    def __init__(self, rows: Rows, ids: NDArray[np.int64]) -> None:
        self._rows = rows
        self._metric = Cosine()
        self._changing = Lock()
        # Replaced as a whole, never changed in place: a search goes on with the one that it began with.
        self._state = State(ids, (Segment.of(rows, ids),) if len(ids) else ())

    @staticmethod
    def of_segments(rows: Rows, ids: NDArray[np.int64], segments: tuple[Segment, ...]) -> Int8Index:
        """An index of images (n,) ascending that are coded already, each in one of the segments."""
        index = Int8Index(rows, ids[:0])
        index._state = State(ids, segments)
        return index

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Vectors that were coded together, the oldest first."""
        return self._state.segments

    @property
    def ids(self) -> NDArray[np.int64]:
        """The images that are in the index, (n,) ascending."""
        return self._state.ids

    def search_segments(
        self, query: NDArray[np.float32], k: int, scopes: Sequence[Scope], excluded: NDArray[np.int64]
    ) -> Neighbours:
        """The k nearest images (1, k) of a query (d,) within scopes of segments, but for those excluded, ascending."""
        result = empty_neighbours(1, k)
        if scopes:
            self._search_query(query, scopes, excluded, result, 0)
        return result

    def __len__(self) -> int:
        return len(self._state.ids)

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        """The k nearest images of each query (q, d); see the `Index` protocol."""
        state = self._state
        queries = np.ascontiguousarray(queries, np.float32)
        result = empty_neighbours(len(queries), k)
        if not k or not len(state.ids):
            return result
        if selection is not None and selection.included is not None and len(selection.included) <= FEW:
            distances, ids = scan(self._metric, self._rows, selected(state.ids, selection), queries, k, without)
            return np.maximum(distances, 0), ids
        if len(queries) >= PAYS_FROM:
            return search_many(self._rows, selected(state.ids, selection), queries, k, without)
        scopes = [segment.scope(selection) for segment in state.segments]
        dropped = None if selection is None or not drops(selection) else selection
        faiss.omp_set_num_threads(1)
        for at, query in enumerate(queries):
            self._search_query(query, scopes, excluded_by(dropped, without, at), result, at)
        return result

    def distances(self, queries: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (q, m), NaN where an image has no vector; see the `Index` protocol."""
        return measured_distances(self._metric, self._rows, self._state.ids, queries, ids)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Add images whose vectors the rows have; see the `Index` protocol."""
        ids = np.unique(ids)
        if not len(ids):
            return
        with self._changing:
            state = self._state.without(ids, self._rows)
            segments = [*state.segments, Segment.of(self._rows, ids)]
            # Each segment is larger than all later ones together, so there are few and a vector is coded few times.
            while len(segments) > 1 and len(segments[-2].ids) <= 2 * len(segments[-1].ids):
                later, earlier = segments.pop(), segments.pop()
                segments.append(Segment.of(self._rows, with_ids(earlier.live, later.live)))
            self._state = State(with_ids(state.ids, ids), tuple(segments))

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove images; see the `Index` protocol."""
        with self._changing:
            self._state = self._state.without(np.unique(ids), self._rows)

    def flush(self) -> None:
        """No-op: nothing is slow to build."""

    def copy(self) -> Int8Index:
        """An independent index that shares the codes."""
        copied = Int8Index(self._rows, self._state.ids[:0])
        copied._state = self._state
        return copied

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """1: every vector is compared."""
        return 1.0

    def _search_query(
        self,
        query: NDArray[np.float32],
        scopes: Sequence[Scope],
        excluded: NDArray[np.int64],
        result: Neighbours,
        at: int,
    ) -> None:
        k = result[0].shape[1]
        few = sum(scope.count for scope in scopes)
        if few <= _DIRECT or few * _SHARE <= sum(len(scope.segment.ids) for scope in scopes):
            ids = np.concatenate([scope.ids for scope in scopes]) if len(scopes) > 1 else scopes[0].ids
            put_nearest(result, at, *ranked(self._metric, self._rows, query, without_ids(np.sort(ids), excluded), k))
            return
        codes = code_query(query)
        norm = float(np.linalg.norm(query))
        rounding = _ROUNDING * max(1.0, norm)
        count = k + len(excluded) + _SPARE
        while True:
            proposal = _propose(codes, norm, scopes, count, excluded)
            distances, ids = ranked(self._metric, self._rows, query, np.sort(proposal.contenders(k, rounding)), k)
            worst = np.partition(distances, k - 1)[k - 1] if len(ids) >= k else np.inf
            if proposal.unseen == -np.inf or 1 - worst > proposal.unseen + rounding:
                put_nearest(result, at, distances, ids)
                return
            count *= 2


def build(metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None) -> Int8Index:
    """An index of the images `ids` (n,) ascending; stores nothing on disk, since it is coded sooner than read."""
    return Int8Index(rows, ids)


@dataclass(frozen=True, eq=False)
class State:
    """ids: (n,) ascending, the images that are in the index. segments: their codes, those of older images first."""

    ids: NDArray[np.int64]
    segments: tuple[Segment, ...]

    def without(self, ids: NDArray[np.int64], rows: Rows) -> State:
        """The same without images (m,) ascending."""
        present = ids[among(ids, self.ids)]
        if not len(present):
            return self
        segments = (segment.without(present, rows) for segment in self.segments)
        return State(without_ids(self.ids, present), tuple(segment for segment in segments if segment.count))


@dataclass(frozen=True, eq=False)
class Segment:
    """Vectors that were coded together.

    ids: (n,) ascending. codes: a FAISS index of them. step: what a code of 1 stands for. lost: the most that coding
    took from a vector, as a length. length: the longest coded vector's. alive: (n,) bool, None where all are; what was
    removed stays coded until a quarter is removed.
    """

    ids: NDArray[np.int64]
    codes: Any
    step: float
    lost: float
    length: float
    alive: NDArray[np.bool_] | None = None
    _scopes: WeakKeyDictionary[Selection, Scope] = field(default_factory=WeakKeyDictionary, init=False, repr=False)

    def scope(self, selection: Selection | None) -> Scope:
        """What a search within a selection reads; computed once for each selection."""
        if selection is None or selection.is_everything or drops(selection):
            return Scope(self, self.selector, self.count, self.alive)
        scope = self._scopes.get(selection)
        if scope is None:
            scope = self._scopes[selection] = Scope.of(self, selection)
        return scope

    @staticmethod
    def of(rows: Rows, ids: NDArray[np.int64]) -> Segment:
        """Code the vectors of images `ids` (n,) ascending, n >= 1."""
        faiss.omp_set_num_threads(1 if len(ids) <= _CODING_BLOCK else available_cores())
        step = max(map(_step, _blocks(rows, ids)))
        codes = faiss.IndexScalarQuantizer(
            rows.dimension, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        lost = length = 0.0
        for block in _blocks(rows, ids):
            coded = code(block, step)
            codes.add(coded.whole)
            lost, length = max(lost, coded.lost), max(length, coded.length)
        return Segment(ids, codes, step, lost, length)

    @cached_property
    def count(self) -> int:
        """How many were not removed."""
        return len(self.ids) if self.alive is None else int(np.count_nonzero(self.alive))

    @cached_property
    def live(self) -> NDArray[np.int64]:
        """The ids that were not removed, ascending."""
        return self.ids if self.alive is None else self.ids[self.alive]

    @cached_property
    def selector(self) -> Any:
        """FAISS's selector of the vectors that were not removed; None where all are."""
        return None if self.alive is None else _bitmap(self.alive)

    def without(self, ids: NDArray[np.int64], rows: Rows) -> Segment:
        """The same without images (m,) ascending; coded anew where more than a quarter is removed."""
        present = ids[among(ids, self.ids)]
        if not len(present):
            return self
        alive = np.ones(len(self.ids), bool) if self.alive is None else self.alive.copy()
        alive[np.searchsorted(self.ids, present)] = False
        left = replace(self, alive=alive)
        return Segment.of(rows, left.live) if left.count and 4 * left.count < 3 * len(self.ids) else left


@dataclass(frozen=True, eq=False)
class Scope:
    """What a search reads of a segment: the vectors that a selector passes, `count` of them, `passes` (n,) or None."""

    segment: Segment
    selector: Any
    count: int
    passes: NDArray[np.bool_] | None

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The images, ascending."""
        return self.segment.ids if self.passes is None else self.segment.ids[self.passes]

    @staticmethod
    def of(segment: Segment, selection: Selection) -> Scope:
        """The vectors that are in a selection."""
        passes = members(segment.ids, selection)
        if segment.alive is not None:
            passes &= segment.alive
        return Scope(segment, _bitmap(passes), int(np.count_nonzero(passes)), passes)


def members(ids: NDArray[np.int64], selection: Selection) -> NDArray[np.bool_]:
    """Which of ids (n,) ascending are in a selection, by a table: many searches in a large array take longer."""
    passes = np.zeros(int(ids[-1]) + 1, bool)
    included = selection.images if selection.included is None else selection.included
    passes[included[: np.searchsorted(included, ids[-1], side="right")]] = True
    passes[selection.excluded[selection.excluded <= ids[-1]]] = False
    chosen: NDArray[np.bool_] = passes[ids]
    return chosen


def drops(selection: Selection) -> bool:
    """Whether a search drops what is excluded from its candidates, rather than excluding it from the scan."""
    return selection.included is None and len(selection.excluded) <= FEW


@dataclass(frozen=True, eq=False)
class _Proposal:
    """Candidates of one query.

    ids: (c,). products: (c,), the cosines of coded vectors. hidden: (c,) or one number, the most by which coding
    changed each. unseen: what no other vector's cosine exceeds but for rounding; -inf where there is no other.
    """

    ids: NDArray[np.int64]
    products: NDArray[np.float64]
    hidden: NDArray[np.float64] | float
    unseen: float

    def contenders(self, k: int, rounding: float) -> NDArray[np.int64]:
        """The candidates that may be among the k nearest: the least that k of them have is in reach of their most."""
        if len(self.ids) <= k:
            return self.ids
        surely = self.products - self.hidden
        reached = np.partition(surely, -k)[-k] - 2 * rounding
        chosen: NDArray[np.int64] = self.ids[self.products + self.hidden >= reached]
        return chosen


def _propose(codes: _Codes, norm: float, scopes: Sequence[Scope], count: int, excluded: NDArray[np.int64]) -> _Proposal:
    """The candidates of a coded query in each scope; excluded: ids that are none, ascending."""
    proposed = [_Proposal(np.empty(0, np.int64), np.empty(0), 0.0, -np.inf)]
    for scope in scopes:
        segment = scope.segment
        fetched = min(count, scope.count)
        if not fetched:
            continue
        settings = None if scope.selector is None else faiss.SearchParameters(sel=scope.selector)
        query = padded_to(segment.codes.d, codes.whole)
        whole, positions = segment.codes.search(query, fetched, params=settings)
        products = whole[0].astype(np.float64) * (codes.step * segment.step)
        hidden = codes.lost * segment.length + norm * segment.lost
        unseen = float(products[-1]) + hidden if fetched < scope.count else -np.inf
        ids = segment.ids[positions[0]]
        if len(excluded):
            left = ~among(ids, excluded)
            ids, products = ids[left], products[left]
        proposed.append(_Proposal(ids, products, hidden, unseen))
    if len(proposed) == 2:
        return proposed[1]
    return _Proposal(
        np.concatenate([part.ids for part in proposed]),
        np.concatenate([part.products for part in proposed]),
        np.concatenate([np.full(len(part.ids), part.hidden) for part in proposed]),
        max(part.unseen for part in proposed),
    )


@dataclass(frozen=True)
class _Codes:
    """Vectors (n, d) as whole numbers from -127 to 127.

    step: what a 1 stands for. lost: the most that coding took from a vector, as a length. length: the longest coded
    vector's.
    """

    whole: NDArray[np.float32]
    step: float
    lost: float
    length: float


def code(vectors: NDArray[np.float32], step: float) -> _Codes:
    """Vectors (n, d) coded by a step."""
    whole = vectors / np.float32(step)
    np.rint(whole, out=whole)
    lost = whole * np.float32(step)
    length = _longest(lost)
    lost -= vectors
    return _Codes(whole, step, _longest(lost), length)


def code_query(query: NDArray[np.float32]) -> _Codes:
    """A query (d,) coded by a step of its own, as (1, d); what `code` makes, in fewer calls and without its length."""
    whole, step = whole_query(query)
    lost = whole[0] * np.float32(step)
    lost -= query
    return _Codes(whole, step, math.sqrt(np.einsum("d,d->", lost, lost)), math.nan)


def whole_query(query: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """A query (d,) as whole numbers (1, d) from -127 to 127, and the step that a 1 stands for."""
    step = max(float(query.max()), -float(query.min()), _SMALLEST) / 127
    whole = query / np.float32(step)
    np.rint(whole, out=whole)
    return whole[None], step


def padded_to(width: int, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (n, d) with zeros appended up to a width, C-contiguous; products stay as they are."""
    if vectors.shape[1] == width:
        return np.ascontiguousarray(vectors, np.float32)
    wider = np.zeros((len(vectors), width), np.float32)
    wider[:, : vectors.shape[1]] = vectors
    return wider


def _longest(vectors: NDArray[np.float32]) -> float:
    return math.sqrt(np.einsum("nd,nd->n", vectors, vectors).max())


def _step(vectors: NDArray[np.float32]) -> float:
    return max(float(vectors.max()), -float(vectors.min()), _SMALLEST) / 127


def _blocks(rows: Rows, ids: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    return (rows.take(ids[start : start + _CODING_BLOCK]) for start in range(0, len(ids), _CODING_BLOCK))


def _bitmap(passes: NDArray[np.bool_]) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(passes, bitorder="little"))
