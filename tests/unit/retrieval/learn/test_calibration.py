from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.evaluation.chances import FirstHits, enough
from retrieval.learn.calibration import (
    COVERAGE,
    DEPTH,
    Calibration,
    agreement_of,
    calibration_error,
    class_chances,
    conformal_set,
    fit_calibration,
)


def drawn(
    count: int, seed: int = 0, classes: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Ranked lists in which each query has its own share of right hits, and right hits score higher."""
    random = np.random.default_rng(seed)
    wanted = random.integers(0, classes, count)
    share = random.beta(3, 1, count)
    right = random.random((count, DEPTH)) < share[:, None]
    labels = np.where(right, wanted[:, None], (wanted[:, None] + random.integers(1, classes, (count, DEPTH))) % classes)
    return -np.sort(-(0.5 + 0.1 * right + 0.1 * random.standard_normal((count, DEPTH))), axis=1), labels, wanted


def test_agreement_counts_a_hit_of_rank_r_as_one_over_r() -> None:
    labels = np.array([[1, 2, 1, -1, 2]])
    whole = 1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5
    one, two = (1 + 1 / 3) / whole, (1 / 2 + 1 / 5) / whole
    assert agreement_of(labels)[0] == pytest.approx([one, two, one, 0, two])


def test_hits_beyond_the_first_have_the_agreement_of_their_class_among_the_first() -> None:
    labels = np.array([[0] * DEPTH + [0, 1]])
    assert agreement_of(labels)[0, -2:] == pytest.approx([1, 0])


def test_the_calibration_error_by_hand() -> None:
    # Two bins of fifteen: 0.5 in the 8th, 0.95 and 0.97 in the last.
    chances = np.array([0.5, 0.5, 0.95, 0.97])
    right = np.array([True, False, True, False])
    assert calibration_error(chances, right) == pytest.approx((2 * 0 + 2 * abs(0.96 - 0.5)) / 4)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert calibration_error(np.empty(0), np.empty(0, bool)) == 0


def test_chances_hold_on_other_queries_of_the_same_kind() -> None:
    scores, labels, wanted = drawn(2000)
    calibration = fit_calibration(scores, labels, wanted, np.arange(len(wanted)))
    scores, labels, wanted = drawn(2000, seed=1)
    chances = calibration.chances(scores, agreement_of(labels), labels)
    assert calibration_error(chances, labels == wanted[:, None]) < 0.03
    alone = np.full(chances.shape, (labels == wanted[:, None]).mean())
    right = labels == wanted[:, None]
    assert ((chances - right) ** 2).mean() < 0.8 * ((alone - right) ** 2).mean()


def test_the_set_covers_the_class_of_new_queries_as_often_as_stated() -> None:
    scores, labels, wanted = drawn(2000)
    calibration = fit_calibration(scores, labels, wanted, np.arange(len(wanted)))
    scores, labels, wanted = drawn(2000, seed=1)
    chances = calibration.chances(scores, agreement_of(labels), labels)
    sets = [conformal_set(calibration, chances[row], labels[row]) for row in range(len(wanted))]
    covered = np.mean([wanted[row] in dict(found) for row, found in enumerate(sets)])
    assert covered > COVERAGE - 0.02
    assert np.mean([len(found) for found in sets]) < 2


def test_a_cluster_counts_once_by_its_worst_image() -> None:
    scores = np.full((40, DEPTH), 0.5)
    labels = np.zeros((40, DEPTH), np.int64)
    labels[0] = 1  # of one of 20 clusters an image is wrong: fewer than one in ten
    labels[1:, 1:] = 1
    wanted = np.zeros(40, np.int64)
    calibration = fit_calibration(scores, labels, wanted, np.arange(40) // 2)
    chances = calibration.chances(scores, agreement_of(labels), labels)
    of_class = class_chances(chances, labels, wanted)
    assert of_class[0] == 0
    assert calibration.least == pytest.approx(of_class[1])


def test_the_likeliest_class_is_in_the_set_however_unlikely() -> None:
    calibration = Calibration((0.0,) * 3, (1.0,) * 3, (-5.0, 0.0, 0.0, 0.0), 0.9)
    labels = np.array([3, -1, 2])
    found = conformal_set(calibration, np.array([0.1, 0.9, 0.2]), labels)
    assert found == [(2, pytest.approx(0.2))]
    assert conformal_set(calibration, np.array([0.5]), np.array([-1])) == []


def test_a_calibration_that_always_was_right_is_finite() -> None:
    scores = np.full((30, DEPTH), 0.9)
    labels = np.zeros((30, DEPTH), np.int64)
    calibration = fit_calibration(scores, labels, np.zeros(30, np.int64), np.arange(30))
    assert calibration.chances(scores, agreement_of(labels), labels).min() > 0.95


def test_each_class_of_hits_has_an_offset_that_few_pictures_hardly_move() -> None:
    random = np.random.default_rng(0)
    wanted = np.repeat([0, 1, 2], [1500, 1500, 4])
    right = random.random((len(wanted), DEPTH)) < np.array([0.9, 0.5, 0.0])[wanted][:, None]
    labels = np.where(right, wanted[:, None], (wanted[:, None] + 1) % 2)
    labels[-4:] = 2  # always right, of four pictures
    scores = np.full(labels.shape, 0.5)
    calibration = fit_calibration(scores, labels, wanted, np.arange(len(wanted)))
    first, second, third = calibration.offsets
    assert first < second  # half of the hits of the first class are of queries of the second
    assert abs(third) < max(abs(first), abs(second))
    chances = calibration.chances(scores, agreement_of(labels), labels)
    known = labels < 2
    assert calibration_error(chances[known], (labels == wanted[:, None])[known]) < 0.06
    further = np.full((1, DEPTH), 7)  # a class that came later has none
    plain = replace(calibration, offsets=()).chances(scores[:1], agreement_of(further), further)
    assert calibration.chances(scores[:1], agreement_of(further), further) == pytest.approx(plain)


def test_plain_values_give_the_same_chances() -> None:
    scores, labels, wanted = drawn(200)
    calibration = fit_calibration(scores, labels, wanted, np.arange(len(wanted)))
    again = Calibration.from_dict(calibration.to_dict())
    assert again == calibration
    with pytest.raises(ValueError, match="three features"):
        Calibration.from_dict(calibration.to_dict() | {"mean": [1]})


def test_chances_need_lists_with_classes_from_clusters_enough() -> None:
    labels = np.full((30, 10), -1)
    labels[:9, 0] = 1  # of 30 clusters only nine have a hit that has a class
    hits = FirstHits(np.zeros((30, 10)), labels, np.zeros(30, np.int64), np.arange(30))
    assert not enough(hits)
    labels[9, 3] = 1
    assert enough(hits)
