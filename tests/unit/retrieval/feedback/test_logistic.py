from __future__ import annotations

import numpy as np
import pytest

from retrieval.feedback.logistic import ERROR, PRIOR, STRENGTH, logistic_weights
from retrieval.feedback.rocchio import rocchio_weights

WANTED = np.array([True, True, True, True, False, False, False])


def examples(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((7, 6)) + np.where(WANTED, 1.0, -1.0)[:, None] * np.eye(6)[0]
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_minimum_of_the_primal_objective(seed: int) -> None:
    """The fitted direction has no slope in the primal problem, whose unknowns are the vector and the constant."""
    vectors = examples(seed)
    prior = rocchio_weights(np.ones(1), 3, 3)
    added = logistic_weights(1 - vectors @ vectors.T, WANTED, prior) - PRIOR * prior
    centred = vectors - vectors.mean(axis=0)
    size = (centred**2).sum() / len(vectors)
    direction, before = added @ centred / size, PRIOR * prior @ centred / size
    offset = centred @ before
    targets = np.where(WANTED, 1 - ERROR, ERROR)
    lowest, highest = -20.0, 20.0
    for _ in range(80):  # the constant that makes the residuals sum up to 0
        b = (lowest + highest) / 2
        shares = 1 / (1 + np.exp(-(centred @ direction + offset - offset.mean() + b)))
        lowest, highest = (b, highest) if (targets - shares).sum() > 0 else (lowest, b)
    assert added == pytest.approx(STRENGTH * (targets - shares), abs=1e-6)
    assert added.sum() == pytest.approx(0, abs=1e-9)


def test_a_wanted_image_never_ranks_behind_an_unwanted_one_where_they_part() -> None:
    vectors = examples(5)
    vectors[:4, 0], vectors[4:, 0] = 3, -3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - vectors @ vectors.T
    ranked = logistic_weights(distances, WANTED, rocchio_weights(np.ones(1), 3, 3)) @ distances
    assert ranked[WANTED].max() < ranked[~WANTED].min()


def test_examples_that_are_all_alike_keep_the_prior() -> None:
    prior = rocchio_weights(np.ones(1), 3, 3)
    assert logistic_weights(np.zeros((7, 7)), WANTED, prior) is prior


def test_the_unit_of_the_distance_changes_no_weight() -> None:
    vectors = examples(1)
    distances = 1 - vectors @ vectors.T
    prior = rocchio_weights(np.ones(1), 3, 3)
    usual, scaled = (logistic_weights(unit * distances, WANTED, prior) for unit in (1, 4096))
    assert scaled == pytest.approx(usual, rel=1e-9)
