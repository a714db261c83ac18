"""Fused distances by hand: three spaces of one number, in which distance is the difference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.evaluation.retrievers import FusedRetriever, Member, RerankedRetriever, SpaceRetriever
from retrieval.fusion.statistics import of_scores
from retrieval.index.cosine import Cosine

GALLERY = np.arange(6)


class Difference:
    name = "difference"

    def distances(self, queries: NDArray[np.generic], gallery: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.abs(np.asarray(queries, float) - np.asarray(gallery, float).T)

    def scores(self, distances: NDArray[np.floating]) -> NDArray[np.floating]:
        return 1 - distances


def member(values: list[float], rows: list[int] | None = None, weight: float = 1) -> Member:
    vectors = np.array(values, float)[:, None]
    return Member(vectors, np.arange(len(values)) if rows is None else np.array(rows), Difference(), weight)


def distances(members: list[Member], method: str, query: int = 0) -> NDArray[np.floating]:
    """Of a query to the others; its own place has no meaning."""
    retriever = FusedRetriever(members, np.arange(6), method)
    return retriever.distances_to(GALLERY)(np.array([query]))[0, 1:]


def standardised(values: list[float]) -> NDArray[np.float64]:
    """Points of images 1 to 5 for query 0."""
    pairs = [1 - abs(a - b) for at, a in enumerate(values) for b in values[at + 1 :]]
    scores = 1 - np.abs(np.array(values[1:]) - values[0])
    return (scores - np.mean(pairs)) / np.std(pairs)


NEAR = [0.0, 0.1, 0.2, 0.4, 0.7, 0.9]
FAR = [0.0, 0.5, 0.1, 0.9, 0.3, 0.2]


def test_reciprocal_ranks() -> None:
    first, second = np.array([1, 2, 3, 4, 5]), np.array([4, 1, 5, 3, 2])  # ranks of the images 1 to 5
    expected = 0.75 * 61 / (60 + first) + 0.25 * 61 / (60 + second)
    assert distances([member(NEAR, weight=3), member(FAR)], "rrf") == pytest.approx(-expected)


def test_standardised_scores_by_the_statistics_of_the_gallery() -> None:
    expected = 0.75 * standardised(NEAR) + 0.25 * standardised(FAR)
    assert distances([member(NEAR, weight=3), member(FAR)], "zscore") == pytest.approx(-expected)
    only_test_images_are_far = FusedRetriever([member(NEAR), member(FAR)], np.arange(6), "zscore")
    of_part = only_test_images_are_far.distances_to(GALLERY[:3])(np.array([5]))
    assert of_part[0] != pytest.approx(only_test_images_are_far.distances_to(GALLERY)(np.array([5]))[0, :3])


def test_scaled_scores() -> None:
    def scaled(values: list[float]) -> NDArray[np.float64]:
        least = of_scores(np.array([1 - abs(a - b) for a in values for b in values])).minimum
        return (1 - np.abs(np.array(values[1:]) - values[0]) - least) / (1 - least)

    expected = (scaled(NEAR) + scaled(FAR)) / 2
    assert distances([member(NEAR), member(FAR)], "minmax") == pytest.approx(-expected)


@pytest.mark.parametrize("method", ["zscore", "minmax"])
def test_a_space_that_an_image_lacks_gives_it_no_points(method: str) -> None:
    whole = distances([member(NEAR), member(NEAR)], method)
    lacking = distances([member(NEAR), member(NEAR[:5], rows=[0, 1, 2, 3, 4])], method)
    assert lacking[4] == pytest.approx(whole[4] / 2)


@pytest.mark.parametrize("method", ["rrf", "zscore", "minmax"])
def test_what_a_search_does_not_fuse_follows_after_all_that_it_does(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [member(NEAR, weight=5), member(FAR)]
    every = distances(members, method)
    monkeypatch.setattr("retrieval.evaluation.retrievers.DEPTH", 2)
    cut = distances(members, method)  # images 1 and 2 are first in one space, 2 and 5 in the other
    candidates, others = [0, 1, 4], [2, 3]
    assert cut[others].min() > cut[candidates].max()
    assert np.argsort(cut[others]).tolist() == np.argsort(every[others]).tolist()
    if method != "rrf":
        assert cut[candidates] == pytest.approx(every[candidates])


def test_only_images_with_every_vector_can_be_queries() -> None:
    retriever = FusedRetriever([member(NEAR), member(FAR[:2], rows=[1, 4])], np.arange(6))
    assert retriever.complete.tolist() == [False, True, False, False, True, False]


def test_reports_name_the_distance_of_a_space_and_the_sum_of_a_fusion() -> None:
    assert SpaceRetriever(np.eye(2), Cosine()).metric_name == "cosine"
    names = {method: FusedRetriever([], GALLERY, method).metric_name for method in ("rrf", "zscore", "minmax")}
    assert names == {"rrf": "reciprocal ranks", "zscore": "standardised scores", "minmax": "scores scaled to 0..1"}


def test_what_a_query_leaves_out_does_not_change_how_others_are_ranked_anew() -> None:
    random = np.random.default_rng(4)
    vectors = random.normal(size=(30, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = np.arange(30)
    groups[1] = groups[0]  # a near duplicate of the query
    everything = np.arange(30)
    with_it = RerankedRetriever(vectors, groups, "expansion").distances_to(everything)(np.array([0]))[0]
    moved = vectors.copy()
    moved[1] = -vectors[1]
    without = RerankedRetriever(moved, groups, "expansion").distances_to(everything)(np.array([0]))[0]
    assert with_it[2:] - with_it[2:].min() == pytest.approx(without[2:] - without[2:].min())
