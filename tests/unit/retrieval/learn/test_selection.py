from __future__ import annotations

import numpy as np
import pytest

from retrieval.learn import LearnOptions, NothingToLearnError
from retrieval.learn.learner import TrainingSet
from retrieval.learn.selection import Choice, choices, figures_of, fit_chosen

UNLEARNED = {"precision@1": 0.9, "mAP": 0.7}


def choice(precision: float, average: float) -> Choice:
    return Choice("lda", 0.3, {"precision@1": 1.0, "mAP": 1.0}, {"precision@1": precision, "mAP": average}, UNLEARNED)


def test_a_choice_loses_nothing_where_left_out_classes_have_both_figures_of_the_unlearned_space() -> None:
    assert choice(0.9, 0.7).loses_nothing
    assert choice(0.95, 0.8).loses_nothing
    assert not choice(0.899, 0.9).loses_nothing
    assert not choice(0.95, 0.699).loses_nothing
    assert Choice("lda", 0.3, {}, {}, {}).loses_nothing  # two classes: none can be left out


def test_what_costs_left_out_classes_something_stands_behind_what_costs_them_nothing() -> None:
    """Five classes in a direction each: LDA removes that of a class which it did not see, WCCN does not."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 24)
    vectors = random.normal(size=(len(labels), 10))
    vectors[np.arange(len(labels)), labels] += 3
    ids = np.arange(len(labels))
    tried = choices(TrainingSet(ids, labels, ids, ids, (vectors,)), ["lda", "wccn"], 10)
    assert len(tried) == 10
    lossless = [one.loses_nothing for one in tried]
    assert lossless == sorted(lossless, reverse=True)
    for group in (True, False):
        figures = [sum((one.folds if group else one.left_out).values()) for one in tried if one.loses_nothing == group]
        assert figures == sorted(figures, reverse=True)
    assert {one.method for one in tried if one.loses_nothing} == {"wccn"}
    best = figures_of(tried)
    assert best[tried[0].method]["unlearned"] == tried[0].unlearned


def training_of(labels: list[int], vectors: np.ndarray | None = None) -> TrainingSet:
    ids = np.arange(len(labels))
    made = np.random.default_rng(0).standard_normal((len(labels), 6)) if vectors is None else vectors
    return TrainingSet(ids, np.array(labels), ids, ids, (made,))


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([0] * 30, "30 images of 1 class: learning needs three images or more, of two classes or more"),
        ([0, 1], "2 images of 2 classes: learning needs three images or more"),
        (list(range(30)), "another of their class in another cluster .* give --method and --unlearned"),
    ],
)
def test_what_cannot_be_chosen_says_why(labels: list[int], why: str) -> None:
    training = training_of(labels)
    for method in ("auto", "lda"):
        with pytest.raises(NothingToLearnError, match=why):
            fit_chosen(training, training.ids, LearnOptions(method))


def test_what_is_given_is_not_chosen_where_nothing_can_be_compared() -> None:
    training = training_of(list(range(30)))
    model, options, tried = fit_chosen(training, training.ids, LearnOptions("lda", unlearned=0.5))
    assert (options.method, options.unlearned, tried) == ("lda", 0.5, [])
    assert np.isfinite(model.transform(training.vectors)).all()


def test_pictures_that_are_all_alike_teach_nothing() -> None:
    training = training_of([0, 1] * 15, np.ones((30, 6)))
    for method in ("lda", "wccn", "head", "auto"):
        with pytest.raises(NothingToLearnError, match="are alike: there is nothing to learn"):
            fit_chosen(training, training.ids, LearnOptions(method))
