from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.evaluation import (
    MeasureOptions,
    NothingToEvaluateError,
    Protocol,
    Round,
    SpaceRetriever,
    evaluate_retriever,
)
from retrieval.evaluation.protocols import UnknownProtocolError
from retrieval.index.cosine import Cosine

ANGLES = np.array([0, 10, 25, 100, 120, 30])  # degrees on a circle: distance grows with the angle between
LABELS = np.array([0, 0, 1, 1, 1, -1])


class Euclidean:
    name = "euclidean"

    def distances(self, queries: NDArray[np.generic], gallery: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.linalg.norm(np.asarray(queries, float)[:, None] - np.asarray(gallery, float)[None], axis=2)

    def scores(self, distances: NDArray[np.floating]) -> NDArray[np.floating]:
        return 1 / (1 + distances)


def on_circle(degrees: NDArray[np.generic]) -> NDArray[np.float32]:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


CIRCLE = SpaceRetriever(on_circle(ANGLES), Cosine())


def random_space(n: int = 300, classes: int = 5, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    labels = random.integers(-1, classes, n)
    vectors = random.standard_normal((n, 24)) + random.standard_normal((classes, 24))[labels]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels


def test_every_labelled_image_queries_all_others() -> None:
    result = evaluate_retriever(CIRCLE, LABELS, ["a", "b"])
    assert result.ids.tolist() == [0, 1, 2, 3, 4]
    assert result.listed.tolist() == [5] * 5
    assert result.relevant.tolist() == [1, 1, 2, 2, 2]
    assert result.neighbours[0, :5].tolist() == [1, 2, 5, 3, 4]
    assert result.neighbours[2, :5].tolist() == [5, 1, 0, 3, 4]
    assert result.measures["mAP"].tolist() == pytest.approx(
        [1, 1, (1 / 4 + 2 / 5) / 2, (1 + 2 / 3) / 2, (1 + 2 / 3) / 2]
    )
    assert result.measures["precision@5"].tolist() == [0.2, 0.2, 0.4, 0.4, 0.4]
    assert result.unlabelled == 1


def test_a_k_far_beyond_the_gallery_takes_no_room() -> None:
    result = evaluate_retriever(CIRCLE, LABELS, ["a", "b"], options=MeasureOptions((5, 10**12), 10**12))
    assert result.measures[f"recall@{10**12}"].tolist() == [1] * 5
    assert result.measures["precision@5"].tolist() == [0.2, 0.2, 0.4, 0.4, 0.4]


def test_micro_is_over_queries_and_macro_over_classes() -> None:
    result = evaluate_retriever(CIRCLE, LABELS, ["a", "b", "nobody's"])
    means = result.means("precision@5")
    assert means.micro == pytest.approx(1.6 / 5)
    assert means.per_class[:2].tolist() == pytest.approx([0.2, 0.4])
    assert np.isnan(means.per_class[2])
    assert means.macro == pytest.approx(0.3)


def test_leave_cluster_out_leaves_out_near_duplicates_and_what_is_only_they() -> None:
    clusters = np.array([7, 7, 8, 9, 9, -1])
    result = evaluate_retriever(CIRCLE, LABELS, ["a", "b"], clusters, protocol="leave-cluster-out")
    assert result.relevant.tolist() == [0, 0, 2, 1, 1]
    assert result.listed.tolist() == [4, 4, 5, 4, 4]
    assert result.scored.tolist() == [False, False, True, True, True]
    assert np.isnan(result.measures["mAP"][:2]).all()
    assert result.means("mAP").macro == pytest.approx(result.measures["mAP"][2:].mean())
    assert result.to_dict()["queries"] == {"all": 5, "scored": 3, "nothing_relevant": 2, "leaking": 0}
    assert result.cluster_count == 4


def test_images_without_cluster_are_not_each_others_duplicates() -> None:
    result = evaluate_retriever(CIRCLE, LABELS, ["a", "b"], np.full(6, -1), protocol="leave-cluster-out")
    assert result.listed.tolist() == [5] * 5


def test_a_training_part_is_searched_from_a_test_part() -> None:
    protocol = Protocol("split", "two for training", (Round(np.array([0, 5, 3]), np.array([4, 1])),), np.arange(6))
    result = evaluate_retriever(CIRCLE, LABELS, ["a", "b"], protocol=protocol)
    assert result.ids.tolist() == [0, 3]
    assert result.neighbours[:, :2].tolist() == [[1, 4], [4, 1]]
    assert result.measures["precision@1"].tolist() == [1, 1]


def test_rounds_are_joined_by_image_id() -> None:
    rounds = (Round(np.array([4, 1]), np.array([0, 2, 3])), Round(np.array([0, 2, 3]), np.array([1, 4])))
    result = evaluate_retriever(
        CIRCLE,
        LABELS,
        ["a", "b"],
        protocol=Protocol("folds", "two", rounds, np.arange(6)),
    )
    assert result.ids.tolist() == [0, 1, 2, 3, 4]
    assert result.neighbours[:, 0].tolist() == [1, 0, 1, 4, 3]


def test_ids_are_the_collections_and_break_ties() -> None:
    same = np.tile(on_circle(np.array([0])), (4, 1))
    result = evaluate_retriever(
        SpaceRetriever(same, Cosine()), np.array([0, 0, 1, 1]), ["a", "b"], ids=np.array([3, 5, 6, 900])
    )
    assert result.neighbours[:, :3].tolist() == [[5, 6, 900], [3, 6, 900], [3, 5, 900], [3, 5, 6]]


@pytest.mark.parametrize("metric", [Cosine(), Euclidean()])
def test_against_a_plain_loop(metric: Cosine | Euclidean) -> None:
    vectors, labels = random_space()
    result = evaluate_retriever(SpaceRetriever(vectors, metric), labels, list("abcde"))
    distances = metric.distances(vectors, vectors)
    for at, query in enumerate(result.ids):
        order = [row for row in np.argsort(distances[query], kind="stable") if row != query]
        right = np.array([labels[row] == labels[query] for row in order])
        hits = np.cumsum(right)
        assert result.neighbours[at].tolist() == order[:100]
        assert result.measures["mAP"][at] == pytest.approx((hits / np.arange(1, 300))[right].mean(), abs=1e-12)
        assert result.measures["recall@20"][at] == pytest.approx(hits[19] / right.sum(), abs=1e-12)
        votes = np.zeros(5)
        for row in order[:5]:
            if labels[row] >= 0:
                votes[labels[row]] += max(float(metric.scores(distances[query, row])), 0)
        assert result.predicted[at] == (votes.argmax() if votes.any() else -1)


def test_threads_change_nothing() -> None:
    vectors, labels = random_space(700)
    one = evaluate_retriever(SpaceRetriever(vectors, Cosine()), labels, list("abcde"), threads=1).to_dict()
    four = evaluate_retriever(SpaceRetriever(vectors, Cosine()), labels, list("abcde"), threads=4).to_dict()
    assert json.dumps(one, allow_nan=False) == json.dumps(four, allow_nan=False)


def test_progress_ends_at_the_number_of_queries() -> None:
    vectors, labels = random_space(500)
    seen: list[tuple[int, int]] = []
    evaluate_retriever(
        SpaceRetriever(vectors, Cosine()),
        labels,
        list("abcde"),
        progress=lambda done, total: seen.append((done, total)),
    )
    queries = int((labels >= 0).sum())
    assert seen[-1] == (queries, queries)
    assert len(seen) == 4  # blocks of 128


def test_images_without_any_class_cannot_be_evaluated() -> None:
    with pytest.raises(NothingToEvaluateError, match="no image has a class"):
        evaluate_retriever(CIRCLE, np.full(6, -1), [])


def test_a_query_that_is_searched_in_nothing_is_an_error() -> None:
    nowhere = Protocol("split", "none for training", (Round(np.arange(6), np.array([], np.int64)),), np.arange(6))
    with pytest.raises(NothingToEvaluateError, match="searched in nothing"):
        evaluate_retriever(CIRCLE, LABELS, ["a", "b"], protocol=nowhere)


def test_a_single_image_is_a_query_without_figures() -> None:
    result = evaluate_retriever(SpaceRetriever(on_circle(ANGLES[:1]), Cosine()), LABELS[:1], ["a"])
    assert result.scored.tolist() == [False]
    assert np.isnan(result.means("mAP").micro)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["measures"]["mAP"]["micro"] is None


def test_an_unknown_protocol_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownProtocolError, match="leave-one-out"):
        evaluate_retriever(CIRCLE, LABELS, ["a", "b"], protocol="leave-it")
