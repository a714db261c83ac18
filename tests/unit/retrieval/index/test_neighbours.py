from __future__ import annotations

import numpy as np
import pytest

from retrieval.index.cosine import Cosine
from retrieval.index.neighbours import ranked, with_ids
from retrieval.index.rows import ArrayRows


@pytest.mark.parametrize(
    ("ids", "added", "union"),
    [
        ([], [], []),
        ([], [3, 1, 3], [1, 3]),
        ([1, 4, 7], [], [1, 4, 7]),
        ([1, 4, 7], [8], [1, 4, 7, 8]),
        ([1, 4, 7], [5, 0, 5, 4, 9], [0, 1, 4, 5, 7, 9]),
    ],
)
def test_ids_are_joined_in_ascending_order_each_once(ids: list[int], added: list[int], union: list[int]) -> None:
    joined = with_ids(np.array(ids, np.int64), np.array(added, np.int64))
    assert joined.tolist() == union
    assert joined.dtype == np.int64


@pytest.mark.parametrize("contiguous", [True, False])
def test_single_precision_leaves_out_none_of_the_nearest_and_nearly_all_others(contiguous: bool) -> None:
    random = np.random.default_rng(5)
    vectors = random.standard_normal((500, 37)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[40] = vectors[20]  # equal ones stay both
    rows = ArrayRows(vectors if contiguous else np.asfortranarray(vectors))
    ids = np.flatnonzero(random.random(500) < 0.7)
    ids = np.union1d(ids, [20, 40])
    for query in vectors[:50]:
        exact = 1 - vectors[ids].astype(np.float64) @ query.astype(np.float64)
        nearest = ids[np.argsort(exact, kind="stable")[:9]]
        distances, chosen = ranked(Cosine(), rows, query, ids, 9)
        assert np.array_equal(distances, Cosine().distances(query[None], vectors[chosen])[0])
        assert set(nearest) <= set(chosen.tolist())
        assert len(chosen) <= 11
        assert (np.diff(chosen) > 0).all()
    assert ranked(Cosine(), rows, vectors[0], ids[:9], 9)[1].tolist() == ids[:9].tolist()
    assert ranked(Cosine(), rows, vectors[0], ids[:0], 9)[1].tolist() == []
