"""A ranked list of one query -> a better one, from how the listed images resemble each other; one method a file.

A method sees the query and its first candidates alone. What a search leaves out, such as near duplicates of the query,
is not among them, so nothing of it can leak into the new order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import QueryError
from retrieval.rerank.database_augmentation import DatabaseAugmentation
from retrieval.rerank.expansion import Expansion
from retrieval.rerank.k_reciprocal import KReciprocal
from retrieval.rerank.mmr import MaximalMarginalRelevance
from retrieval.rerank.query_expansion import QueryExpansion

__all__ = ["DEPTH", "METHODS", "PATTERN", "Reranker", "UnknownRerankingError", "reranked", "reranker_named"]

DEPTH = 1000
"""Candidates that are ranked anew; the others follow as they were."""


class UnknownRerankingError(QueryError):
    """There is no way of re-ranking of this name."""


class Reranker(Protocol):
    """Gives the candidates of a query new scores."""

    @property
    def name(self) -> str:
        """What it is called on the command line and over REST."""
        ...

    def scores(self, query: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (m,), larger is nearer, of candidates (m, d), the nearest first, for a query (d,); unit vectors."""
        ...


_ALL: tuple[Reranker, ...] = (
    QueryExpansion(),
    DatabaseAugmentation(),
    Expansion(),
    KReciprocal(),
    MaximalMarginalRelevance(),
)
_WEIGHED = re.compile(r"mmr:(0(?:\.[0-9]{1,6})?|0?\.[0-9]{1,6}|1(?:\.0{1,6})?)")
METHODS: Mapping[str, Reranker] = MappingProxyType({method.name: method for method in _ALL})
PATTERN = f"^({'|'.join(METHODS)}|{_WEIGHED.pattern})$"
"""All names, as a regular expression."""


def reranker_named(name: str) -> Reranker:
    """The method of a name; `mmr:0.5` is mmr with another weight of relevance, 0 to 1. Raises UnknownRerankingError."""
    if isinstance(name, str) and (match := _WEIGHED.fullmatch(name)):  # type: ignore[redundant-expr]
        return MaximalMarginalRelevance(float(match[1]))
    if not isinstance(name, str) or name not in METHODS:  # type: ignore[redundant-expr]
        raise UnknownRerankingError(f"no way of re-ranking is called {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def reranked(
    method: Reranker, query: NDArray[np.floating], candidates: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The new order (m,) of candidates (m, d), which come nearest first, and their scores in that order."""
    if not len(candidates):
        return np.empty(0, np.int64), np.empty(0)
    scores = method.scores(np.asarray(query, np.float64), np.asarray(candidates, np.float64))
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    return order, scores[order]
