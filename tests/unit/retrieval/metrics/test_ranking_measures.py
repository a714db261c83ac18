"""Each measure of a ranking against values worked out by hand.

The list of the example, right ones marked: x - x - - x - - - - (ranks 1, 3 and 6 of 10),
and R = 4: the fourth stands at 11.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.metrics import (
    Relevance,
    average_precision,
    average_precision_at,
    hit_at,
    interpolated_precision,
    map_at_r,
    ndcg_at,
    precision_at,
    r_precision,
    recall_at,
    recall_ceiling_at,
    reciprocal_rank,
)

EXAMPLE = Relevance.of([[1, 3, 6, 11]])


def only(values: NDArray[np.float64]) -> float:
    assert values.shape == (1,)
    return float(values[0])


def test_precision_is_the_share_of_relevant_hits_among_the_first_k() -> None:
    assert only(precision_at(EXAMPLE, 1)) == 1
    assert only(precision_at(EXAMPLE, 5)) == 2 / 5
    assert only(precision_at(EXAMPLE, 10)) == 3 / 10


def test_precision_has_k_as_denominator_when_the_list_is_shorter() -> None:
    assert only(precision_at(Relevance.of([[1, 2, 3]]), 20)) == 3 / 20


def test_recall_divides_by_all_that_is_relevant() -> None:
    assert only(recall_at(EXAMPLE, 5)) == 2 / 4
    assert only(recall_at(EXAMPLE, 11)) == 1


def test_recall_ceiling_is_what_a_perfect_ranking_reaches() -> None:
    assert only(recall_ceiling_at(EXAMPLE, 1)) == 1 / 4
    assert only(recall_ceiling_at(EXAMPLE, 10)) == 1
    assert only(recall_ceiling_at(Relevance.of([list(range(1, 1001))]), 10)) == 0.01


def test_hit_is_1_where_any_hit_is_relevant() -> None:
    late = Relevance.of([[6, 7]])
    assert only(hit_at(late, 5)) == 0
    assert only(hit_at(late, 6)) == 1


def test_average_precision_averages_precision_at_each_relevant_rank() -> None:
    assert only(average_precision(EXAMPLE)) == pytest.approx((1 + 2 / 3 + 3 / 6 + 4 / 11) / 4, abs=1e-15)


def test_average_precision_at_k_divides_by_what_k_could_hold() -> None:
    assert only(average_precision_at(EXAMPLE, 3)) == pytest.approx((1 + 2 / 3) / 3, abs=1e-15)
    assert only(average_precision_at(EXAMPLE, 10)) == pytest.approx((1 + 2 / 3 + 1 / 2) / 4, abs=1e-15)


def test_map_at_r_stops_at_r() -> None:
    assert only(map_at_r(EXAMPLE)) == pytest.approx((1 + 2 / 3) / 4, abs=1e-15)


def test_r_precision_is_precision_at_r() -> None:
    assert only(r_precision(EXAMPLE)) == 2 / 4


def test_reciprocal_rank_is_of_the_first_relevant_hit() -> None:
    assert only(reciprocal_rank(EXAMPLE)) == 1
    assert only(reciprocal_rank(Relevance.of([[4, 5]]))) == 1 / 4


def test_ndcg_discounts_by_the_logarithm_of_the_rank() -> None:
    gain = 1 + 1 / math.log2(4)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4) + 1 / math.log2(5)
    assert only(ndcg_at(EXAMPLE, 5)) == pytest.approx(gain / ideal, abs=1e-15)


def test_ndcg_ideal_list_is_no_longer_than_k() -> None:
    assert only(ndcg_at(EXAMPLE, 2)) == pytest.approx(1 / (1 + 1 / math.log2(3)), abs=1e-15)


def test_interpolated_precision_is_the_best_from_that_recall_on() -> None:
    curve = interpolated_precision(EXAMPLE, np.array([0, 0.25, 0.26, 0.5, 0.75, 1]))
    assert curve[0] == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 2, 4 / 11])
    rising = interpolated_precision(Relevance.of([[3, 4]]), np.array([0, 0.5, 1]))
    assert rising[0] == pytest.approx([1 / 2, 1 / 2, 1 / 2])


def test_interpolated_precision_takes_a_level_at_face_value() -> None:
    """0.3 * 10 is a little more than 3 in binary and must not ask for the fourth."""
    ranks = Relevance.of([[1, 2, 3, 40, 50, 60, 70, 80, 90, 100]])
    assert interpolated_precision(ranks, np.array([0.3]))[0, 0] == 1


def test_queries_do_not_mix() -> None:
    several = Relevance.of([[1, 3, 6, 11], [2], [1, 2]])
    assert precision_at(several, 3).tolist() == [2 / 3, 1 / 3, 2 / 3]
    assert average_precision(several)[1:].tolist() == [0.5, 1]
    assert r_precision(several).tolist() == [0.5, 0, 1]
