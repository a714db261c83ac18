"""Ranked lists as an index returns them."""

from __future__ import annotations

import numpy as np

from retrieval.evaluation.proposed import Proposed
from retrieval.evaluation.retrievers import SpaceRetriever
from retrieval.index.cosine import Cosine
from retrieval.index.int8_scan import Int8Index
from retrieval.index.rows import ArrayRows

ANGLES = np.radians([0, 10, 20, 30, 40, 50])
VECTORS = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)]).astype(np.float32)
IDS = np.arange(6)
ROWS = np.arange(6)


def order(index_ids: list[int], groups: list[int], gallery: list[int]) -> list[int]:
    """Gallery rows in the order in which the first image finds them."""
    index = Int8Index(ArrayRows(VECTORS), np.array(index_ids))
    proposed = Proposed(index, IDS, np.array(groups))
    retriever = SpaceRetriever(VECTORS, Cosine(), proposed)
    distances = retriever.distances_to(np.array(gallery))(np.array([0]))
    return [gallery[at] for at in np.argsort(distances[0], kind="stable")]


def test_an_index_that_returns_all_leaves_the_order_as_it_is() -> None:
    assert order([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]) == [0, 1, 2, 3, 4, 5]


def test_an_image_that_the_index_misses_stands_behind_all_that_it_returns() -> None:
    assert order([0, 1, 3, 4, 5], [0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5]) == [1, 3, 4, 5, 2]


def test_what_the_query_leaves_out_is_not_missed() -> None:
    assert order([0, 1, 2, 3, 4, 5], [0, 0, 2, 3, 4, 5], [1, 2, 4]) == [1, 2, 4]
