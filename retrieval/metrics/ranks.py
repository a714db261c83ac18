"""Where the relevant images of each query stand in its ranked list: all that a ranking measure needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RelevantRanks:
    """The ranks of the relevant images of q queries, one query after another.

    ranks: (sum of R,) int, from 1, ascending within a query. relevant: (q,) int, R of each query.
    The measures over these give NaN to a query with R = 0, so that it is counted apart and never scored in silence.
    """

    ranks: NDArray[np.integer]
    relevant: NDArray[np.int64]

    @classmethod
    def of(cls, ranks: list[list[int]]) -> RelevantRanks:
        """From one list of ranks a query, as a person writes them down."""
        flat = [rank for one in ranks for rank in one]
        return cls(np.array(flat, np.int64), np.array([len(one) for one in ranks], np.int64))

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """h(i) at each relevant rank i: 1, 2, ..., R within each query; (sum of R,)."""
        starts = np.cumsum(self.relevant) - self.relevant
        return np.arange(1, len(self.ranks) + 1) - np.repeat(starts, self.relevant)

    @cached_property
    def relevant_or_nan(self) -> NDArray[np.float64]:
        """R as a divisor, (q,): NaN where no image is relevant."""
        return np.where(self.relevant > 0, self.relevant, np.nan)

    def sums(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sum over each query's relevant images of one value an image: (sum of R,) -> (q,), NaN where R = 0."""
        total = np.full(len(self.relevant), np.nan)
        some = self.relevant > 0
        if some.any():
            starts = (np.cumsum(self.relevant) - self.relevant)[some]
            total[some] = np.add.reduceat(values, starts, dtype=np.float64)
        return total

    def found(self, k: int | NDArray[np.int64]) -> NDArray[np.float64]:
        """h(k), the relevant images among the first k hits; k one number, or one a query. (q,), NaN where R = 0."""
        return self.sums(self.ranks <= (k if isinstance(k, int) else np.repeat(k, self.relevant)))
