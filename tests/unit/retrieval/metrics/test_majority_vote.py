from __future__ import annotations

import numpy as np

from retrieval.metrics import majority_vote, majority_vote_at

CLASSES = np.array([[0, 1, 1, 2, 2]])
SIMILARITIES = np.array([[0.9, 0.6, 0.3, 0.5, 0.4]])


def test_the_most_frequent_class_wins() -> None:
    assert majority_vote(CLASSES, SIMILARITIES, 3, 3).tolist() == [1]


def test_a_tie_goes_to_the_larger_summed_similarity() -> None:
    assert majority_vote(CLASSES, np.array([[0.9, 0.6, 0.3, 0.5, 0.41]]), 5, 3).tolist() == [2]
    assert majority_vote(CLASSES, np.array([[0.9, 0.6, 0.32, 0.5, 0.41]]), 5, 3).tolist() == [1]


def test_a_tie_in_both_goes_to_the_class_that_came_first() -> None:
    assert majority_vote(np.array([[2, 0]]), np.array([[0.5, 0.5]]), 2, 3).tolist() == [2]


def test_weighted_votes_count_by_similarity() -> None:
    assert majority_vote(CLASSES, np.array([[0.9, 0.3, 0.3, 0.2, 0.2]]), 5, 3, weighted=True).tolist() == [0]
    assert majority_vote(CLASSES, np.array([[0.9, 0.3, 0.3, 0.2, 0.2]]), 5, 3).tolist() == [1]


def test_a_negative_similarity_counts_as_zero_in_votes_and_in_ties() -> None:
    classes, similarities = np.array([[0, 1, 0, 1]]), np.array([[0.3, 0.2, -0.4, -0.1]])
    assert majority_vote(classes, similarities, 4, 2, weighted=True).tolist() == [0]
    assert majority_vote(classes, similarities, 4, 2).tolist() == [0]
    assert majority_vote(np.array([[1, 0]]), np.array([[-0.2, -0.1]]), 2, 2, weighted=True).tolist() == [1]


def test_only_the_first_k_vote() -> None:
    assert majority_vote(CLASSES, SIMILARITIES, 1, 3).tolist() == [0]


def test_unlabelled_neighbours_do_not_vote() -> None:
    assert majority_vote(np.array([[-1, -1, 0]]), np.array([[0.9, 0.9, 0.1]]), 3, 2).tolist() == [0]


def test_the_measure_is_1_where_the_vote_is_the_class_of_the_query() -> None:
    right = majority_vote_at(np.array([1, 0]), np.repeat(CLASSES, 2, 0), np.repeat(SIMILARITIES, 2, 0), 3, 3)
    assert right.tolist() == [1, 0]
