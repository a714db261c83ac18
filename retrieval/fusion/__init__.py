"""Several ranked lists of one query -> one, by ranks or by scores; one method a file.

A method turns each list into points for the images in it, and the fused score of an image is the sum of its points,
each list's multiplied by the list's share of the weights. An image that a list lacks gets no points from it; what that
means, each method says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import QueryError
from retrieval.fusion.minmax import MinMax
from retrieval.fusion.rrf import ReciprocalRank
from retrieval.fusion.statistics import Statistics
from retrieval.fusion.zscore import ZScore
from retrieval.weights import scaled_weights

__all__ = [
    "DEFAULT_METHOD",
    "DEPTH",
    "METHODS",
    "Method",
    "RankedList",
    "Statistics",
    "fuse",
    "fuse_dense",
    "fusion_name",
    "method_named",
]

DEPTH = 1000
"""Images of each list that are fused, where no more than a hundred hits are wanted."""


def fusion_name(spaces: Sequence[str], weights: Sequence[float], method: str) -> str:
    """`A+B`, `A=2+B` where A has weight 2, `zscore:A+B` by another method than the default; one space is its name."""
    if len(spaces) == 1:
        return spaces[0]
    members = "+".join(
        space if weight == 1 else f"{space}={weight:g}" for space, weight in zip(spaces, weights, strict=True)
    )
    return members if method == DEFAULT_METHOD else f"{method}:{members}"


class UnknownFusionError(QueryError):
    """There is no fusion method of this name."""


class Method(Protocol):
    """What a list gives to the images in it."""

    @property
    def name(self) -> str:
        """What it is called on the command line and over REST."""
        ...

    @property
    def score_kind(self) -> str:
        """What its scores are, in words for a person."""
        ...

    @property
    def summands(self) -> str:
        """What its scores are sums of, in words for a person."""
        ...

    @property
    def by_score(self) -> bool:
        """Whether points depend on scores: then the candidates of one list need their scores in all others."""
        ...

    def points(
        self, share: float, scores: NDArray[np.float64], statistics: Sequence[Statistics]
    ) -> NDArray[np.float64]:
        """Points of a list's images.

        share: the list's weight over the sum of all. scores: similarities (q, m), best first where the method is by
        ranks; NaN for an image without a vector. statistics: where by_score, the background of the list's space, for
        all queries or for each. Returns an array that broadcasts to (q, m).
        """
        ...


METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for method in (ReciprocalRank(), ZScore(), MinMax())}
)
DEFAULT_METHOD = ReciprocalRank.name


@dataclass(frozen=True, eq=False)
class RankedList:
    """Ranked results of one space for q queries.

    ids: (q, m) int64, -1 where a query's list has ended. scores: similarities (q, m) float64, or None where the method
    goes by ranks alone. statistics: where the method needs them, of the space, or of each query in it.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None
    statistics: Sequence[Statistics] = ()


def method_named(name: str) -> Method:
    """The method of a name. Raises UnknownFusionError."""
    if not isinstance(name, str) or name not in METHODS:  # type: ignore[redundant-expr]
        raise UnknownFusionError(f"no fusion method is called {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def fuse(
    lists: Sequence[RankedList], weights: Sequence[float], method: str = DEFAULT_METHOD
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Fuse the lists of q queries.

    weights: one positive number a list. Returns ids (q, m), best first and ties by id, -1 where a query's list has
    ended, and scores (q, m), -inf there. Raises UnknownFusionError.
    """
    listed_ids = np.sort(np.concatenate([ranked.ids.ravel() for ranked in lists]))
    # As np.unique, which hashes before it sorts and takes three times as long for lists of this length.
    universe = listed_ids[(listed_ids >= 0) & (np.diff(listed_ids, prepend=-2) != 0)]
    columns = [
        RankedList(
            np.where(ranked.ids >= 0, np.searchsorted(universe, ranked.ids), -1), ranked.scores, ranked.statistics
        )
        for ranked in lists
    ]
    scores, listed = fuse_dense(columns, weights, method, len(universe))
    scores[~listed] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, : int(listed.sum(axis=1).max(initial=0))]
    scores = np.take_along_axis(scores, order, axis=1)
    return np.where(scores > -np.inf, universe[order], -1), scores


def fuse_dense(
    lists: Sequence[RankedList], weights: Sequence[float], method: str, count: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fused scores (q, count) where ids are columns 0 to count - 1, and which columns any list has, (q, count)."""
    fusion = method_named(method)
    scaled = scaled_weights(weights).tolist()
    total = float(sum(scaled))
    queries = len(lists[0].ids)
    # One column more takes what stands in place of images where a list has ended.
    scores, listed = np.zeros((queries, count + 1)), np.zeros((queries, count + 1), bool)
    at = np.arange(queries)[:, None]
    for ranked, weight in zip(lists, scaled, strict=True):
        given = np.empty(ranked.ids.shape) if ranked.scores is None else ranked.scores
        scores[at, ranked.ids] += fusion.points(weight / total, given, ranked.statistics)
        listed[at, ranked.ids] = True
    return scores[:, :-1], listed[:, :-1]
