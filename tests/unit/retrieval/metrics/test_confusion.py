"""Classification scores by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from retrieval.metrics import class_scores, confusion_matrix, overall_scores

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
ELECTED = np.array([0, 0, 0, 1, 1, 1, 2, 2, 0, 2])


def test_rows_are_true_and_columns_voted_classes() -> None:
    assert confusion_matrix(TRUTH, ELECTED, 3).tolist() == [[3, 1, 0, 0], [0, 2, 1, 0], [1, 0, 2, 0]]


def test_one_class_against_the_rest_by_hand() -> None:
    scores = class_scores(confusion_matrix(TRUTH, ELECTED, 3))
    assert [scores.TP[0], scores.TN[0], scores.FP[0], scores.FN[0]] == [3, 5, 1, 1]
    assert scores.recall[0] == 3 / 4
    assert scores.precision[0] == 3 / 4
    assert scores.specificity[0] == 5 / 6
    assert scores.accuracy[0] == 8 / 10
    assert scores.F1[0] == 3 / 4
    assert scores.MCC[0] == pytest.approx((3 * 5 - 1 * 1) / math.sqrt(4 * 4 * 6 * 6))


def test_all_classes_by_hand() -> None:
    overall = overall_scores(confusion_matrix(TRUTH, ELECTED, 3))
    assert overall.accuracy == 7 / 10
    assert overall.macro_recall == pytest.approx((3 / 4 + 2 / 3 + 2 / 3) / 3)
    # c = 7, s = 10, elected and true 4, 3, 3: (70 - 34) / (100 - 34)
    assert pytest.approx(36 / 66) == overall.MCC


def test_many_matrices_at_once_are_each_their_own() -> None:
    one = confusion_matrix(TRUTH, ELECTED, 3)
    both = class_scores(np.stack([one, 2 * one]))
    assert both.recall[1].tolist() == class_scores(one).recall.tolist()
    assert both.TP[1].tolist() == (2 * class_scores(one).TP).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(6), random.integers(0, 6, 200)])
    elected = np.where(random.random(206) < 0.5, truth, random.integers(0, 5, 206))  # class 5 mostly lost
    counts = confusion_matrix(truth, elected, 6)
    assert counts[:, :6].tolist() == sklearn_metrics.confusion_matrix(truth, elected).tolist()
    scores, overall = class_scores(counts), overall_scores(counts)
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(truth, elected, zero_division=0)
    np.testing.assert_allclose(scores.precision, precision, atol=1e-12)
    np.testing.assert_allclose(scores.recall, recall, atol=1e-12)
    np.testing.assert_allclose(scores.F1, f1, atol=1e-12)
    for c in range(6):
        assert scores.MCC[c] == pytest.approx(sklearn_metrics.matthews_corrcoef(truth == c, elected == c), abs=1e-12)
        assert scores.accuracy[c] == pytest.approx(sklearn_metrics.accuracy_score(truth == c, elected == c))
        assert scores.specificity[c] == pytest.approx(sklearn_metrics.recall_score(truth != c, elected != c))
    assert pytest.approx(sklearn_metrics.matthews_corrcoef(truth, elected), abs=1e-12) == overall.MCC
    assert overall.accuracy == pytest.approx(sklearn_metrics.accuracy_score(truth, elected))
    assert overall.macro_F1 == pytest.approx(sklearn_metrics.f1_score(truth, elected, average="macro"))


def test_perfect_and_inverted_answers_are_the_ends_of_mcc() -> None:
    perfect = overall_scores(confusion_matrix(np.array([0, 1]), np.array([0, 1]), 2))
    inverted = overall_scores(confusion_matrix(np.array([0, 1]), np.array([1, 0]), 2))
    assert (perfect.MCC, inverted.MCC) == (1, -1)
