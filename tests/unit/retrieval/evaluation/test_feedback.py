"""Simulated users: what they see, what is left to rank, and what their marks gain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retrieval.evaluation.feedback import Users, feedback_curve, gain_of, simulate
from retrieval.index.cosine import Cosine


def unit(degrees: np.ndarray) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def two_classes(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """200 images of 16 numbers, of which half part the classes, under noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    vectors = noise * rng.standard_normal((200, 16)) + np.where(labels[:, None] > 0, 1, -1) * (np.arange(16) < 8)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def test_what_was_shown_is_out_of_the_gallery_for_the_query_with_and_without_marks() -> None:
    vectors, labels = unit(np.arange(8.0)), np.array([0, 0, 0, 1, 1, 0, 1, 0])
    users = Users(rounds=1, marks=1, shown=2, wrong=0.0)
    marked, unmarked, ceiling = simulate(vectors, Cosine(), labels, np.arange(8), np.array([0]), users)
    assert unmarked.tolist() == [[1.0, 0.0]]  # first 1 and 2, then 3 and 4
    assert ceiling.tolist() == [[1.0, 1.0]]  # 5 and 7 are left
    assert marked[0, 0] == 1.0


def test_near_duplicates_of_the_query_are_not_searched() -> None:
    vectors, labels = unit(np.arange(4.0)), np.array([0, 0, 1, 0])
    users = Users(rounds=0, shown=1)
    groups = np.array([0, 0, 2, 3])
    assert simulate(vectors, Cosine(), labels, groups, np.array([0]), users)[0].tolist() == [[0.0]]


def test_marks_gain_and_wrong_ones_gain_less() -> None:
    vectors, labels = two_classes(2.5)
    gains = []
    for wrong in (0.0, 0.1, 0.5):
        users = Users(shown=10, wrong=wrong)
        curve = feedback_curve("s", vectors, Cosine(), labels, np.arange(200), users, samples=50)
        assert curve is not None
        gains.append(curve.gain)
        assert curve.gain_low <= curve.gain <= curve.gain_high
        assert (len(curve.marked), curve.queries) == (4, 200)
    assert gains[0] > gains[1] > gains[2]
    assert gains[0] > 0.5


def test_images_without_a_class_are_shown_and_ask_nothing() -> None:
    vectors, labels = two_classes(1.0)
    labels[::2] = -1
    curve = feedback_curve("s", vectors, Cosine(), labels, np.arange(200), samples=0)
    assert curve is not None
    assert curve.queries == 100
    assert curve.to_dict()["gain_low"] is None
    assert feedback_curve("s", vectors, Cosine(), np.full(200, -1), np.arange(200)) is None


def test_a_gallery_that_is_used_up_ends_the_rounds() -> None:
    vectors, labels = two_classes(1.0)
    users: Any = Users(rounds=4, shown=6)
    marked, unmarked, ceiling = simulate(vectors[:9], Cosine(), labels[:9], np.arange(9), np.arange(9), users)
    assert marked.shape == unmarked.shape == (9, 5)
    assert (marked <= ceiling).all()
    assert (marked[:, 2:] == 0).all()


@pytest.mark.parametrize(("marked", "unmarked", "gain"), [(0.9, 0.8, 0.5), (0.7, 0.8, -0.5), (1.0, 1.0, 0.0)])
def test_the_gain_is_the_share_of_what_was_missing(marked: float, unmarked: float, gain: float) -> None:
    assert gain_of(marked, unmarked) == pytest.approx(gain)
