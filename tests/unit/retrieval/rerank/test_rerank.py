from __future__ import annotations

import numpy as np
import pytest

from retrieval.rerank import METHODS, UnknownRerankingError, reranked, reranker_named
from retrieval.rerank.database_augmentation import DatabaseAugmentation
from retrieval.rerank.k_reciprocal import KReciprocal
from retrieval.rerank.mmr import MaximalMarginalRelevance
from retrieval.rerank.query_expansion import QueryExpansion


def directions(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_the_expanded_query_is_the_weighted_sum_of_itself_and_its_neighbours() -> None:
    # By alpha 1 the query at 0 degrees takes in the image at 60 degrees with half its length.
    expanded = np.array([1.0, 0.0]) + 0.5 * directions(60)[0]
    assert QueryExpansion(1, 1.0).scores(directions(0)[0], directions(60, -70)) == pytest.approx(
        directions(60, -70) @ expanded / np.linalg.norm(expanded)
    )


def test_an_augmented_candidate_lies_between_itself_and_its_neighbour() -> None:
    augmented = DatabaseAugmentation(1, 0.0).augmented(directions(0, 20, 90))
    assert np.degrees(np.arctan2(augmented[:, 1], augmented[:, 0])) == pytest.approx([10, 10, 55])


def test_a_group_of_mutual_neighbours_comes_before_a_nearer_stranger() -> None:
    rng = np.random.default_rng(0)
    group = directions(*rng.uniform(20, 24, 8))
    others = directions(*rng.uniform(-40, -23, 8))
    query = directions(10)[0]
    candidates = np.concatenate([group, others])
    candidates = candidates[np.argsort(-(candidates @ query), kind="stable")]
    order, scores = reranked(KReciprocal(6, 3), query, candidates)
    assert all(candidates[row][1] > 0 for row in order[:8])
    assert (np.diff(scores) <= 0).all()


def test_marginal_relevance_puts_what_is_unlike_the_first_before_its_neighbour() -> None:
    cos = lambda degrees: float(np.cos(np.radians(degrees)))  # noqa: E731
    order, scores = reranked(MaximalMarginalRelevance(0.5), directions(0)[0], directions(10, 12, -30))
    assert order.tolist() == [0, 2, 1]
    assert scores == pytest.approx([0.5 * cos(10), 0.5 * cos(30) - 0.5 * cos(40), 0.5 * cos(12) - 0.5 * cos(2)])


def test_all_relevance_is_the_order_of_the_search() -> None:
    order, scores = reranked(MaximalMarginalRelevance(1.0), directions(0)[0], directions(10, 12, -30))
    assert order.tolist() == [0, 1, 2]
    assert scores == pytest.approx(directions(10, 12, -30)[:, 0])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_candidates_are_all_ranked(name: str, count: int) -> None:
    order, scores = reranked(reranker_named(name), directions(0)[0], directions(*range(count)))
    assert sorted(order.tolist()) == list(range(count))
    assert np.isfinite(scores).all()


def test_what_is_as_relevant_as_it_is_alike_is_a_tie_that_the_nearest_wins() -> None:
    """Behind a copy of the query the marginal relevance of all others is 0, whatever their last digits are."""
    random = np.random.default_rng(0)
    for dimension in (4, 191, 256):
        for _ in range(30):
            candidates = np.abs(random.standard_normal((40, dimension))).astype(np.float32).astype(np.float64)
            candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
            query = candidates[0].copy()
            candidates = candidates[np.argsort(-(candidates @ query), kind="stable")]
            order, scores = reranked(MaximalMarginalRelevance(0.5), query, candidates)
            assert order[:2].tolist() == [0, 1]
            assert scores[1] == 0


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UnknownRerankingError, match="query-expansion"):
        reranker_named("magic")
    with pytest.raises(UnknownRerankingError):
        reranker_named(["magic"])  # type: ignore[arg-type]
