"""Which cells are erased, and with what."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.reasons.erasing import erased, filling, highest, pattern


def test_each_cell_is_erased_in_one_pass_and_no_two_neighbours_in_the_same() -> None:
    order = pattern((7, 5), 4)
    assert order.shape == (7, 5)
    assert set(order.ravel().tolist()) == {0, 1, 2, 3}
    assert (order[1:] != order[:-1]).all()
    assert (order[:, 1:] != order[:, :-1]).all()
    assert (order[1:, 1:] != order[:-1, :-1]).all()
    assert not pattern((7, 5), 1).any()


def test_the_highest_tenth_is_chosen_and_of_equal_scores_the_first() -> None:
    scores = np.zeros((4, 5))
    scores[2, 3] = 1
    assert np.argwhere(highest(scores)).tolist() == [[0, 0], [2, 3]]
    assert highest(np.zeros((1, 3))).tolist() == [[True, False, False]]


@pytest.mark.parametrize("soft", [False, True])
def test_only_the_chosen_cells_change(soft: bool) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    cells = np.zeros((7, 7), bool)
    cells[3, 3] = True
    without = erased(picture, filling(picture, "mean"), cells, soft)
    assert np.array_equal(without[:64], picture[:64])
    assert np.array_equal(without[160:], picture[160:])
    middle = without[110:114, 110:114].reshape(-1, 3)
    assert np.abs(middle - picture.reshape(-1, 3).mean(axis=0)).max() < 8
    assert (without[96:128, 96:128] == filling(picture, "mean")[0, 0]).all() == (not soft)


def test_a_blurred_picture_keeps_its_broad_colours_and_no_detail() -> None:
    picture = np.zeros((224, 224, 3), np.uint8)
    picture[:, 112:, 0] = 200
    picture[::2] //= 2
    blurred = filling(picture, "blur").astype(int)
    assert blurred.shape == picture.shape
    assert blurred[112, 200, 0] > 120 > 30 > blurred[112, 20, 0]
    assert np.abs(np.diff(blurred[:, 200, 0])).max() < 5
