"""The layout of a map keeps neighbours together, and says how far it does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness as peer

from retrieval.index.cosine import Cosine
from retrieval.space_map.layout import layout_of, neighbour_graph
from retrieval.space_map.neighbours import nearest_images
from retrieval.space_map.trustworthiness import trustworthiness


def groups(count: int, each: int, dimension: int = 16) -> NDArray[np.float32]:
    """Unit vectors (count * each, dimension) about `count` random directions."""
    draw = np.random.default_rng(0)
    vectors = np.repeat(draw.standard_normal((count, dimension)), each, axis=0)
    vectors += 0.15 * draw.standard_normal(vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_groups_stay_together() -> None:
    places = layout_of(groups(5, 30), Cosine())
    assert places.shape == (150, 2)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1)[:, :10]
    assert (nearest // 30 == np.arange(150)[:, None] // 30).mean() > 0.99


def test_the_same_seed_gives_the_same_places() -> None:
    vectors = groups(3, 20)
    assert np.array_equal(layout_of(vectors, Cosine(), 4), layout_of(vectors, Cosine(), 4))
    assert not np.array_equal(layout_of(vectors, Cosine(), 4), layout_of(vectors, Cosine(), 5))


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 17])
def test_few_images_have_places(count: int) -> None:
    vectors = groups(1, count) if count else np.empty((0, 16), np.float32)
    places = layout_of(vectors, Cosine())
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()


def test_equal_images_have_places() -> None:
    places = layout_of(np.repeat(groups(1, 1), 40, axis=0), Cosine())
    assert np.isfinite(places).all()


def test_progress_ends_with_all() -> None:
    told: list[tuple[int, int]] = []
    layout_of(groups(2, 20), Cosine(), on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (16, 16)
    assert told == sorted(told)


def test_neighbours_are_ordered_by_distance_and_then_by_row() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    nearest, apart = nearest_images(vectors, Cosine(), 2)
    assert nearest.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]
    assert apart.tolist() == [[0, 0], [0, 0], [0, 0], [1, 1]]


def test_the_graph_ties_the_nearest_by_one_and_unites_both_directions() -> None:
    nearest = np.array([[1, 2], [0, 2], [1, 0]])
    apart = np.array([[1.0, 2.0], [1.0, 3.0], [3.0, 4.0]])
    heads, tails, weights = neighbour_graph(nearest, apart)
    strength = dict(zip(zip(heads.tolist(), tails.tolist(), strict=True), weights.tolist(), strict=True))
    assert strength[0, 1] == strength[1, 0] == 1
    assert strength[1, 2] == strength[2, 1] == 1  # 1 is the nearest of 2
    assert all(strength[i, j] == strength[j, i] for i, j in strength)


def test_trustworthiness_is_that_of_a_peer() -> None:
    draw = np.random.default_rng(1)
    vectors = groups(4, 20)
    for places in (draw.standard_normal((80, 2)), vectors[:, :2]):
        expected = peer(vectors, places, n_neighbors=7, metric="cosine")
        assert trustworthiness(places, vectors, Cosine(), 7) == pytest.approx(expected, abs=1e-12)


def test_trustworthiness_by_hand() -> None:
    """n = 5, k = 2, so 2 / (n k (2n - 3k - 1)) is 1 / 15."""
    angles = np.array([0.0, 0.1, 0.32, 0.6, 1.05])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert trustworthiness(vectors, vectors, Cosine(), 2) == 1
    assert trustworthiness(vectors[:4], vectors[:4], Cosine(), 2) is None
    places = np.array([[0.0, 0], [0.1, 0], [1.0, 0], [0.6, 0], [0.31, 0]])
    # Drawn nearest 0: 1, 4; 1: 0, 4; 2: 3, 4; 3: 4, 2; 4: 1, 3. Beyond the second rank: 4 for 0, 1 and 2, by two each,
    # and 1, the third of 4, by one.
    assert trustworthiness(places, vectors, Cosine(), 2) == pytest.approx(1 - 7 / 15)
