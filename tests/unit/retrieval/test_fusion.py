from __future__ import annotations

import numpy as np
import pytest

from retrieval.fusion import reciprocal_rank_fusion


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_scores_by_hand() -> None:
    found, scores = reciprocal_rank_fusion([ids(7, 3), ids(3, 9)], [1, 1])
    # 3: rank 2 and 1, 7: rank 1 alone, 9: rank 2 alone; C = 60
    assert found.tolist() == [3, 7, 9]
    assert scores.tolist() == pytest.approx([0.5 * 61 / 62 + 0.5, 0.5, 0.5 * 61 / 62])


def test_first_in_every_list_scores_one() -> None:
    found, scores = reciprocal_rank_fusion([ids(5, 1), ids(5, 2), ids(5)], [3, 0.5, 2])
    assert found[0] == 5
    assert scores[0] == pytest.approx(1)


def test_weights_count_by_their_shares() -> None:
    lists = [ids(1, 2), ids(2, 1)]
    assert reciprocal_rank_fusion(lists, [2, 1])[0].tolist() == [1, 2]
    assert reciprocal_rank_fusion(lists, [1, 2])[0].tolist() == [2, 1]
    by_two = reciprocal_rank_fusion(lists, [2, 4])[1]
    assert np.allclose(reciprocal_rank_fusion(lists, [1, 2])[1], by_two)


def test_ties_are_ordered_by_id() -> None:
    assert reciprocal_rank_fusion([ids(9, 4), ids(4, 9)], [1, 1])[0].tolist() == [4, 9]


def test_empty_lists_add_nothing() -> None:
    found, scores = reciprocal_rank_fusion([ids(), ids(3)], [1, 1])
    assert (found.tolist(), scores.tolist()) == ([3], [0.5])
    found, scores = reciprocal_rank_fusion([ids(), ids()], [1, 1])
    assert (found.shape, scores.shape) == ((0,), (0,))
    assert found.dtype == np.int64
