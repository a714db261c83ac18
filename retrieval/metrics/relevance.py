"""Where the relevant images stand in the ranked list of each query: all that a ranking measure needs."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import EvaluationError

Cutoff = int | np.integer
"""The k of a measure: how many hits count, at least 1."""


class CutoffError(EvaluationError):
    """The k of a measure is not a whole number of at least 1."""


@dataclass(frozen=True, eq=False)
class Relevance:
    """The ranks of the relevant images of q queries, one query after another.

    ranks: (sum of R,) int, from 1, ascending within a query. counts: (q,) int, R of each query.
    The measures over these give NaN to a query with R = 0, so that it is counted apart and never scored in silence.
    """

    ranks: NDArray[np.integer]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, ranks: list[list[int]]) -> Relevance:
        """From one list of ranks a query, as a person writes them down."""
        flat = [rank for query in ranks for rank in query]
        return cls(np.array(flat, np.int64), np.array([len(query) for query in ranks], np.int64))

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """h(i) at each relevant rank i: 1, 2, ..., R within each query; (sum of R,)."""
        starts = np.cumsum(self.counts) - self.counts
        return np.arange(1, len(self.ranks) + 1) - np.repeat(starts, self.counts)

    @cached_property
    def counts_or_nan(self) -> NDArray[np.float64]:
        """R as a divisor, (q,): NaN where no image is relevant."""
        return np.where(self.counts > 0, self.counts, np.nan)

    def sums(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sum over each query's relevant images of one value an image: (sum of R,) -> (q,), NaN where R = 0."""
        total = np.full(len(self.counts), np.nan)
        some = self.counts > 0
        if some.any():
            starts = (np.cumsum(self.counts) - self.counts)[some]
            total[some] = np.add.reduceat(values, starts, dtype=np.float64)
        return total

    def hits(self, k: int | NDArray[np.int64]) -> NDArray[np.float64]:
        """h(k), the relevant images among the first k hits; k one number, or one a query. (q,), NaN where R = 0."""
        return self.sums(self.ranks <= (k if isinstance(k, int) else np.repeat(k, self.counts)))


def as_cutoff(k: Cutoff) -> int:
    """The k of a measure as a Python int, whichever integer type it comes in. Raises CutoffError."""
    try:
        cutoff = operator.index(k)
    except TypeError:
        cutoff = 0
    if cutoff < 1:
        raise CutoffError(f"k is {k!r}; give a whole number of hits, at least 1")
    return cutoff
