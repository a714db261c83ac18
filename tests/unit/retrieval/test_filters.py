from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.collection import Images
from retrieval.filters import Filter, NoSuchClassError, Selection, among
from retrieval.query import BadQueryError


def images(ids: list[int], labels: list[int], clusters: list[int]) -> Images:
    n = len(ids)
    return Images(
        classes=("cecum", "polyps", "pylorus"),
        source_paths=((Path("/data"), "folder"),),
        ids=np.array(ids, np.int64),
        labels=np.array(labels, np.int32),
        clusters=np.array(clusters, np.int64),
        sizes=np.ones((n, 2), np.int32),
        checksums=np.ones((n, 1), np.uint32),
        contents=np.zeros((n, 32), np.uint8),
        marks=np.zeros(n, np.int32),
        scene_rows=np.full(n, -1),
        files=tuple(map(str, ids)),
        sources=np.zeros(n, np.int32),
        source_numbers=(1,),
    )


SIX = images([2, 3, 5, 8, 9, 11], [0, 1, 1, -1, 2, 0], [2, 3, 3, 8, 2, 11])


def test_no_condition_selects_everything() -> None:
    selection = Filter().select(SIX)
    assert selection.is_everything
    assert (selection.count, selection.ids.tolist()) == (6, [2, 3, 5, 8, 9, 11])


def test_conditions_hold_together() -> None:
    chosen = Filter(
        classes=frozenset({"cecum", "polyps"}),
        ids=frozenset({2, 3, 9, 11, 77}),
        exclude_ids=frozenset({11, 9, 500}),
        exclude_clusters=frozenset({3, 40}),
    ).select(SIX)
    assert chosen.ids.tolist() == [2]
    assert chosen.count == 1
    assert chosen.contains(np.array([[2, 3], [11, 77]])).tolist() == [[True, False], [False, False]]


def test_a_cluster_leaves_out_all_of_its_images_whatever_their_class() -> None:
    assert Filter(exclude_clusters=frozenset({2})).select(SIX).ids.tolist() == [3, 5, 8, 11]


def test_no_class_at_all_selects_nothing_and_an_unknown_one_is_an_error() -> None:
    assert Filter(classes=frozenset()).select(SIX).count == 0
    with pytest.raises(NoSuchClassError, match=r"no class 'Polpys' \(did you mean polyps\?\); the classes"):
        Filter(classes=frozenset({"Polpys"})).select(SIX)
    with pytest.raises(NoSuchClassError, match="no class 'ileum'; the classes: cecum, polyps, pylorus"):
        Filter(classes=frozenset({"ileum", "cecum"})).select(SIX)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"classes": [3]}, r"classes of a filter are names, not \[3\]"),
        ({"ids": ["3"]}, "ids of a filter are whole numbers"),
        ({"ids": [5.7]}, "ids of a filter are whole numbers"),
        ({"exclude_ids": None}, "exclude_ids of a filter are whole numbers"),
        ({"exclude_clusters": [True]}, "exclude_clusters of a filter are whole numbers"),
    ],
)
def test_what_is_no_condition_is_told(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(BadQueryError, match=why):
        Filter(**fields)


def test_conditions_may_be_any_iterables_and_ids_of_any_size() -> None:
    stated: Any = {"classes": "polyps", "ids": np.array([3, 5, 8]), "exclude_ids": [5, 2**70], "exclude_clusters": ()}
    chosen = Filter(**stated)
    assert chosen == Filter(frozenset({"polyps"}), frozenset({3, 5, 8}), frozenset({5, 2**70}))
    assert chosen.select(SIX).ids.tolist() == [3]
    assert Filter(ids=frozenset({-(2**70), 9})).select(SIX).ids.tolist() == [9]


def test_an_empty_collection_has_nothing_to_select() -> None:
    empty = images([], [], [])
    assert Filter(ids=frozenset({1}), exclude_clusters=frozenset({0})).select(empty).count == 0
    assert Filter(classes=frozenset({"cecum"})).select(empty).ids.tolist() == []


ids = st.sets(st.integers(0, 30))


@given(ids, st.none() | ids, ids)
def test_a_selection_is_the_difference_of_the_sets(
    everything: set[int], included: set[int] | None, out: set[int]
) -> None:
    def ascending(values: set[int]) -> np.ndarray:
        return np.array(sorted(values & everything), np.int64)

    selection = Selection(ascending(everything), None if included is None else ascending(included), ascending(out))
    expected = sorted((everything if included is None else included & everything) - out)
    assert selection.ids.tolist() == expected
    assert selection.count == len(expected)
    assert np.flatnonzero(selection.contains(np.arange(31))).tolist() == expected


def test_nothing_is_among_an_empty_array() -> None:
    assert among(np.array([[1, 2]]), np.empty(0, np.int64)).tolist() == [[False, False]]
