"""Rocchio's rule (J. J. Rocchio, "Relevance feedback in information retrieval", in Salton, The SMART Retrieval System,
1971): the query, plus the mean of the relevant, less the mean of the irrelevant.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RELEVANT = 3.0
IRRELEVANT = 1.5
"""Weights of the two means; the query's own is 1. Salton and Buckley ("Improving retrieval performance by relevance
feedback", JASIS 41(4), 1990) give texts 0.75 and 0.25. A picture as a query is one example among others, and the marks
of a person tell more of what is wanted."""


def rocchio_weights(
    query: NDArray[np.float64], relevant: int, irrelevant: int, towards: float = RELEVANT, away: float = IRRELEVANT
) -> NDArray[np.float64]:
    """Signed weights (p + r + i,) of the p parts of a query, whose own weights (p,) come first, and the marked images.

    towards, away: weights of the two means.

    A sum of weighted unit vectors is Rocchio's query; with weighted distances in its place the rule holds in any space.
    """
    return np.concatenate(
        [query, np.full(relevant, towards / max(relevant, 1)), np.full(irrelevant, -away / max(irrelevant, 1))]
    )
