"""Searching again with marked images, in one space, in several and after earlier marks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retrieval
from retrieval import BadQueryError, Feedback, Filter, NoSuchImageError, Part, Query, Searcher
from retrieval.feedback.rocchio import IRRELEVANT, RELEVANT

ANGLES = [0, 10, 20, 45, 70, 80, 90, 180]


def unit(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


@pytest.fixture
def plane(write_collection: Callable[..., Path], tmp_path: Path) -> Searcher:
    other = np.array([unit(22.5 * n) for n in range(8)])
    other[5] = np.nan
    vectors = {"plane": np.array([unit(angle) for angle in ANGLES]), "other": other}
    return retrieval.open(write_collection(tmp_path / "c", vectors, list("abababab")))


@pytest.fixture(scope="module")
def crowd(write_collection: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    """200 images of two classes that half of the coordinates part, under noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    vectors = rng.standard_normal((200, 16)) + 0.7 * np.where(labels[:, None] > 0, 1, -1) * (np.arange(16) < 8)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    path = tmp_path_factory.mktemp("crowd") / "c"
    return retrieval.open(write_collection(path, {"s": vectors}, ["ab"[label] for label in labels]))


def test_few_marks_are_a_query_of_parts_with_rocchios_weights(plane: Searcher) -> None:
    hits = plane.refine(0, relevant=[4], irrelevant=[1, 2], k=8)
    parts = (Part(image_id=4, weight=RELEVANT), *(Part(image_id=i, weight=-IRRELEVANT / 2) for i in (1, 2)))
    by_hand = plane.search(Query((Part(image_id=0), *parts)), 8, exclude_self=False)
    at = {hit.id: hit for hit in by_hand}
    assert hits.ids == [i for i in by_hand.ids if i]
    assert [hit.distance for hit in hits] == pytest.approx([at[i].distance for i in hits.ids], abs=1e-6)
    assert hits.score_kind == "balance"
    assert (hits.query_id, hits.query_class) == (0, "a")  # the query is what it was


def test_relevant_marks_alone_are_a_mean_and_score_as_similarity(plane: Searcher) -> None:
    hits = plane.refine(0, relevant=[5], k=3)
    assert hits.score_kind == "similarity"
    expected = [(np.cos(np.radians(a)) + RELEVANT * np.cos(np.radians(a - 80))) / (1 + RELEVANT) for a in ANGLES]
    assert [hit.score for hit in hits] == pytest.approx([expected[i] for i in hits.ids], abs=1e-6)


def test_marks_from_three_of_each_kind_on_rank_better_than_the_query(crowd: Searcher) -> None:
    before, after = [], []
    for query in range(40):
        hits = crowd.search(query, 12)
        own = [hit.id for hit in hits if hit.class_name == hits.query_class]
        others = [hit.id for hit in hits if hit.class_name != hits.query_class]
        seen = Feedback(seen=tuple(hits.ids))
        unmarked = crowd.search(query, 12, feedback=seen)
        refined = crowd.refine(hits, own[:4], others[:4], unseen=True)
        assert not set(refined.ids) & set(hits.ids)
        assert unmarked.quality is not None
        assert refined.quality is not None
        before.append(unmarked.quality.precision)
        after.append(refined.quality.precision)
    assert np.mean(after) - np.mean(before) > 0.5 * (1 - np.mean(before))


def test_hits_are_refined_again_with_the_marks_before(plane: Searcher) -> None:
    first = plane.search(0, 3, spaces="other")
    second = plane.refine(first, relevant=[1], irrelevant=[3])
    assert (second.spaces, len(second)) == (("other",), 3)
    third = plane.refine(second, relevant=[3], irrelevant=[6])
    assert third.feedback == Feedback((1, 3), (6,))
    assert third == plane.search(0, 3, spaces="other", feedback=Feedback((1, 3), (6,)))


def test_what_was_shown_or_marked_is_left_out(plane: Searcher) -> None:
    first = plane.search(0, 2)
    second = plane.refine(first, relevant=[first.ids[0]], irrelevant=[7], unseen=True)
    assert not {*first.ids, 7} & set(second.ids)
    third = plane.refine(second, unseen=True, k=8)
    assert sorted(third.ids) == sorted(set(range(1, 8)) - {*first.ids, *second.ids, 7})
    assert third.searched == len(third)


def test_several_spaces_are_moved_each_by_itself_and_fused(plane: Searcher) -> None:
    feedback = Feedback(relevant=(5,), irrelevant=(7,))
    for fusion in ("rrf", "zscore", "minmax"):
        hits = plane.search(0, 8, spaces=["plane", "other"], fusion=fusion, feedback=feedback)
        assert sorted(hits.ids) == [1, 2, 3, 4, 5, 6, 7]
        alone = plane.search(0, 8, spaces="plane", feedback=feedback)
        at = {hit.id: hit.distances["plane"] for hit in hits}
        assert [at[hit.id] for hit in alone] == pytest.approx([hit.distance for hit in alone])


def test_marks_meet_filters_folds_classes_and_rerankings(crowd: Searcher) -> None:
    feedback = Feedback(tuple(range(1, 5)), tuple(range(5, 9)))
    assert {hit.class_name for hit in crowd.search(0, 5, classes="b", feedback=feedback)} == {"b"}
    assert crowd.search(0, 5, filter=Filter(ids=frozenset({3})), feedback=feedback).ids == [3]
    assert crowd.search(0, 5, fold=True, feedback=feedback).feedback == feedback
    assert crowd.search(0, 5, rerank="mmr", feedback=feedback).score_kind == "re-ranked similarity"
    assert set(crowd.nearest_of_classes(0, 3, feedback=feedback)) == {"a", "b"}


@pytest.mark.parametrize(
    ("marks", "why"),
    [
        ({"relevant": (1,), "irrelevant": (2, 1)}, "image 1 is marked as relevant and as irrelevant"),
        ({"relevant": "12"}, "`relevant` are ids of images, whole numbers, not '12'"),
        ({"irrelevant": (1.5,)}, "`irrelevant` are ids"),
        ({"seen": None}, "`seen` are ids"),
    ],
)
def test_marks_that_make_no_sense_are_told(marks: dict[str, Any], why: str) -> None:
    with pytest.raises(BadQueryError, match=why):
        Feedback(**marks)


def test_marks_need_one_query_and_images_of_the_collection(plane: Searcher) -> None:
    with pytest.raises(BadQueryError, match="feedback belongs to one query"):
        plane.search([0, 1], feedback=Feedback((2,)))
    with pytest.raises(NoSuchImageError):
        plane.refine(0, relevant=[99])
    assert plane.search(0, feedback=Feedback()) == plane.search(0)


def test_no_hits_are_no_default(plane: Searcher) -> None:
    for query in (0, plane.search(0, 2)):
        with pytest.raises(BadQueryError, match="k is 0; ask for a whole number of hits, at least 1"):
            plane.refine(query, relevant=[4], k=0)


def test_marks_of_another_form_are_told_and_ids_that_no_image_can_have_are_not_seen(plane: Searcher) -> None:
    with pytest.raises(BadQueryError, match=r"feedback is a retrieval.Feedback, not \[4\]"):
        plane.search(0, feedback=[4])  # type: ignore[call-overload]
    assert plane.refine(0, relevant=4).ids == plane.refine(0, relevant=[4]).ids  # type: ignore[arg-type]
    assert plane.search(0, feedback=Feedback(seen=(2**70, 1))).ids == [2, 3, 4, 5, 6, 7]
