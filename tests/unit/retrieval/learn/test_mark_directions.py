from __future__ import annotations

import numpy as np
import pytest

from retrieval.learn import LearnOptions, fit
from retrieval.learn.learner import TrainingSet
from retrieval.learn.mark_directions import mark_directions, without
from retrieval.learn.selection import choices, mean_figures

COUNT = 240
LABELS = np.arange(COUNT) % 3
KINDS = np.arange(COUNT) // 3 % 2


def marked(seed: int = 0) -> np.ndarray:
    """Three classes in numbers 0 to 2 of 12, the mark in numbers 3 and 4, the rest noise."""
    vectors = np.random.default_rng(seed).normal(size=(COUNT, 12))
    vectors[np.arange(COUNT), LABELS] += 4
    vectors[:, 3] += 6 * KINDS
    vectors[:, 4] -= 3 * KINDS
    return vectors


def same_mark(vectors: np.ndarray) -> float:
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -2)
    return float((KINDS[similar.argmax(axis=1)] == KINDS).mean())


def left_out(training: TrainingSet, options: LearnOptions) -> dict[str, float]:
    """P@1 and mAP of each class by a model that the other two taught."""
    ids, found = np.arange(COUNT), []
    for label in range(3):
        queries = np.flatnonzero(label == LABELS)
        vectors = training.fit(np.setdiff1d(ids, queries), options).transform(training.frames)
        similar, relevant = vectors[queries] @ vectors.T, LABELS[queries][:, None] == LABELS[None]
        own = np.arange(len(queries)), queries
        similar[own], relevant[own] = -np.inf, False
        found.append(mean_figures(similar, relevant))
    return {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}


def test_directions_are_orthonormal_and_what_is_left_has_one_mean_for_all_marks_of_a_class() -> None:
    features = marked()
    directions = mark_directions(features, LABELS, KINDS)
    assert directions.shape[0] == 12
    assert 1 <= directions.shape[1] <= 6
    assert directions.T @ directions == pytest.approx(np.eye(directions.shape[1]), abs=1e-9)
    left = without(features, directions)
    for label in range(3):
        means = [left[(label == LABELS) & (kind == KINDS)].mean(axis=0) for kind in range(2)]
        assert np.linalg.norm(means[0] - means[1]) < 1  # noise; from about 6.7


def test_classes_that_go_with_one_mark_each_have_no_direction() -> None:
    assert mark_directions(marked(), LABELS, LABELS).shape == (12, 0)
    assert mark_directions(marked(), np.full(COUNT, -1), KINDS).shape == (12, 0)


def test_images_without_a_known_mark_or_class_change_nothing() -> None:
    features, labels, kinds = marked(), LABELS.copy(), KINDS.copy()
    labels[::5], kinds[1::5] = -1, -1
    known = (labels >= 0) & (kinds >= 0)
    assert mark_directions(features, labels, kinds) == pytest.approx(
        mark_directions(features[known], labels[known], kinds[known])
    )


def test_the_unlearned_share_alone_loses_the_marks() -> None:
    vectors, options = marked().astype(np.float32), LearnOptions("lda", dimension=12, unlearned=0.5)
    plain = fit([vectors], LABELS, options)
    unmarked = fit([vectors], LABELS, LearnOptions("lda", dimension=12, unlearned=0.5, unmarked=True), kinds=KINDS)
    before, after = plain.transform([vectors]), unmarked.transform([vectors])
    assert after.shape == before.shape
    assert np.linalg.norm(after, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(plain.arrays["discriminant.matrix"], unmarked.arrays["discriminant.matrix"])
    assert same_mark(after) < 0.65 < 0.9 < same_mark(before)


def test_without_different_marks_nothing_is_removed() -> None:
    plain = fit([marked()], LABELS, LearnOptions("lda", unlearned=0.5))
    for kinds in (None, np.full(COUNT, -1), np.zeros(COUNT, np.int64)):
        made = fit([marked()], LABELS, LearnOptions("lda", unlearned=0.5, unmarked=True), kinds=kinds)
        assert np.array_equal(made.transform([marked()]), plain.transform([marked()]))


def test_a_choice_judges_the_share_without_marks_and_the_unlearned_space_with_them() -> None:
    ids = np.arange(COUNT)
    training = TrainingSet(ids, LABELS, ids, ids, (marked(),), KINDS)
    (plain,) = choices(training, ["lda"], 12, 0.5)
    (unmarked,) = choices(training, ["lda"], 12, 0.5, unmarked=True)
    assert unmarked.left_out_unlearned == plain.left_out_unlearned
    for choice, asked in ((plain, False), (unmarked, True)):
        options = LearnOptions("lda", dimension=12, unlearned=0.5, unmarked=asked)
        assert choice.left_out == pytest.approx(left_out(training, options), abs=2e-3)
    assert unmarked.left_out["mAP"] != pytest.approx(plain.left_out["mAP"], abs=2e-3)
    assert plain.left_out_unlearned == pytest.approx(left_out(training, LearnOptions("pca", dimension=12)), abs=2e-3)


def test_views_have_no_known_mark() -> None:
    """A view may add, remove or cut off what its image shows: here every view of a marked image has lost its mark."""
    ids = np.arange(COUNT)
    views = marked(1)
    views[:, 3] -= 6 * KINDS
    views[:, 4] += 3 * KINDS
    training = TrainingSet(ids, LABELS, ids, np.tile(ids, 2), (np.concatenate([marked(), views]),), KINDS)
    kinds = training.part(ids[::2]).kinds_of_rows
    assert kinds is not None
    assert kinds.tolist() == [*KINDS[::2].tolist(), *[-1] * (COUNT // 2)]
    options = LearnOptions("lda", dimension=12, unlearned=0.5, unmarked=True)
    made = training.fit(ids, options).arrays
    known = np.concatenate([KINDS, np.full(COUNT, -1)])
    expected = fit(training.vectors, np.tile(LABELS, 2), options, kinds=known).arrays
    assert np.array_equal(made["base.marks"], expected["base.marks"])
    (choice,) = choices(training, ["lda"], 12, 0.5, unmarked=True)
    assert choice.left_out == pytest.approx(left_out(training, options), abs=2e-3)
