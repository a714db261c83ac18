from __future__ import annotations

import numpy as np
import pytest

from retrieval.index.neighbours import with_ids


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
