"""Words are matched to classes by their descriptions, and their mean vectors are searched."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.class_words import ClassDescription, ClassWords, UnknownWordsError
from retrieval.collection import CollectionWriter
from retrieval.learn.calibration_store import NotCalibratedError
from retrieval.query import BadQueryError, Part, Query
from retrieval.search import Searcher, open_collection

DESCRIBED = {
    "a": ClassDescription("apple", ("apple", "red fruit"), "Round, sweet, on a tree."),
    "b": ClassDescription("banana", ("banana", "yellow fruit"), "Long, sweet, on a plant."),
    "absent": ClassDescription("cherry", ("cherry",), "Small and dark."),
}


def test_the_index_is_closed_with_its_last_user() -> None:
    words = ClassWords(["a"], DESCRIBED)
    index = words._index
    del words
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        index.execute("SELECT 1")


@pytest.fixture(scope="module")
def words() -> ClassWords:
    return ClassWords(["a", "b", "left-hand_side"], DESCRIBED)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("apple", ["a"]),
        ("Apples, please", ["a"]),
        ("something round on a tree", ["a"]),
        ("the yellow fruits", ["b"]),
        ("left hand", ["left-hand_side"]),
        ("sweet", ["a", "b"]),
    ],
)
def test_words_are_matched_by_terms_stems_and_descriptions(words: ClassWords, text: str, classes: list[str]) -> None:
    match = words.match(text)
    assert sorted(match.classes) == classes
    assert sum(match.classes.values()) == pytest.approx(1)


def test_a_query_that_is_a_whole_term_beats_one_that_only_has_its_word() -> None:
    described = {
        "polyps": ClassDescription("polyp", ("polyp",)),
        "dyed": ClassDescription("dyed polyp", ("dyed lifted polyp", "polyp on a cushion")),
        "rest": ClassDescription("other", ("other",)),
        "more": ClassDescription("more", ("more",)),
    }
    assert list(ClassWords(list(described), described).match("Polyps").classes) == ["polyps"]


def test_words_that_describe_nothing_are_named(words: ClassWords) -> None:
    assert words.match("zebra apple").unknown == ("zebra",)
    with pytest.raises(UnknownWordsError, match=r"“zebra”.*known terms are apple, banana, left hand side$"):
        words.match("zebra")
    with pytest.raises(UnknownWordsError, match="known terms are banana, apple"):
        words.match("bananna")
    with pytest.raises(UnknownWordsError, match="“cherries” describes absent, of which the collection has no image"):
        words.match("cherries")
    with pytest.raises(UnknownWordsError, match="known terms"):
        words.match('the " OR * NEAR(')
    with pytest.raises(UnknownWordsError, match="its images have no classes"):
        ClassWords([], DESCRIBED).match("zebra")


def unit(*degrees: float) -> Any:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, write_collection: Any) -> Searcher:
    """Two classes about 10 and 60 degrees; one image without a class between them; a descriptor of whole numbers."""
    path: Path = tmp_path_factory.mktemp("words") / "w.collection"
    colours = np.full((5, 33), np.nan, np.float32)
    colours[[0, 1]] = np.arange(33) // 3
    colours[1, 0] = 1
    vectors = {"plane": unit(0, 20, 60, 60, 35), "ColorLayout": colours}
    write_collection(path, vectors, ["normal-cecum", "normal-cecum", "pylorus", "pylorus", None])
    with CollectionWriter(path) as writer:
        writer.update_recipe("ColorLayout", {"descriptor": "ColorLayout", "variant": "legacy", "origin": "computed"})
    return open_collection(path)


def test_a_text_is_searched_by_the_mean_vector_of_its_class(engine: Searcher) -> None:
    hits = engine.search(Part(text="caecum"), 5, spaces="plane")
    assert sorted(hits.ids[:2]) == [0, 1]  # both 10 degrees from the mean
    assert hits.ids[2:] == [4, 2, 3]
    assert [hit.score for hit in hits] == pytest.approx(np.cos(np.radians([10, 10, 25, 50, 50])), abs=1e-6)
    (match,) = hits.text_matches
    assert (match.text, match.classes, match.spaces) == ("caecum", {"normal-cecum": 1.0}, ("plane",))
    assert "was matched by its words to the class normal-cecum" in str(match)
    assert hits.to_dict()["text_matches"][0]["classes"] == [{"class": "normal-cecum", "share": 1.0}]
    by_vector = engine.search(Part(vector=unit(10)[0]), 5, spaces="plane")
    assert by_vector.ids[2:] == hits.ids[2:]
    assert by_vector.text_matches == ()
    assert (hits.score_kind, by_vector.score_kind) == ("class similarity", "similarity")
    with pytest.raises(NotCalibratedError, match="words, negative weights or marks have no chances"):
        engine.search(Part(text="caecum"), 5, spaces="plane", min_chance=0.5)


def test_texts_have_weights_as_other_parts(engine: Searcher) -> None:
    both = Query((Part(text="pylorus"), Part(image_id=0, weight=2)))
    hits = engine.search(both, 4, spaces="plane", exclude_self=False)
    expected = {n: 1 - (np.cos(np.radians(60 - d)) + 2 * np.cos(np.radians(d))) / 3 for n, d in enumerate([0, 20, 60])}
    assert {hit.id: hit.distance for hit in hits if hit.id in expected} == pytest.approx(
        {n: value for n, value in expected.items() if n in hits.ids}, abs=1e-6
    )
    away = engine.search(Query((Part(image_id=4), Part(text="pylorus", weight=-0.9))), 4, spaces="plane")
    assert away.ids[:2] == [0, 1]
    assert away.score_kind == "balance"


def test_a_descriptor_of_whole_numbers_gets_a_prototype_of_whole_numbers(engine: Searcher) -> None:
    hits = engine.search(Part(text="caecum"), 5, spaces="ColorLayout")
    assert sorted(hits.ids) == [0, 1]
    with pytest.raises(BadQueryError, match="no image of the class pylorus has a vector in the space 'ColorLayout'"):
        engine.search(Part(text="pylorus"), 5, spaces="ColorLayout")
    assert engine.spaces_of_text("pylorus") == ["plane"]
    assert engine.spaces_of_text("caecum") == ["plane", "ColorLayout"]
    assert engine.spaces_of_text("zebra") == []
