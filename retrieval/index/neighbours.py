"""The k nearest of computed distances, with ties by id, and plain scans that give them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Selection, among
from retrieval.index.protocol import BLOCK, Metric, Neighbours, Rows

FEW = 256
"""Ids that are rather dropped from a search's candidates than excluded from the search."""
_NONE = np.empty(0, np.int64)
_ROUNDING = 1.05 * 2.0**-24
"""Relative error of one operation in single precision, and what products of errors add."""


def empty_neighbours(queries: int, k: int) -> Neighbours:
    """Distances of inf and ids of -1, (queries, k)."""
    return np.full((queries, k), np.inf), np.full((queries, k), -1, np.int64)


def nearest(distances: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Positions of the k smallest of distances (n,), ascending; equal ones by position."""
    if len(distances) <= FEW:
        return np.argsort(distances, kind="stable")[:k]
    if k < len(distances):
        candidates = np.flatnonzero(distances <= np.partition(distances, k - 1)[k - 1]) if k else np.arange(0)
    else:
        candidates = np.arange(len(distances))
    return candidates[np.argsort(distances[candidates], kind="stable")[:k]]


def put_nearest(
    result: Neighbours, at: int, distances: NDArray[np.float64], ids: NDArray[np.int64], k: int | None = None
) -> None:
    """Write the k nearest of distances (n,) to ids (n,) ascending into row `at` of a result; inf is no neighbour.

    Distances below 0, which rounding makes of unit vectors, become 0 after they are ordered.
    """
    order = nearest(distances, result[0].shape[1] if k is None else k)
    order = order[distances[order] < np.inf]
    result[0][at, : len(order)] = np.maximum(distances[order], 0)
    result[1][at, : len(order)] = ids[order]


def excluded_by(selection: Selection | None, without: Sequence[NDArray[np.int64]] | None, at: int) -> NDArray[np.int64]:
    """Ids that query `at` leaves out, ascending."""
    further = _NONE if without is None else np.asarray(without[at], np.int64)
    if selection is None or not len(selection.excluded):
        return further
    return np.union1d(selection.excluded, further) if len(further) else selection.excluded


def selected(ids: NDArray[np.int64], selection: Selection | None) -> NDArray[np.int64]:
    """Those of ids (n,) ascending that a selection has."""
    if selection is None or selection.is_everything:
        return ids
    if selection.included is None:
        return without_ids(ids, selection.excluded)
    chosen = selection.ids
    return chosen[among(chosen, ids)]


def merged(
    distances: NDArray[np.float64], ids: NDArray[np.int64], further: NDArray[np.float64], further_ids: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two lists of distances and different ids as one, ascending by id; ids of -1 are left out."""
    further, further_ids = further[further_ids >= 0], further_ids[further_ids >= 0]
    order = np.argsort(together := np.concatenate([ids, further_ids]))
    return np.concatenate([distances, further])[order], together[order]


def with_ids(ids: NDArray[np.int64], added: NDArray[np.int64]) -> NDArray[np.int64]:
    """The union of ids (n,) ascending and added ids (m,), ascending; numpy's takes 40 ms for one more than 100,000."""
    new = np.unique(added[~among(added, ids)])
    if not len(ids) or (len(new) and new[0] > ids[-1]):
        return np.concatenate([ids, new])
    return np.insert(ids, np.searchsorted(ids, new), new)


def without_ids(ids: NDArray[np.int64], excluded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of ids (n,) ascending that are not in `excluded`."""
    present = excluded[among(excluded, ids)]
    if not len(present):
        return ids
    places = np.searchsorted(ids, present)
    if len(places) > FEW:
        return np.delete(ids, places)
    places = np.unique(places)  # copied once, in pieces between them
    return np.concatenate([ids[left + 1 : right] for left, right in pairwise([-1, *places.tolist(), len(ids)])])


def scan(
    metric: Metric,
    rows: Rows,
    ids: NDArray[np.int64],
    queries: NDArray[Any],
    k: int,
    without: Sequence[NDArray[np.int64]] | None = None,
) -> Neighbours:
    """The k nearest of the images `ids` (n,) ascending, every vector compared by the metric; reads them block by block.

    Distances are not clamped at 0.
    """
    best, best_ids = empty_neighbours(len(queries), k)
    for start in range(0, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        distances = np.array(metric.distances(queries, rows.take(block)), np.float64)
        for at in range(len(queries)):
            if without is not None:
                distances[at, np.searchsorted(block, without[at][among(without[at], block)])] = np.inf
            together = np.concatenate([best[at], distances[at]])  # those of earlier blocks have smaller ids
            order = nearest(together, k)
            best[at], best_ids[at] = together[order], np.concatenate([best_ids[at], block])[order]
    best_ids[best == np.inf] = -1
    return best, best_ids


def measured_distances(
    metric: Metric, rows: Rows, present: NDArray[np.int64], queries: NDArray[Any], ids: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distances (q, m) to images `ids` (m,), NaN for those not in `present` (n,) ascending; see `Index.distances`."""
    result = np.full((len(queries), len(ids)), np.nan)
    stored = among(ids, present)
    if stored.any():
        result[:, stored] = np.maximum(metric.distances(queries, rows.take(ids[stored])), 0)
    return result


def ranked(
    metric: Metric, rows: Rows, query: NDArray[np.float32], ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances and ids of those of images (m,) ascending that may be among the k nearest to a unit vector (d,).

    By single precision and the most that it can err: rounding n products and their sum takes at most (n + 1) halves of
    the last place from the sum of their sizes, which is at most 1 for unit vectors. So double precision has k vectors
    to compare and few others.
    """
    if len(ids) <= 2 * k:  # as soon compared in double precision
        return metric.distances(query[None], rows.take(ids))[0], ids
    array = rows.mapped(ids)
    if array is None or array.dtype != np.float32:
        vectors = rows.take(ids)
        near = _contenders(vectors @ query, query, k)
        return metric.distances(query[None], vectors[near])[0], ids[near]
    ids = ids[_contenders(_products(array, query, ids), query, k)]
    return metric.distances(query[None], array[ids])[0], ids


def _contenders(products: NDArray[np.float32], query: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Which of images may be among the k nearest, by inner products (m,) in single precision, m > k."""
    error = _ROUNDING * (len(query) + 8) * max(1.0, float(np.linalg.norm(query)))
    near: NDArray[np.bool_] = products >= np.partition(products, -k)[-k] - 2 * error
    return near


def _products(array: NDArray[Any], query: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Inner products (m,) of a query and rows of an array in single precision; reads vectors where they lie."""
    import faiss  # not for every import of the engine

    products = np.empty(len(ids), np.float32)
    ids, query = np.ascontiguousarray(ids), np.ascontiguousarray(query)
    faiss.fvec_inner_products_by_idx(*map(faiss.swig_ptr, (products, query, array, ids)), len(query), 1, len(ids))
    return products
