"""Near duplicates that fold into one hit, and the nearest images of each class."""

from __future__ import annotations

from typing import Any

import pytest

import retrieval
from retrieval import Filter, Query
from retrieval.filters import NoSuchClassError
from retrieval.hits import Quality


@pytest.fixture(scope="module")
def engine(indexed: Any) -> Any:
    return retrieval.open(indexed.path)


@pytest.fixture(scope="module")
def copies(engine: Any) -> tuple[int, int]:
    """Two images that show the same."""
    files = engine.collection.images.files
    return files.index("polyps/0.jpg"), files.index("polyps/copy of 0.jpg")


def test_near_duplicates_fold_into_the_nearer_and_as_many_hits_come_as_were_asked_for(
    engine: Any, copies: tuple[int, int]
) -> None:
    query = engine.collection.images.files.index("polyps/3.jpg")
    plain = engine.search(query, 12)
    folded = engine.search(query, 11, fold=True)

    assert len({hit.cluster for hit in folded}) == len(folded) == 11
    (first,) = [hit for hit in folded if hit.near_duplicates]
    assert {first.id, *first.near_duplicates} == set(copies)
    assert [hit.id for hit in plain if hit.id != first.near_duplicates[0]] == folded.ids
    assert [hit.rank for hit in folded] == list(range(1, 12))
    right = sum(hit.class_name == "polyps" for hit in folded)
    assert folded.quality == Quality.of(right, plain.quality.relevant, 11)


def test_folding_all_images_ends_with_one_of_each_cluster(engine: Any) -> None:
    images = engine.collection.images
    folded = engine.search(0, len(images), fold=True)
    assert len(folded) == len(set(images.clusters.tolist()) - {int(images.clusters[0])})


def test_several_queries_fold_each_for_itself(engine: Any) -> None:
    together = engine.search([0, 9], 5, fold=True)
    assert together == [engine.search(0, 5, fold=True), engine.search(9, 5, fold=True)]


def test_the_nearest_of_each_class_are_those_of_a_search_in_that_class(engine: Any) -> None:
    nearest = engine.nearest_of_classes(3, 2)
    assert sorted(nearest) == sorted(engine.collection.classes)
    for name, hits in nearest.items():
        assert hits == engine.search(3, 2, classes=[name])
    best = [hits[0].score for hits in nearest.values()]
    assert best == sorted(best, reverse=True)


def test_some_classes_alone_with_the_options_of_a_search(engine: Any, copies: tuple[int, int]) -> None:
    hidden = Filter(exclude_ids=frozenset(copies))
    nearest = engine.nearest_of_classes(Query.of(3), 1, classes=["polyps", "cecum"], filter=hidden)
    assert set(nearest) == {"polyps", "cecum"}
    assert not set(copies) & {hit.id for hits in nearest.values() for hit in hits}
    with pytest.raises(NoSuchClassError):
        engine.nearest_of_classes(3, 1, classes=["none such"])
