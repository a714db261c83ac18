from __future__ import annotations

import numpy as np
import pytest

from retrieval.evaluation.mark_bias import DeviceMarks, mark_bias
from retrieval.evaluation.protocols import leave_one_out

LABELS = np.array([0, 0, 0, 1, 1])
KINDS = np.array([1, 1, 0, 1, 0])
FEATURES = np.array([[0.0], [0.0], [5.0], [0.0], [5.0]])
EVERY = np.arange(5)
# Ranked lists by hand: two hits each.
HITS = np.array([[1, 3], [0, 2], [0, 4], [4, 0], [2, -1]])


def test_shares_and_chances_by_hand() -> None:
    bias = mark_bias(DeviceMarks(KINDS, FEATURES), LABELS, leave_one_out(EVERY), EVERY, HITS)
    # Pairs: 0-1 and 0-3 same; 1-0 same, 1-2 not; 2-0 not, 2-4 same; 3-4 not, 3-0 same; 4-2 same.
    assert bias.share == pytest.approx(6 / 9)
    # Of the four others, two have the mark of 0, 1 and 3, one that of 2 and 4.
    assert bias.chance == pytest.approx((3 * 2 * 2 / 4 + 2 * 1 / 4 + 1 / 4) / 9)
    # Pairs of one class: 0-1 same, 1-0 same, 1-2 not, 2-0 not, 3-4 not.
    assert bias.within == pytest.approx(2 / 5)
    assert bias.within_chance == pytest.approx((1 / 2 + 1 / 2 + 1 / 2 + 0 + 0) / 5)
    # Pairs of two classes: 0-3, 2-4, 3-0 and 4-2, all of one mark; 0 and 2 have one of two, 3 two and 4 one of three.
    assert bias.across == 1
    assert bias.across_chance == pytest.approx((1 / 2 + 1 / 2 + 2 / 3 + 1 / 3) / 4)


def test_marks_alone_count_ties_as_their_mean() -> None:
    bias = mark_bias(DeviceMarks(KINDS, FEATURES), LABELS, leave_one_out(EVERY), EVERY, HITS)
    # Nearest by the feature: of 0 and 1 one of two is of their class, of 3 none of two, of 2 and 4 each other.
    assert bias.alone == pytest.approx((1 / 2 + 1 / 2 + 0 + 0 + 0) / 5)


def test_unknown_marks_are_in_no_pair() -> None:
    kinds = np.array([1, -1, 0, 1, 0])
    bias = mark_bias(DeviceMarks(kinds, FEATURES), LABELS, leave_one_out(EVERY), EVERY, HITS)
    # Left: 0-3 same, 2-0 not, 2-4 same, 3-4 not, 3-0 same, 4-2 same.
    assert bias.share == pytest.approx(4 / 6)


def test_the_sentence_has_every_figure() -> None:
    text = mark_bias(DeviceMarks(KINDS, FEATURES), LABELS, leave_one_out(EVERY), EVERY, HITS).sentence()
    for part in ("67 %", "0.200") if "67 %" in text else ("67%", "0.200"):
        assert part in text
