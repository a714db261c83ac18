"""A query in one space: the vectors of its parts, with signed weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class QueryVectors:
    """A query in one space: vectors (p, d) of the parts that it has there, in the stored dtype, and weights (p,), at
    least one of them positive, of which only the proportions count.

    texts: (p,), which parts are texts by the space's text encoder; None for none.
    """

    vectors: NDArray[Any]
    weights: NDArray[np.float64]
    texts: NDArray[np.bool_] | None = None

    @cached_property
    def positive(self) -> float:
        """The sum of the positive weights, by which a sum of weighted distances is divided."""
        return float(self.weights.sum(where=self.weights > 0))

    @property
    def negative_share(self) -> float:
        """The sum of the magnitudes of the negative weights, as a share of that of the positive ones."""
        return 1 - float(self.weights.sum()) / self.positive

    @property
    def text_share(self) -> float:
        """The share of texts in the positive weights."""
        if self.texts is None:
            return 0.0
        return float(self.weights.sum(where=self.texts & (self.weights > 0))) / self.positive

    @cached_property
    def is_signed(self) -> bool:
        """Whether a part has a negative weight, so that distances may be below 0."""
        return bool(min(self.weights.tolist()) < 0)
