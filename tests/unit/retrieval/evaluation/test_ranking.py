from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.evaluation.ranking import Labelled, UndefinedDistanceError, rank
from retrieval.evaluation.retrievers import distances_to_vectors
from retrieval.index.cosine import Cosine


def labelled(labels: list[int], groups: list[int]) -> Labelled:
    return Labelled(np.array(labels, np.int64), np.array(groups, np.int64))


def test_nearest_first_and_equal_ones_by_row() -> None:
    ranking = rank(np.array([[0.5, 0.1, 0.5, 0.0, 0.1]]), labelled([0], [9]), labelled([0] * 5, [0, 1, 2, 3, 4]))
    assert ranking.order.tolist() == [[3, 1, 4, 0, 2]]


def test_a_querys_own_group_is_left_out() -> None:
    ranking = rank(np.array([[0.0, 0.1, 0.2, 0.3]]), labelled([1], [7]), labelled([1, 1, 0, 1], [7, 3, 4, 7]))
    assert ranking.order.tolist() == [[1, 2, -1, -1]]
    assert ranking.listed.tolist() == [2]
    assert ranking.relevance.ranks.tolist() == [1]
    assert ranking.relevance.counts.tolist() == [1]


def test_unlabelled_images_are_ranked_but_never_relevant() -> None:
    ranking = rank(np.array([[0.3, 0.2, 0.1]]), labelled([0], [9]), labelled([0, -1, -1], [0, 1, 2]))
    assert ranking.order.tolist() == [[2, 1, 0]]
    assert ranking.relevance.ranks.tolist() == [3]


def test_positive_and_negative_zero_are_equal() -> None:
    ranking = rank(np.array([[0.0, -0.0, 0.0]]), labelled([0], [9]), labelled([0, 0, 0], [0, 1, 2]))
    assert ranking.order.tolist() == [[0, 1, 2]]


def test_a_distance_that_is_no_number_is_an_error() -> None:
    with pytest.raises(UndefinedDistanceError, match="kvasir verify"):
        rank(np.array([[0.0, np.nan]]), labelled([0], [9]), labelled([0, 0], [0, 1]))


def test_an_empty_gallery_gives_empty_lists() -> None:
    ranking = rank(np.empty((2, 0)), labelled([0, 0], [0, 1]), labelled([], []))
    assert ranking.listed.tolist() == [0, 0]
    assert ranking.relevance.counts.tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 1000]))
def test_same_order_as_a_stable_sort(n: int, seed: int, different: int) -> None:
    random = np.random.default_rng(seed)
    distances = random.standard_normal((3, n)) * 10.0 ** random.integers(-200, 200, (3, n))
    distances = np.where(random.random((3, n)) < 0.3, random.integers(-1, different, (3, n)), distances)
    labels = random.integers(-1, 3, n)
    ranking = rank(distances, labelled([0, 1, 2], [-1, -2, -3]), Labelled(labels, np.arange(n)))
    order = np.argsort(distances, axis=1, kind="stable")
    assert ranking.order.tolist() == order.tolist()
    ranks = [np.flatnonzero(labels[order[q]] == q) + 1 for q in range(3)]
    assert ranking.relevance.ranks.tolist() == np.concatenate(ranks).tolist()


def test_copies_of_a_vector_are_at_the_same_distance_from_every_query() -> None:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((301, 67)).astype(np.float32)
    vectors[[17, 130, 300]] = vectors[2]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = distances_to_vectors(Cosine(), vectors)(vectors)
    for copy in (17, 130, 300):
        assert (distances[:, copy] == distances[:, 2]).all()
    np.testing.assert_allclose(distances, Cosine().distances(vectors, vectors), atol=1e-14)
