from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import retrieval
from retrieval import NotCalibratedError, Searcher
from retrieval.class_words import UnknownWordsError
from retrieval.collection import CollectionWriter, NoSuchImageError
from retrieval.descriptors import DESCRIPTORS
from retrieval.filters import Filter
from retrieval.learn.novelty import Novelty
from retrieval.query import BadQueryError, Part, Query
from retrieval.spaces import VectorError


def unit(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


ANGLES = [0, 10, 20, 45, 70, 80, 90, 180]
"""Of the images 0 to 7 in the plane; in the space `other` the image n lies at 22.5 n degrees, image 5 is not there."""


@pytest.fixture
def plane(write_collection: Callable[..., Path], tmp_path: Path) -> Searcher:
    other = np.array([unit(22.5 * n) for n in range(8)])
    other[5] = np.nan
    vectors = {"plane": np.array([unit(angle) for angle in ANGLES]), "other": other}
    return retrieval.open(write_collection(tmp_path / "c", vectors, list("abababab")))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "given: none"),
        ({"image_id": 1, "text": "polyp"}, "given: image_id, text"),
        ({"image_id": True}, "whole number"),
        ({"image_id": 1.5}, "whole number"),
        ({"vector": np.ones((2, 2))}, "one dimension"),
        ({"vector": [[1.0], [1.0, 2.0]]}, "all of one length"),
        ({"image_id": 1, "weight": 0}, "other than 0"),
        ({"image_id": 1, "weight": float("nan")}, "finite number"),
        ({"image_id": 1, "weight": "2"}, "finite number"),
        ({"image_id": 1, "weight": 10**400}, "finite number"),
        ({"image_id": 1, "space": "plane"}, "only a vector belongs to a space"),
        ({"text": 5}, "a text is a string of words, not 5"),
        ({"text": "polyp", "region": (0, 0, 1, 1)}, "a text has no region"),
        ({"vector": np.ones(2), "region": (0, 0, 1, 1)}, "a vector has no region"),
        ({"image_id": 1, "region": (0, 0, 1)}, "left, top, width and height"),
        ({"image_id": 1, "region": "left"}, "left, top, width and height"),
        ({"image_id": 1, "region": {0.1, 0.2, 0.3, 0.4}}, "left, top, width and height"),
        ({"picture": ""}, "file is empty"),
        ({"picture": "."}, "^\\. is a folder"),
        ({"picture": Path("/")}, "^/ is a folder"),
        ({"picture": "https://example.org/a.jpg"}, "is a web address; .* download it first"),
    ],
)
def test_what_is_no_part_is_told(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(BadQueryError, match=why):
        Part(**fields)


def test_a_query_is_made_of_whatever_is_one() -> None:
    picture = Image.new("RGB", (9, 9))
    for value in ("a.jpg", Path("a.jpg"), b"bytes", picture, np.zeros((4, 4, 3), np.uint8)):
        assert Query.of(value).parts[0].picture is value
    assert Query.of(bytearray(b"bytes")).parts[0].picture == b"bytes"
    assert Query.of(np.int32(3)).image_id == 3
    part = Part(image_id=3, weight=2)
    assert Query.of(part).parts == (part,)
    both = Query((part, Part(image_id=4)))
    assert Query.of(both) is both
    assert (both.image_ids, both.image_id) == ((3, 4), None)
    for wrong in (part, both):
        with pytest.raises(BadQueryError, match="its own region"):
            Query.of(wrong, (0, 0, 1, 1))
    with pytest.raises(BadQueryError, match="one part or more"):
        Query(())


def test_several_parts_rank_by_their_weighted_mean_distance(plane: Searcher) -> None:
    query = Query((Part(image_id=0, weight=3), Part(image_id=6)))
    hits = plane.search(query, 4)
    means = {
        n: (3 * (1 - np.cos(np.radians(angle))) + (1 - np.cos(np.radians(angle - 90)))) / 4
        for n, angle in enumerate(ANGLES)
        if n not in (0, 6)
    }
    expected = sorted(means, key=lambda n: means[n])[:4]
    assert hits.ids == expected
    assert [hit.distance for hit in hits] == pytest.approx([means[n] for n in expected], abs=1e-6)
    assert hits[0].score == pytest.approx(1 - means[expected[0]], abs=1e-6)
    assert (hits.query_id, hits.query_class, hits.searched) == (None, None, 6)


@pytest.mark.parametrize("size", [2.0**1023, 2.0**-1070])
@pytest.mark.parametrize("fusion", ["rrf", "zscore", "minmax"])
def test_only_the_proportions_of_weights_count(plane: Searcher, size: float, fusion: str) -> None:
    parts = [Query((Part(image_id=0, weight=weight), Part(image_id=6, weight=weight))) for weight in (1, size)]
    for spaces in ("plane", ["plane", "other"]):
        usual, scaled = (plane.search(query, 4, spaces=spaces, fusion=fusion) for query in parts)
        assert scaled == usual
    both = {"spaces": ["plane", "other"], "fusion": fusion}
    assert plane.search(0, 4, weights=[size, size], **both) == plane.search(0, 4, weights=[1, 1], **both)  # type: ignore[call-overload]


@pytest.mark.parametrize("spaces", ["plane", ["plane", "other"]])
@pytest.mark.parametrize("k", [10**9, 2**70])
def test_more_hits_than_there_are_images(plane: Searcher, spaces: Any, k: int) -> None:
    hits = plane.search(0, k, spaces=spaces)
    assert sorted(hits.ids) == [1, 2, 3, 4, 5, 6, 7]
    assert hits.quality is not None
    assert (hits.quality.k, hits.quality.recall, hits.quality.precision) == (k, 1, 3 / k)


def test_the_images_of_a_query_and_their_clusters_are_left_out(plane: Searcher, tmp_path: Path) -> None:
    with CollectionWriter(tmp_path / "c") as writer:
        writer.set_clusters({1: 0, 5: 4}, {"test": 1})
    engine = retrieval.open(tmp_path / "c")
    query = Query((Part(image_id=0), Part(image_id=4)))
    assert set(engine.search(query, 9).ids) == {1, 2, 3, 5, 6, 7}
    assert set(engine.search(query, 9, exclude_cluster=True).ids) == {2, 3, 6, 7}
    assert set(engine.search(query, 9, exclude_cluster=True, exclude_self=False).ids) == {0, 2, 3, 4, 6, 7}
    assert set(engine.search(query, 9, exclude_self=False).ids) == set(range(8))


def test_opposite_parts_have_no_common_direction_and_are_ranked_all_the_same(plane: Searcher) -> None:
    hits = plane.search(Query((Part(image_id=0), Part(image_id=7))), 9)
    assert sorted(hits.ids) == [1, 2, 3, 4, 5, 6]  # each of them is at a mean distance of 1, but for rounding
    assert [hit.distance for hit in hits] == pytest.approx([1.0] * 6, abs=1e-6)


def test_parts_of_a_descriptor_rank_by_the_mean_of_its_own_distance(
    write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    descriptor = DESCRIPTORS["EdgeHistogram"]
    random = np.random.default_rng(0)
    vectors = random.integers(0, 8, (30, descriptor.length)).astype(np.float32)
    write_collection(tmp_path / "c", {"EdgeHistogram": vectors})
    hits = retrieval.open(tmp_path / "c").search(Query((Part(image_id=3), Part(image_id=8, weight=2))), 10)
    means = np.array([1, 2]) @ descriptor.metric.distances(vectors[[3, 8]], vectors) / 3
    means[[3, 8]] = np.inf
    assert hits.ids == np.lexsort((np.arange(30), means))[:10].tolist()
    assert [hit.distance for hit in hits] == pytest.approx(np.sort(means)[:10])


def test_a_vector_of_a_named_space_is_searched_there(plane: Searcher) -> None:
    hits = plane.search(Part(vector=np.array([0.0, 5.0]), space="OTHER"), 2)
    assert hits.spaces == ("other",)
    assert hits.ids == [4, 3]
    with pytest.raises(BadQueryError, match="no part of the query has a vector in the space 'plane'"):
        plane.search(Part(vector=unit(0), space="other"), spaces=["other", "plane"])


def test_a_part_that_one_space_lacks_counts_in_the_others_alone(plane: Searcher) -> None:
    query = Query((Part(image_id=0), Part(vector=unit(90), space="other")))
    hits = plane.search(query, 8, spaces=["plane", "other"])
    alone = plane.search(0, 8, spaces="plane")
    at = {hit.id: hit.distances["plane"] for hit in hits}
    assert all(at[hit.id] == hit.distance for hit in alone)


def test_texts_are_refused_where_there_is_neither_a_text_encoder_nor_a_description(plane: Searcher) -> None:
    with pytest.raises(UnknownWordsError, match="known terms are a, b"):
        plane.search(Part(text="a zebra"))


# Negative weights


def test_a_negative_weight_ranks_by_the_weighted_distances_over_the_positive_weights(plane: Searcher) -> None:
    query = Query((Part(image_id=3, weight=2), Part(image_id=0, weight=-1)))
    hits = plane.search(query, 8)
    cosines = {n: (np.cos(np.radians(angle - 45)), np.cos(np.radians(angle))) for n, angle in enumerate(ANGLES)}
    distances = {n: (2 * (1 - near) - (1 - far)) / 2 for n, (near, far) in cosines.items() if n not in (0, 3)}
    expected = sorted(distances, key=lambda n: distances[n])
    assert hits.ids == expected
    assert expected[0] == 4  # at 70 degrees; twice the vector at 45 less that at 0 points to 73.7
    assert [hit.distance for hit in hits] == pytest.approx([distances[n] for n in expected], abs=1e-6)
    balances = [(2 * cosines[n][0] - cosines[n][1]) / 2 for n in expected]
    assert [hit.score for hit in hits] == pytest.approx(balances, abs=1e-6)
    assert hits.score_kind == "balance"


def test_a_part_less_itself_leaves_no_direction_and_every_image_is_compared(plane: Searcher) -> None:
    vector = Part(vector=unit(30))
    hits = plane.search(Query((vector, Part(vector=unit(30), weight=-1))), 9)
    assert sorted(hits.ids) == list(range(8))
    assert [hit.score for hit in hits] == pytest.approx([0.0] * 8, abs=1e-6)


def test_negative_weights_of_a_descriptor_weigh_its_own_distances(
    write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    descriptor = DESCRIPTORS["EdgeHistogram"]
    vectors = np.random.default_rng(0).integers(0, 8, (30, descriptor.length)).astype(np.float32)
    write_collection(tmp_path / "c", {"EdgeHistogram": vectors})
    hits = retrieval.open(tmp_path / "c").search(Query((Part(image_id=3), Part(image_id=8, weight=-2))), 28)
    distances = np.array([1, -2]) @ descriptor.metric.distances(vectors[[3, 8]], vectors)
    distances[[3, 8]] = np.inf
    assert hits.ids == np.lexsort((np.arange(30), distances))[:28].tolist()
    assert [hit.distance for hit in hits] == pytest.approx(np.sort(distances)[:28])
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("fusion", ["rrf", "zscore", "minmax"])
def test_an_image_without_a_vector_counts_as_a_random_one_for_negative_weights_too(
    plane: Searcher, fusion: str
) -> None:
    query = Query((Part(image_id=0), Part(image_id=7, weight=-0.5)))
    hits = plane.search(query, 8, spaces=["plane", "other"], fusion=fusion)
    assert sorted(hits.ids) == [1, 2, 3, 4, 5, 6]
    assert hits.ids[0] == 1
    assert hits.ids[-1] in (5, 6)  # the farthest from 0 and nearest to 180, in one space or in both


def test_a_query_needs_a_positive_weight_in_every_space(plane: Searcher) -> None:
    with pytest.raises(BadQueryError, match="all weights are negative; a query needs a part with a positive one"):
        Query((Part(image_id=0, weight=-1),))
    mixed = Query((Part(vector=unit(0), space="plane"), Part(vector=unit(9), space="other", weight=-1)))
    with pytest.raises(BadQueryError, match="'other' all have negative weights"):
        plane.search(mixed, spaces=["plane", "other"])


def test_chances_are_not_of_queries_with_negative_weights(plane: Searcher) -> None:
    with pytest.raises(NotCalibratedError, match="words, negative weights or marks have no chances"):
        plane.search(Query((Part(image_id=0), Part(image_id=1, weight=-1))), min_chance=0.5)


# Many queries


def test_a_list_is_answered_as_each_of_its_queries(plane: Searcher) -> None:
    queries: list[Any] = [0, 5, unit(33), Query((Part(image_id=2), Part(image_id=6)))]
    for options in ({}, {"classes": "a"}, {"exclude_self": False}):
        together = plane.search(queries, 3, **options)
        assert together == [plane.search(query, 3, **options) for query in queries]
    assert plane.search([], 3) == []
    ids: list[Any] = [0, 2, 7]
    for fusion in ("rrf", "zscore", "minmax"):
        both = plane.search(ids, 5, spaces=["plane", "other"], fusion=fusion)
        assert both == [plane.search(i, 5, spaces=["plane", "other"], fusion=fusion) for i in ids]


def test_a_list_makes_one_call_of_the_index(plane: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    index = plane.index("plane")
    calls = []
    search = type(index).search

    def counted(self: Any, queries: np.ndarray, *rest: Any) -> Any:
        calls.append(len(queries))
        return search(self, queries, *rest)

    monkeypatch.setattr(type(index), "search", counted)
    plane.search([0, 1, 2, 3], 2)
    assert calls == [4]


# Filters and fusion


def test_a_filter_and_classes_hold_together(plane: Searcher) -> None:
    chosen = Filter(ids=frozenset({0, 2, 3, 4}), exclude_ids=frozenset({2}))
    hits = plane.search(1, 9, filter=chosen)
    assert (hits.ids, hits.searched) == ([0, 3, 4], 3)
    hits = plane.search(1, 9, filter=chosen, classes="a", query_class="a")
    assert (hits.ids, hits.searched) == ([0, 4], 2)
    assert hits.quality is not None
    assert hits.quality.relevant == 2
    assert plane.search(1, 9, filter=Filter(classes=frozenset("a")), classes="b").ids == []
    assert plane.search(1, 9, filter=Filter(classes=frozenset("ab")), classes="b").ids == [3, 5, 7]
    assert plane.search(1, 9, filter=Filter(classes=frozenset()), classes="b").ids == []
    with pytest.raises(retrieval.NoSuchClassError, match="no class 'c'"):
        plane.search(1, 9, filter=Filter(classes=frozenset("bc")), classes="b")
    with pytest.raises(BadQueryError, match=r"a filter is a retrieval.Filter, not \{'ids': \[1\]\}"):
        plane.search(1, 9, filter={"ids": [1]})  # type: ignore[arg-type]


def test_a_score_says_what_it_is(plane: Searcher) -> None:
    single = plane.search(0)
    assert (single.score_kind, single.fusion) == ("similarity", None)
    ranks = plane.search(0, spaces=["plane", "other"])
    assert (ranks.score_kind, ranks.fusion) == ("fused ranks", "rrf")
    scores = plane.search(0, spaces=["plane", "other"], fusion="zscore")
    assert (scores.score_kind, scores.fusion) == ("fused scores", "zscore")
    assert scores.to_dict()["score_kind"] == "fused scores"


def test_fused_scores_are_the_weighted_sum_of_standardised_similarities(plane: Searcher) -> None:
    hits = plane.search(0, 8, spaces=["plane", "other"], weights=[3, 1], fusion="zscore")
    plane_background, other_background = plane.backgrounds.of_images("plane"), plane.backgrounds.of_images("other")
    for hit in hits:
        near = (1 - hit.distances["plane"] - plane_background.mean) / plane_background.deviation
        far = hit.distances["other"]
        expected = 0.75 * near
        if far is not None:  # an image without a vector counts as a random one
            expected += 0.25 * (1 - far - other_background.mean) / other_background.deviation
        assert hit.score == pytest.approx(expected)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_background_follows_the_vectors_of_the_same_images(
    write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    paths = [
        write_collection(tmp_path / name, {"plane": np.array([unit(step * n) for n in range(4)])})
        for name, step in (("wide", 30), ("narrow", 5))
    ]
    wide, narrow = (retrieval.open(path).backgrounds.of_images("plane") for path in paths)
    assert wide.mean == pytest.approx(np.mean(np.cos(np.radians([30, 30, 30, 60, 60, 90]))))
    # The same ids with other vectors, as after a space was fitted again.
    shutil.copytree(paths[0] / "statistics", paths[1] / "statistics", dirs_exist_ok=True)
    assert retrieval.open(paths[1]).backgrounds.of_images("plane") == narrow != wide


# Vectors by space


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        ({}, BadQueryError),
        ([unit(0)], BadQueryError),
        ({"plane": np.ones(3)}, VectorError),
        ({"plane": [1.0, 0.0, 0.0]}, VectorError),
        ({"plane": np.array([3.0, 4.0])}, VectorError),
        ({"plane": "x"}, VectorError),
        ({"plane": None}, VectorError),
        ({"nosuch": unit(0)}, retrieval.collection.SpaceNameError),
    ],
)
def test_vectors_that_no_space_stores_are_refused(plane: Searcher, vectors: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        plane.search_by_vectors(vectors)


def test_vectors_are_taken_as_they_are(plane: Searcher) -> None:
    assert plane.search_by_vectors({"plane": unit(12).tolist()}, 2).ids == [1, 2]
    assert plane.search_by_vectors({"plane": plane.vectors_of(0, ["plane"])["plane"]}, 1)[0].distance == 0


def test_vectors_are_made_of_one_part_and_searched_in_the_same_spaces(plane: Searcher) -> None:
    with pytest.raises(BadQueryError, match="give one part"):
        plane.vectors_of(Query((Part(image_id=0), Part(image_id=1))), ["plane"])
    assert list(plane.vectors_of(0, "PLANE")) == ["plane"]
    with pytest.raises(BadQueryError, match="no picture"):
        plane.pictures(unit(3), ["plane"])
    with pytest.raises(BadQueryError, match="in the same spaces"):
        plane.search_embedded([plane.embed(0, "plane"), plane.embed(0, "other")], 3)
    with pytest.raises(BadQueryError, match="a class is given by name, not as 5"):
        plane.search_by_vectors({"plane": unit(12)}, query_class=5)  # type: ignore[arg-type]


def test_a_vector_may_be_a_list(plane: Searcher) -> None:
    assert plane.search(Part(vector=[0.0, 5.0], space="other"), 2) == plane.search(  # type: ignore[arg-type]
        Part(vector=np.array([0.0, 5.0]), space="other"), 2
    )


def test_equal_answers_are_equal_and_hashable(plane: Searcher, tmp_path: Path) -> None:
    again = retrieval.open(tmp_path / "c")
    one, other = plane.search(0, 3), again.search(0, 3)
    assert one == other
    assert hash(one) == hash(other)
    assert len({*one, *other}) == 3
    assert one != plane.search(1, 3)
    assert hash(replace(one, novelty=Novelty("foreign", {"other sources": 0.1}))) != hash(one)
    assert len({*plane.collection.spaces, *again.collection.spaces}) == len(plane.collection.spaces)


def test_errors_of_a_search_are_told_for_lists_too(plane: Searcher) -> None:
    with pytest.raises(NoSuchImageError):
        plane.search([0, 99])
    with pytest.raises(BadQueryError):
        plane.search([0, {"id": 3}])


@pytest.mark.parametrize("parts", [Part(image_id=5), 5, None])
def test_a_query_of_what_are_no_parts_is_told(parts: Any) -> None:
    with pytest.raises(BadQueryError, match=rf"not a {type(parts).__name__}: Query\(\(part,\)\)"):
        Query(parts)


def test_parts_may_be_a_list() -> None:
    part = Part(image_id=5)
    assert Query([part]).parts == (part,)  # type: ignore[arg-type]


def test_what_has_no_order_is_refused_where_order_counts(plane: Searcher) -> None:
    for given in ({"weights": {1, 2}}, {"weights": frozenset({1, 2})}, {"spaces": {"plane", "other"}}):
        with pytest.raises(BadQueryError, match="as a list"):
            plane.search(1, **({"spaces": ["plane", "other"]} | given))  # type: ignore[call-overload]


def test_a_space_has_one_vector_whatever_the_case_of_its_name(plane: Searcher) -> None:
    with pytest.raises(BadQueryError, match="two vectors for the space 'plane'"):
        plane.search_by_vectors({"plane": unit(0), "Plane": unit(90)})
