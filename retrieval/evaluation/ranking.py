"""Whole ranked lists of a block of queries: distances -> order and ranks of the relevant images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.errors import EvaluationError
from retrieval.metrics.relevance import Relevance

_DIGIT_BITS = 11
_DIGITS = 6  # 6 * 11 bits cover the 64 of a double


class UndefinedDistanceError(EvaluationError):
    """A distance is not a number, so there is no order."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """The ranked lists of q queries in a gallery of n images.

    order: (q, n) int32, gallery rows, nearest first; only the first `listed` (q,) of a query are hits, -1 stands in
    place of what the protocol leaves out. distances: (q, n) float64 in the gallery's order. relevance: ranks and number
    of the gallery images of each query's class.
    """

    order: NDArray[np.int32]
    listed: NDArray[np.int64]
    distances: NDArray[np.float64]
    relevance: Relevance


@dataclass(frozen=True, eq=False)
class Labelled:
    """Queries, or a gallery: class (-1 for none) and group of each image, both (n,) int64."""

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]


def rank(distances: NDArray[np.floating], queries: Labelled, gallery: Labelled) -> Ranking:
    """Rank a gallery for each query by distance (q, n), equal ones by gallery row.

    A gallery image of the query's own group is left out: the query itself, or its cluster.
    Raises UndefinedDistanceError where a distance is not a number.
    """
    # Adding 0 turns -0.0 into 0.0, which would otherwise rank as two different numbers.
    keys = np.add(distances, 0.0, dtype=np.float64, order="C")
    if np.isnan(keys).any():
        raise UndefinedDistanceError(
            "a distance between two images is not a number; `kvasir verify` finds damaged vectors"
        )
    q, n = keys.shape
    order = np.empty((q, n), np.int32)
    listed, relevant = np.empty(q, np.int64), np.empty(q, np.int64)
    most = int(np.bincount(gallery.labels[gallery.labels >= 0], minlength=1).max())
    ranks = np.empty((q, most), np.int32)
    _rank(
        keys.view(np.uint64),
        queries.labels,
        queries.groups,
        gallery.labels,
        gallery.groups,
        order,
        listed,
        ranks,
        relevant,
    )
    flat = ranks[np.arange(most) < relevant[:, None]]
    return Ranking(order, listed, keys, Relevance(flat, relevant))


@compiled
def _rank(  # pragma: no cover
    bits: NDArray[Any],
    query_labels: NDArray[Any],
    query_groups: NDArray[Any],
    labels: NDArray[Any],
    groups: NDArray[Any],
    order: NDArray[Any],
    listed: NDArray[Any],
    ranks: NDArray[Any],
    relevant: NDArray[Any],
) -> None:
    """Radix sort of each row: stable, so that equal distances stay in row order, and faster than comparing."""
    queries, n = bits.shape
    buckets = 1 << _DIGIT_BITS
    keys, other_keys = np.empty(n, np.uint64), np.empty(n, np.uint64)
    rows, other_rows = np.empty(n, np.int32), np.empty(n, np.int32)
    counts = np.empty((_DIGITS, buckets), np.int64)
    top = np.uint64(1) << np.uint64(63)
    mask = np.uint64(buckets - 1)
    for q in range(queries):
        counts[:] = 0
        length = 0
        for row in range(n):
            if groups[row] == query_groups[q]:
                continue
            key = bits[q, row]
            # The bits of a double sort as its value once a negative one's are all turned and a positive one's first is.
            key = ~key if key & top else key | top
            keys[length], rows[length] = key, row
            length += 1
            for digit in range(_DIGITS):
                counts[digit, (key >> np.uint64(digit * _DIGIT_BITS)) & mask] += 1
        for digit in range(_DIGITS):
            shift = np.uint64(digit * _DIGIT_BITS)
            if length and counts[digit, (keys[0] >> shift) & mask] == length:
                continue  # all have the same digit
            start = 0
            for bucket in range(buckets):
                count = counts[digit, bucket]
                counts[digit, bucket] = start
                start += count
            for i in range(length):
                bucket = (keys[i] >> shift) & mask
                to = counts[digit, bucket]
                counts[digit, bucket] = to + 1
                other_keys[to], other_rows[to] = keys[i], rows[i]
            keys, other_keys = other_keys, keys
            rows, other_rows = other_rows, rows
        right = 0
        for i in range(length):
            row = rows[i]
            order[q, i] = row
            if labels[row] == query_labels[q] and labels[row] >= 0:
                ranks[q, right] = i + 1
                right += 1
        listed[q], relevant[q] = length, right
        order[q, length:] = -1
