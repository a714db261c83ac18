from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.collection import Collection, CollectionWriter
from retrieval.hits import Hit, Hits, Quality
from retrieval.report.palette import CLASS_COLOURS
from web.pages.figures import class_stylesheet, colour_number, curves


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    with CollectionWriter(tmp_path / "c", create=True):
        pass
    return Collection.open(tmp_path / "c")


def answer(collection: Collection, classes: str, relevant: int | None) -> Hits:
    """Hits of these classes to a query of class a, to which so many images are relevant; None: its class is unknown."""
    hits = tuple(Hit(k, k, 0.5, 0.5, {"s": 0.5}, name, f"{k}.jpg", k, k) for k, name in enumerate(classes, 1))
    quality = None if relevant is None else Quality.of(classes.count("a"), relevant, max(len(classes), 1))
    return Hits(hits, ("s",), 20, None, quality and "a", quality, collection)


def test_values_are_those_of_the_first_k_hits(collection: Collection) -> None:
    drawn = curves(answer(collection, "abab", 2))
    assert drawn["precision"].values == (1, 1 / 2, 2 / 3, 1 / 2)
    assert drawn["recall"].values == (1 / 2, 1 / 2, 1, 1)
    assert drawn["ceiling"].values == (1 / 2, 1, 1, 1)
    assert drawn["recall"].last == 1


def test_precision_is_drawn_up_to_one_and_recall_up_to_its_ceiling(collection: Collection) -> None:
    drawn = curves(answer(collection, "ab", 4))  # the ceiling ends at 2 of 4
    assert drawn["precision"].points == "0.0,0.0 300.0,60.0"
    assert drawn["recall"].points == "0.0,60.0 300.0,60.0"
    assert drawn["ceiling"].points == "0.0,60.0 300.0,0.0"


def test_a_single_hit_is_a_line_all_the_way(collection: Collection) -> None:
    assert curves(answer(collection, "a", 1))["precision"].points == "0.0,0.0 300.0,0.0"


def test_no_recall_is_drawn_where_nothing_is_relevant_and_nothing_where_the_class_is_unknown(
    collection: Collection,
) -> None:
    assert list(curves(answer(collection, "bb", 0))) == ["precision"]
    assert curves(answer(collection, "ab", None)) == {}
    assert curves(answer(collection, "", 3)) == {}


def test_classes_have_colours_that_begin_again_and_no_class_has_none() -> None:
    assert len(set(CLASS_COLOURS)) == 10
    assert [colour_number(label) for label in (0, 9, 10, -1)] == [0, 9, 0, -1]
    assert class_stylesheet().count("color:") == 10
