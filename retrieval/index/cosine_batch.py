"""Exact search by cosine for many queries at once: matrix products bound every cosine, double precision decides.

Products of whole vectors in single precision bound a cosine by rounding alone. Where the gallery lies near a subspace,
as embeddings of one kind of picture do, products in that subspace bound it as well, at a fraction of the work: with z
the coordinates in an orthonormal basis and r the length of the rest, <q, x> <= <z_q, z_x> + r_q r_x, which is the
product of (z_q, r_q) and (z_x, r_x). So in either case one product an image is an upper bound. The images of the
largest bounds are candidates, and a result is taken once its worst cosine exceeds every other image's bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.filters import among
from retrieval.index.cosine import Cosine
from retrieval.index.neighbours import empty_neighbours
from retrieval.index.protocol import BLOCK, Neighbours, Rows

PAYS_FROM = 16
"""Queries from which matrix products are faster than a scan for each query."""
_QUERIES = 512
"""Queries of one matrix product."""
_PAIRS = 64
"""Pairs whose distances are computed at once; their vectors fit a cache."""
_SPARE = 48
"""Candidates of a query beyond the k nearest."""
_SUBSPACE = 256
_SAMPLE = 1500
"""Vectors that the subspace is fitted to."""
_OUTSIDE = 0.06
"""Mean squared length outside the subspace up to which its bounds are near enough to the cosines."""
_TERMS = 128
"""Products that are added in single precision; sums of so many are added in double precision."""
_UNIT = 2.0**-24
"""Relative error of one operation in single precision."""

_Floats = NDArray[np.float64]
_Ids = NDArray[np.int64]


@dataclass(frozen=True)
class _Subspace:
    """basis: (d, s) float32, orthonormal columns; None for the whole space."""

    basis: NDArray[np.float32] | None

    @staticmethod
    def of(rows: Rows, ids: _Ids, queries: int) -> _Subspace:
        """The subspace of a gallery in which bounds cost least.

        Fitted by the randomised range finder of N. Halko, P. Martinsson and J. Tropp, "Finding structure with
        randomness", SIAM Review 53, 2011, to a sample of the gallery.
        """
        count, dimension = len(ids), rows.dimension
        multiplications = _SUBSPACE * dimension * (count + queries) + queries * count * _SUBSPACE
        if multiplications > 0.6 * queries * count * dimension:
            return _Subspace(None)
        random = np.random.default_rng(0)
        sample = rows.take(ids[np.sort(random.choice(count, min(count, _SAMPLE), replace=False))])
        sketch = sample @ random.standard_normal((dimension, _SUBSPACE)).astype(np.float32)
        directions = sample.T @ (sample @ (sample.T @ sketch))
        basis = np.linalg.qr(directions.astype(np.float64))[0].astype(np.float32)
        subspace = _Subspace(basis)
        outside = subspace.coordinates(sample)[:, -1].astype(np.float64)
        return subspace if np.mean(outside**2) <= _OUTSIDE else _Subspace(None)

    def coordinates(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors (n, d) -> (n, c) whose products are upper bounds of cosines but for `error`; C-contiguous."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        if self.basis is None:
            return vectors
        inside = np.zeros((len(vectors), self.basis.shape[1]))
        for start in range(0, vectors.shape[1], _TERMS):
            part = slice(start, start + _TERMS)
            inside += vectors[:, part] @ self.basis[part]
        squared = np.einsum("nd,nd->n", vectors, vectors).astype(np.float64)
        outside = squared - np.einsum("ns,ns->n", inside, inside)
        # The length outside is never too small: what may be wrong with its square is added.
        outside = np.sqrt(np.maximum(outside, 0) + squared * (3 * self._lost + (vectors.shape[1] + 8) * _UNIT))
        return np.column_stack([inside, outside]).astype(np.float32)

    def error(self, dimension: int) -> float:
        """The most by which single precision makes a bound of vectors of unit length too small."""
        if self.basis is None:
            return 1.05 * (dimension + 8) * _UNIT
        terms = int(self.basis.shape[1]) + 1
        return 1.05 * (terms + 8) * _UNIT + 3 * self._lost

    @property
    def _lost(self) -> float:
        """The most by which coordinates inside differ from exact ones, as a length, for a vector of unit length.

        Each is a sum of sums of _TERMS products; the basis, too, is rounded.
        """
        assert self.basis is not None
        return math.sqrt(self.basis.shape[1]) * (_TERMS + 8) * _UNIT


def search_many(
    rows: Rows, ids: _Ids, queries: NDArray[np.float32], k: int, without: Sequence[_Ids] | None = None
) -> Neighbours:
    """The k nearest of images `ids` (n,) ascending for each query (q, d), all of unit length, on every core.

    The numbers are those that a search for each query alone gives. See `Index.search` for `without` and the result.
    """
    result = empty_neighbours(len(queries), k)
    if not k or not len(ids):
        return result
    left_out = max(map(len, without), default=0) if without is not None else 0
    count = k + left_out + _SPARE
    subspace = _Subspace.of(rows, ids, len(queries))
    left = np.arange(len(queries))
    while len(left):
        further = None if without is None else [without[at] for at in left.tolist()]
        distances, nearest, proven = _search(rows, ids, queries[left], k, min(count, len(ids)), subspace, further)
        result[0][left[proven]], result[1][left[proven]] = distances[proven], nearest[proven]
        left = left[~proven]
        if subspace.basis is not None:  # whose bounds are loose for some queries
            subspace = _Subspace(None)
        else:  # many images are equally near
            count *= 8
    return result


def _search(
    rows: Rows,
    ids: _Ids,
    queries: NDArray[np.float32],
    k: int,
    count: int,
    subspace: _Subspace,
    without: Sequence[_Ids] | None,
) -> tuple[_Floats, _Ids, NDArray[np.bool_]]:
    """Distances and ids (q, k), and for which queries (q,) they are proven; `count` candidates a query."""
    coordinates = subspace.coordinates(queries)
    bounds = np.full((len(queries), count), -np.inf, np.float32)
    candidates = np.full((len(queries), count), -1, np.int64)
    chunks = [slice(start, start + _QUERIES) for start in range(0, len(queries), _QUERIES)]
    with ThreadPoolExecutor(available_cores(), "batch") as pool:
        for start in range(0, len(ids), BLOCK):
            block = ids[start : start + BLOCK]
            gallery = subspace.coordinates(rows.take(block))

            def propose(chunk: slice, gallery: NDArray[np.float32] = gallery, block: _Ids = block) -> None:
                faiss.omp_set_num_threads(1)
                fetched = min(count, len(block))
                products, positions = faiss.knn(coordinates[chunk], gallery, fetched, faiss.METRIC_INNER_PRODUCT)
                together = np.hstack([bounds[chunk], products])
                order = np.argsort(-together, axis=1, kind="stable")[:, :count]
                bounds[chunk] = np.take_along_axis(together, order, axis=1)
                candidates[chunk] = np.take_along_axis(np.hstack([candidates[chunk], block[positions]]), order, axis=1)

            list(pool.map(propose, chunks))

        def rank(chunk: slice) -> tuple[_Floats, _Ids, NDArray[np.bool_]]:
            lengths = np.linalg.norm(queries[chunk], axis=1, keepdims=True)
            bound = bounds[chunk] + subspace.error(rows.dimension) * np.maximum(1, lengths.astype(np.float64))
            unseen = bound[:, -1].copy() if count < len(ids) else np.full(len(bound), -np.inf)
            if without is not None:
                bound[_left_out(candidates[chunk], without[chunk])] = -np.inf
            return _rank(rows, queries[chunk], k, candidates[chunk], bound, unseen)

        ranked = list(pool.map(rank, chunks))
    distances, nearest, proven = (np.concatenate(parts) for parts in zip(*ranked, strict=True))
    return distances, nearest, proven


def _left_out(candidates: _Ids, without: Sequence[_Ids]) -> NDArray[np.bool_]:
    """Which candidates (q, c) are among the ids that their query leaves out."""
    longest = max(map(len, without), default=0)
    if longest > _SPARE:
        return np.stack([among(row, further) for row, further in zip(candidates, without, strict=True)])
    padded = np.full((len(without), longest), -2, np.int64)
    for at, further in enumerate(without):
        padded[at, : len(further)] = further
    left_out = np.zeros(candidates.shape, bool)
    for column in padded.T:
        left_out |= candidates == column[:, None]
    return left_out


def _rank(
    rows: Rows, queries: NDArray[np.float32], k: int, candidates: _Ids, bounds: _Floats, unseen: _Floats
) -> tuple[_Floats, _Ids, NDArray[np.bool_]]:
    """Distances and ids (q, k) of the nearest candidates (q, c), and whether no other image can be among them.

    bounds: (q, c), of the candidates' cosines, -inf for no candidate. unseen: (q,), of all other images' cosines.
    """
    distances = np.full(candidates.shape, np.inf)
    # The worst of the k candidates of the largest bounds is seldom far from the true k-th; so few others are compared.
    order = np.argsort(-bounds, axis=1, kind="stable")[:, :k]
    first = np.zeros(candidates.shape, bool)
    np.put_along_axis(first, order, True, axis=1)
    _measure(rows, queries, candidates, first & (bounds > -np.inf), distances)
    worst = _kth(distances, k)
    _measure(rows, queries, candidates, ~first & (bounds > -np.inf) & (1 - bounds <= worst[:, None]), distances)
    order = np.lexsort((candidates, distances), axis=1)[:, :k]
    nearest = np.full((len(queries), k), -1, np.int64)
    result = np.full((len(queries), k), np.inf)
    result[:, : order.shape[1]] = np.take_along_axis(distances, order, axis=1)
    nearest[:, : order.shape[1]] = np.take_along_axis(candidates, order, axis=1)
    nearest[result == np.inf] = -1
    return np.maximum(result, 0), nearest, (unseen == -np.inf) | (1 - unseen > _kth(distances, k))


def _kth(distances: _Floats, k: int) -> _Floats:
    """The k-th smallest distance of each row, (q,); inf where there are fewer."""
    if distances.shape[1] < k:
        return np.full(len(distances), np.inf)
    return np.partition(distances, k - 1, axis=1)[:, k - 1]


def _measure(
    rows: Rows, queries: NDArray[np.float32], candidates: _Ids, chosen: NDArray[np.bool_], distances: _Floats
) -> None:
    """Compute the distances of chosen (q, c) pairs of queries and candidates."""
    at, place = np.nonzero(chosen)
    for start in range(0, len(at), _PAIRS):
        query, column = at[start : start + _PAIRS], place[start : start + _PAIRS]
        images = rows.take(candidates[query, column])
        distances[query, column] = Cosine().pair_distances(queries[query], images)
