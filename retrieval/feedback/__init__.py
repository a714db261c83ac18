"""Relevance feedback: marks on images move a query, in each space by itself.

A moved query is a query of several parts with signed weights: the parts that it had and the marked images. So it is
searched, filtered and fused as any other, by the native distance of each space, and nothing is encoded anew. Few marks
move it by Rocchio's rule, more of them by logistic regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.feedback.logistic import PRIOR, STRENGTH, logistic_weights
from retrieval.feedback.rocchio import IRRELEVANT, RELEVANT, rocchio_weights
from retrieval.index.protocol import Metric
from retrieval.query import BadQueryError, as_list, is_whole
from retrieval.query_vectors import QueryVectors

__all__ = ["LEAST_FOR_REGRESSION", "Feedback", "Movement", "moved"]

LEAST_FOR_REGRESSION = 3
"""Marks of each kind from which on logistic regression weighs them; its classifier needs both kinds."""


@dataclass(frozen=True)
class Feedback:
    """Images of the collection that a person marked as fitting the query or not.

    seen: further images that are left out of the hits, such as those shown before. Raises BadQueryError.
    """

    relevant: tuple[int, ...] = ()
    irrelevant: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("relevant", "irrelevant", "seen"):
            object.__setattr__(self, name, _ids(name, getattr(self, name)))
        if both := set(self.relevant) & set(self.irrelevant):
            raise BadQueryError(f"image {min(both)} is marked as relevant and as irrelevant; it is one of them")

    def __bool__(self) -> bool:
        return bool(self.relevant or self.irrelevant or self.seen)

    def followed_by(self, later: Feedback) -> Feedback:
        """Both together; where an image is marked twice, its later mark counts."""
        anew = {*later.relevant, *later.irrelevant}
        return Feedback(
            tuple(i for i in self.relevant if i not in anew) + later.relevant,
            tuple(i for i in self.irrelevant if i not in anew) + later.irrelevant,
            self.seen + later.seen,
        )


@dataclass(frozen=True)
class Movement:
    """How far marks move a query. Cross-validation finds settings around these equal but for chance, see
    `tests/benchmarks/bench_feedback.py`.

    relevant, irrelevant: see `rocchio_weights`. strength, prior: see `logistic_weights`.
    """

    relevant: float = RELEVANT
    irrelevant: float = IRRELEVANT
    strength: float = STRENGTH
    prior: float = PRIOR


def moved(
    query: QueryVectors,
    relevant: NDArray[Any],
    irrelevant: NDArray[Any],
    metric: Metric,
    movement: Movement = Movement(),
    deviations: tuple[float, float] | None = None,
) -> QueryVectors:
    """A query moved by the vectors (r, d) of relevant and (i, d) of irrelevant images, in one space.

    deviations: standard deviations of the similarities of images, and of texts, to random images, for a query that has
    texts: marks and texts weigh as much as sums of standardised similarities have it. Texts, which lie apart from all
    images, are no examples of the regression.
    """
    if not len(relevant) and not len(irrelevant):
        return query
    texts = scales = None
    own, positive = query.weights, query.positive
    if query.texts is not None and deviations is not None:
        texts = np.concatenate([query.texts, np.zeros(len(relevant) + len(irrelevant), bool)])
        scales = np.where(texts, deviations[1], deviations[0])
        own = own * scales[: len(own)]
        positive = float(own.sum(where=own > 0))
    weights = rocchio_weights(own / positive, len(relevant), len(irrelevant), movement.relevant, movement.irrelevant)
    vectors = np.concatenate([query.vectors, relevant, irrelevant])
    if min(len(relevant), len(irrelevant)) >= LEAST_FOR_REGRESSION:
        wanted = np.concatenate([query.weights > 0, np.ones(len(relevant), bool), np.zeros(len(irrelevant), bool)])
        examples = slice(None) if texts is None else ~texts
        images = vectors[examples]
        distances = np.asarray(metric.distances(images, images), np.float64)
        fitted = logistic_weights(distances, wanted[examples], weights[examples], movement.strength, movement.prior)
        weights *= movement.prior
        weights[examples] = fitted
    return QueryVectors(vectors, weights if scales is None else weights / scales, texts)


def _ids(name: str, value: Any) -> tuple[int, ...]:
    ids = as_list(value)
    if not all(map(is_whole, ids)):
        raise BadQueryError(f"`{name}` are ids of images, whole numbers, not {value!r}")
    return tuple(dict.fromkeys(map(int, ids)))
