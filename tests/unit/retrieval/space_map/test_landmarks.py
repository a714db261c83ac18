from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.space_map.landmarks import map_of


class Euclidean:
    name = "euclidean"

    def distances(self, queries: NDArray[np.generic], gallery: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.linalg.norm(np.asarray(queries, float)[:, None] - np.asarray(gallery, float)[None], axis=2)

    def scores(self, distances: NDArray[np.floating]) -> NDArray[np.floating]:
        return -distances


@pytest.mark.parametrize("n", [30, 600])  # all are landmarks; some are not
def test_points_of_a_plane_keep_their_distances(n: int) -> None:
    plane = np.random.default_rng(0).standard_normal((n, 2)) @ np.array([[1, 2, 0, 1], [0, 1, -1, 1]])
    places = map_of(plane, Euclidean())
    np.testing.assert_allclose(Euclidean().distances(places, places), Euclidean().distances(plane, plane), atol=1e-6)


def test_equal_vectors_share_a_place() -> None:
    assert map_of(np.ones((5, 3)), Euclidean()).tolist() == [[0, 0]] * 5


def test_one_image_has_a_place() -> None:
    assert map_of(np.ones((1, 3)), Euclidean()).tolist() == [[0, 0]]


def test_a_map_is_the_same_each_time() -> None:
    vectors = np.random.default_rng(1).standard_normal((50, 6))
    assert map_of(vectors, Euclidean()).tolist() == map_of(vectors, Euclidean()).tolist()
