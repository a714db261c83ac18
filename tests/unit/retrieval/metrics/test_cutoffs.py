"""The k of every measure that has one: any integer type, and nothing but whole numbers from 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.metrics import (
    CutoffError,
    Relevance,
    average_precision_at,
    hit_at,
    majority_vote_at,
    ndcg_at,
    precision_at,
    recall_at,
    recall_ceiling_at,
)

RELEVANCE = Relevance.of([[1, 3, 6], [], [2]])
MEASURES: dict[str, Callable[[Any], NDArray[np.float64]]] = {
    **{
        measure.__name__: lambda k, measure=measure: measure(RELEVANCE, k)
        for measure in (precision_at, recall_at, recall_ceiling_at, hit_at, average_precision_at, ndcg_at)
    },
    "majority_vote_at": lambda k: majority_vote_at(
        np.array([1, 0]), np.array([[0, 1, 1], [0, 1, 1]]), np.ones((2, 3)), k, 2
    ),
}


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.uint64, np.array])
@pytest.mark.parametrize("name", MEASURES)
def test_k_may_be_of_any_integer_type(name: str, kind: Callable[[int], Any]) -> None:
    for k in (1, 2, 3, 10):
        np.testing.assert_array_equal(MEASURES[name](kind(k)), MEASURES[name](k))


@pytest.mark.parametrize("k", [0, -1, np.int64(0), 2.0, "2", None, np.array([2, 2])])
@pytest.mark.parametrize("name", MEASURES)
def test_another_k_is_refused(name: str, k: Any) -> None:
    with pytest.raises(CutoffError, match="whole number of hits, at least 1"):
        MEASURES[name](k)
