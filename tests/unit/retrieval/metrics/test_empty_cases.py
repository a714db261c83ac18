"""What measures say where there is nothing to measure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.metrics import (
    Relevance,
    average_precision,
    average_precision_at,
    class_scores,
    confusion_matrix,
    hit_at,
    interpolated_precision,
    majority_vote,
    map_at_r,
    ndcg_at,
    overall_scores,
    precision_at,
    r_precision,
    recall_at,
    recall_ceiling_at,
    reciprocal_rank,
)

MEASURES: dict[str, Callable[[Relevance], NDArray[np.float64]]] = {
    "precision": lambda relevance: precision_at(relevance, 5),
    "recall": lambda relevance: recall_at(relevance, 5),
    "recall ceiling": lambda relevance: recall_ceiling_at(relevance, 5),
    "hit": lambda relevance: hit_at(relevance, 5),
    "AP": average_precision,
    "AP@k": lambda relevance: average_precision_at(relevance, 5),
    "MAP@R": map_at_r,
    "R-precision": r_precision,
    "MRR": reciprocal_rank,
    "nDCG": lambda relevance: ndcg_at(relevance, 5),
    "curve": lambda relevance: interpolated_precision(relevance, np.array([0.5]))[:, 0],
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_query_with_nothing_relevant_is_not_scored(name: str) -> None:
    values = MEASURES[name](Relevance.of([[], [1], [], [2], []]))
    assert np.isnan(values).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize("name", MEASURES)
def test_no_queries_give_no_values(name: str) -> None:
    assert MEASURES[name](Relevance.of([])).shape == (0,)


def test_a_query_without_labelled_neighbours_gets_no_class() -> None:
    classes = np.array([[-1, -1], [-1, 1]])
    assert majority_vote(classes, np.ones((2, 2)), 2, 2).tolist() == [-1, 1]
    assert majority_vote(classes, np.ones((2, 2)), 2, 2, weighted=True).tolist() == [-1, 1]


def test_votes_of_no_similarity_at_all_go_to_the_nearest() -> None:
    assert majority_vote(np.array([[1, 0]]), np.array([[-0.1, -0.2]]), 2, 2, weighted=True).tolist() == [1]


def test_no_neighbours_and_no_queries_are_no_error() -> None:
    assert majority_vote(np.empty((3, 0), np.int64), np.empty((3, 0)), 5, 2).tolist() == [-1, -1, -1]
    assert majority_vote(np.empty((0, 4), np.int64), np.empty((0, 4)), 5, 2).shape == (0,)


def test_a_query_without_a_vote_is_a_false_negative_and_no_false_positive() -> None:
    counts = confusion_matrix(np.array([0, 0, 1]), np.array([0, -1, 1]), 2)
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0]]
    scores = class_scores(counts)
    assert scores.FN.tolist() == [1, 0]
    assert scores.FP.tolist() == [0, 0]
    assert overall_scores(counts).accuracy == 2 / 3


def test_a_class_without_queries_has_no_scores_and_stays_out_of_the_means() -> None:
    counts = confusion_matrix(np.array([0, 1]), np.array([0, 1]), 3)
    scores = class_scores(counts)
    assert np.isnan(scores.recall).tolist() == [False, False, True]
    assert overall_scores(counts).macro_recall == 1


def test_a_class_without_votes_has_precision_0() -> None:
    scores = class_scores(confusion_matrix(np.array([0, 1]), np.array([0, 0]), 2))
    assert scores.precision.tolist() == [0.5, 0]
    assert scores.MCC.tolist() == [0, 0]


def test_no_queries_have_no_overall_scores() -> None:
    assert np.isnan(overall_scores(np.zeros((2, 3), np.int64)).accuracy)
