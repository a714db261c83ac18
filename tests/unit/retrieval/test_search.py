from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import retrieval
from retrieval import Searcher
from retrieval.collection import (
    Collection,
    CollectionWriter,
    DamagedVectorError,
    NoSuchImageError,
    SpaceNameError,
)
from retrieval.descriptors import DESCRIPTORS
from retrieval.encoders import EncoderMismatchError
from retrieval.encoders.runtime import DamagedTowerError
from retrieval.errors import PictureError, QueryError
from retrieval.filters import NoSuchClassError
from retrieval.images import read
from retrieval.index import Index, open_index
from retrieval.query import BadQueryError
from retrieval.search import EmptySpaceError
from retrieval.spaces import VectorError

ROOT = Path(__file__).resolve().parents[3]
SPACE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def engine(indexed: Any) -> Searcher:
    return retrieval.open(indexed.path)


def file_id(engine: Searcher, file: str) -> int:
    return int(engine.collection.images.ids[engine.collection.images.files.index(file)])


# A collection of hand-made vectors in a plane, so that every answer can be worked out on paper


ANGLES = {  # degrees from the query at 0: class, content
    0: ("a", "q"),
    5: ("a", "q"),
    10: ("b", "1"),
    20: (None, "2"),
    30: ("a", "3"),
    40: ("b", "4"),
    50: ("a", "5"),
}
"""The image ids are the order: 0 at 0 degrees and so on; 0 and 1 are exact copies of each other by content."""


def on_circle(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


Plane = Callable[..., Searcher]


@pytest.fixture
def plane(write_collection: Callable[..., Path]) -> Plane:
    """(path, angles, second) -> a searcher; second: image id -> angle in another space, which the others lack."""

    def made(
        path: Path, angles: dict[float, tuple[str | None, str]], *, second: dict[int, float] | None = None
    ) -> Searcher:
        vectors = {"plane": np.array([on_circle(angle) for angle in angles], np.float32).reshape(-1, 2)}
        if second:
            vectors["second"] = np.full((len(angles), 2), np.nan, np.float32)
            vectors["second"][list(second)] = [on_circle(angle) for angle in second.values()]
        classes, contents = zip(*angles.values(), strict=True) if angles else ((), ())
        return retrieval.open(write_collection(path, vectors, classes, contents=contents))

    return made


@pytest.fixture
def paper(plane: Plane, tmp_path: Path) -> Searcher:
    return plane(tmp_path / "c", ANGLES)


def test_hits_come_by_distance_with_rank_and_score(paper: Searcher) -> None:
    hits = paper.search(0, 3)
    assert hits.ids == [1, 2, 3]
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert [hit.score for hit in hits] == pytest.approx(np.cos(np.radians([5, 10, 20])), abs=1e-6)
    assert [hit.distance for hit in hits] == pytest.approx(1 - np.cos(np.radians([5, 10, 20])), abs=1e-6)
    assert [hit.class_name for hit in hits] == ["a", "b", None]
    assert [hit.cluster for hit in hits] == [0, 2, 3]
    assert hits[1].distances == {"plane": hits[1].distance}
    assert hits[2].file == "3.jpg"
    assert (hits.query_id, hits.query_class, hits.searched) == (0, "a", 6)


def test_rounding_makes_no_distance_negative_and_no_score_larger_than_one(
    write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    a_little_long = on_circle(30) * np.float32(1 + 1e-6)
    hit = retrieval.open(write_collection(tmp_path / "c", {"plane": a_little_long[None]})).search(
        0, 1, exclude_self=False
    )[0]
    assert (hit.distance, hit.distances, hit.score) == (0, {"plane": 0}, 1)


def test_precision_recall_and_ceiling_by_hand(paper: Searcher) -> None:
    # searched are 1..6; of class a: 1, 4, 6
    quality = paper.search(0, 2).quality
    assert quality is not None
    assert (quality.k, quality.relevant) == (2, 3)
    assert (quality.precision, quality.recall, quality.recall_ceiling) == pytest.approx((1 / 2, 1 / 3, 2 / 3))
    quality = paper.search(0, 5).quality
    assert quality is not None
    assert (quality.precision, quality.recall, quality.recall_ceiling) == pytest.approx((2 / 5, 2 / 3, 1))


def test_more_than_there_is_counts_as_not_relevant(paper: Searcher) -> None:
    hits = paper.search(0, 12)
    assert len(hits) == 6
    assert hits.quality is not None
    assert (hits.quality.precision, hits.quality.recall, hits.quality.recall_ceiling) == pytest.approx((3 / 12, 1, 1))


def test_leaving_out_the_cluster_leaves_its_images_out_of_the_relevant_too(paper: Searcher) -> None:
    hits = paper.search(0, 2, exclude_cluster=True)
    assert hits.ids == [2, 3]
    assert hits.searched == 5
    assert hits.quality is not None
    assert (hits.quality.relevant, hits.quality.precision, hits.quality.recall) == (2, 0, 0)


def test_the_query_itself_is_found_when_asked_for(paper: Searcher) -> None:
    assert paper.search(0, 2, exclude_self=False).ids == [0, 1]
    assert paper.search(0, 2, exclude_self=False, exclude_cluster=True).ids == [0, 2]


def test_a_class_filter_restricts_hits_and_what_counts_as_searched(paper: Searcher) -> None:
    hits = paper.search(0, 10, classes="b")
    assert (hits.ids, hits.searched) == ([2, 5], 2)
    assert hits.quality is not None
    assert (hits.quality.relevant, hits.quality.precision) == (0, 0)
    assert (hits.quality.recall, hits.quality.recall_ceiling) == (None, None)
    assert paper.search(0, 10, classes=["a", "b"]).ids == [1, 2, 4, 5, 6]
    assert paper.search(0, 10, classes=()).ids == []
    with pytest.raises(NoSuchClassError, match="no class 'c'; the classes: a, b"):
        paper.search(0, classes=["a", "c"])


def test_an_unlabelled_query_has_no_measures_unless_its_class_is_given(paper: Searcher) -> None:
    assert paper.search(3).quality is None
    given = paper.search(3, 2, query_class="b")
    assert given.query_class == "b"
    assert given.quality is not None
    assert sorted(given.ids) == [2, 4]
    assert (given.quality.relevant, given.quality.precision, given.quality.recall) == (2, 0.5, 0.5)


def test_a_class_that_the_collection_lacks_has_nothing_relevant(paper: Searcher) -> None:
    quality = paper.search(on_circle(0), 2, query_class="polyps").quality
    assert quality is not None
    assert (quality.relevant, quality.precision, quality.recall) == (0, 0, None)


def test_a_vector_is_compared_by_its_direction(paper: Searcher) -> None:
    assert paper.search(on_circle(29) * 100, 2).ids == [4, 3]
    assert paper.search(on_circle(29).astype(np.float64), 2).ids == [4, 3]


@pytest.mark.parametrize("length", [1e-300, 1e-160, 1e-40, 1e39, 1e160, 1e308])
def test_a_vector_of_any_length_has_its_direction(paper: Searcher, length: float) -> None:
    wanted = paper.search(on_circle(29), 3)
    hits = paper.search(on_circle(29).astype(np.float64) * length, 3)
    assert hits.ids == wanted.ids
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in wanted], abs=1e-6)


@pytest.mark.parametrize("value", [1e-44, 3e38])
def test_a_vector_in_single_precision_keeps_its_direction(paper: Searcher, value: float) -> None:
    hits = paper.search(np.full(2, value, np.float32), 3)
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in paper.search(np.ones(2), 3)], abs=1e-6)


@pytest.mark.parametrize(
    "query",
    [
        np.zeros(2),
        np.array([np.nan, 1]),
        np.array([np.inf, 1]),
        np.ones(3),
        np.array(["a", "b"]),
        np.array([1j, 1]),
        np.array([True, False]),
    ],
)
def test_vectors_that_have_no_direction_here_are_refused(paper: Searcher, query: Any) -> None:
    with pytest.raises(VectorError):
        paper.search(query)


@pytest.mark.parametrize(
    ("name", "value"), [("JCD", -5.5), ("JCD", 1e308), ("Tamura", -3.7), ("EdgeHistogram", 9), ("PHOG", 0.5)]
)
def test_a_vector_that_is_none_of_the_descriptors_is_refused(
    write_collection: Callable[..., Path], tmp_path: Path, name: str, value: float
) -> None:
    descriptor = DESCRIPTORS[name]
    dtype = descriptor.dtype
    zero = np.zeros(descriptor.length, dtype)
    engine = retrieval.open(write_collection(tmp_path / "c", {name: zero[None]}))
    assert engine.search(zero).ids == [0]
    with pytest.raises(VectorError):
        engine.search(np.full(descriptor.length, value))


@pytest.mark.parametrize("image_id", [7, -1, 10**30])
def test_an_id_that_is_not_there_is_told(paper: Searcher, image_id: int) -> None:
    with pytest.raises(NoSuchImageError):
        paper.search(image_id)


@pytest.mark.slow
@pytest.mark.parametrize("query", [None, 3.5, True, np.bool_(False), {"id": 3}, (1, 2), object()])
def test_what_is_no_query_says_what_one_is(engine: Searcher, query: Any) -> None:
    with pytest.raises(BadQueryError, match="give an image id, file, bytes, picture or vector"):
        engine.search(query)


def test_equal_distances_are_ordered_by_id(write_collection: Callable[..., Path], plane: Plane, tmp_path: Path) -> None:
    same = {n + 0.0: ("a", str(n)) for n in range(3)}
    plane(tmp_path / "c", same)
    engine = retrieval.open(write_collection(tmp_path / "c", {"plane": np.array([on_circle(1)] * 60)}, first=3))
    assert engine.search(1, 50).ids == list(range(3, 53))


# Several spaces


def test_spaces_are_fused_by_reciprocal_ranks(plane: Plane, tmp_path: Path) -> None:
    # plane from 0: 1 2 3 4 5 6; second from 0: 6 4 and the rest without
    engine = plane(tmp_path / "c", ANGLES, second={0: 0, 6: 1, 4: 2})
    hits = engine.search(0, 6, spaces=["plane", "second"])
    assert hits.spaces == ("plane", "second")
    by_hand = {
        6: 0.5 * 61 / 66 + 0.5 * 61 / 61,
        4: 0.5 * 61 / 64 + 0.5 * 61 / 62,
        **{n: 0.5 * 61 / (60 + n) for n in (1, 2, 3, 5)},
    }
    assert hits.ids == sorted(by_hand, key=lambda n: -by_hand[n])
    assert [hit.score for hit in hits] == pytest.approx(sorted(by_hand.values(), reverse=True))
    assert hits[0].distances["second"] == pytest.approx(1 - np.cos(np.radians(2)), abs=1e-6)
    assert hits[2].distances["second"] is None
    turned = engine.search(0, 6, spaces=["second", "plane"])
    assert turned.ids == hits.ids
    assert [hit.distance for hit in turned] == [hit.distances["second"] for hit in turned]
    assert turned[2].distance is None
    assert turned.to_dict()["hits"][2]["distance"] is None
    assert engine.search(0, 1, spaces=["plane", "second"], weights=[100, 1]).ids == [1]
    assert engine.search(0, 6, spaces="second").ids == [6, 4]


def test_an_image_without_a_vector_in_the_space_cannot_ask_there(plane: Plane, tmp_path: Path) -> None:
    engine = plane(tmp_path / "c", ANGLES, second={0: 0, 6: 1})
    with pytest.raises(BadQueryError, match="image 3 has no vector in the space 'second'"):
        engine.search(3, spaces=["plane", "second"])


@pytest.mark.parametrize(
    "weights", [[1], [1, -1], [1, 0], [1, float("nan")], [1, 1, 1], ["a", 1], ["1", "2"], [True, 1], "12", 3, [None, 1]]
)
def test_weights_must_be_one_positive_number_a_space(plane: Plane, tmp_path: Path, weights: Any) -> None:
    engine = plane(tmp_path / "c", ANGLES, second={0: 0})
    with pytest.raises(BadQueryError, match=r"one positive number as weight for each space \(2\), not "):
        engine.search(0, spaces=["plane", "second"], weights=weights)


@pytest.mark.parametrize("k", [0, -1, 2.5, 2.0, "3", True, None, np.float64(2)])
def test_k_must_be_a_whole_number_from_1(paper: Searcher, k: Any) -> None:
    with pytest.raises(BadQueryError, match="a whole number of hits, at least 1"):
        paper.search(0, k)
    assert len(paper.search(0, np.int32(2))) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [3, [3], ["a", None]])
def test_spaces_and_classes_are_given_by_name(paper: Searcher, names: Any) -> None:
    with pytest.raises(BadQueryError, match="spaces are given by name"):
        paper.search(0, spaces=names)
    with pytest.raises(BadQueryError, match="classes are given by name"):
        paper.search(0, classes=names)
    with pytest.raises(BadQueryError, match="a class is given by name"):
        paper.search(0, query_class=names)


@pytest.mark.parametrize("region", [(0, 0, 1), "left", 3, (0, 0, 1, "a"), (0, 0, 1, True), (0, 0, np.nan, 1)])
def test_a_region_is_four_numbers(paper: Searcher, region: Any) -> None:
    with pytest.raises(BadQueryError, match="left, top, width and height"):
        paper.search(0, region=region)


def test_a_space_is_found_in_any_case_and_a_slip_names_the_nearest(plane: Plane, tmp_path: Path) -> None:
    engine = plane(tmp_path / "c", ANGLES, second={0: 0, 6: 1})
    assert engine.search(0, 1, spaces="PLANE").spaces == ("plane",)
    with pytest.raises(BadQueryError, match="once"):
        engine.search(0, spaces=["Second", "second"])
    with pytest.raises(
        SpaceNameError, match=r"no space 'secnd' .*\(did you mean second\?\); its spaces: plane, second"
    ):
        engine.search(0, spaces="secnd")
    with pytest.raises(SpaceNameError, match=r"no space 'xyz' in this collection; its spaces: plane, second"):
        engine.search(0, spaces="xyz")


def test_a_damaged_vector_is_told_and_never_a_silent_wrong_answer(plane: Plane, tmp_path: Path) -> None:
    engine = plane(tmp_path / "c", ANGLES)
    path = tmp_path / "c" / "vectors" / "plane.float32"
    data = bytearray(path.read_bytes())
    data[2 * 8] ^= 1  # image 2
    path.write_bytes(data)
    engine = retrieval.open(tmp_path / "c")
    for query, k in ((2, 1), (1, 3)):  # as the query, and as a hit
        with pytest.raises(DamagedVectorError, match=r"vector of image 2 .* is damaged; `kvasir verify --repair "):
            engine.search(query, k)
    assert engine.search(6, 1).ids == [5]


def test_spaces_are_named_once_and_must_exist(paper: Searcher) -> None:
    with pytest.raises(SpaceNameError, match="its spaces: plane"):
        paper.search(0, spaces="nowhere")
    for names in ([], ["plane", "plane"]):
        with pytest.raises(BadQueryError, match="once"):
            paper.search(0, spaces=names)


def test_a_collection_without_spaces_or_images_says_so(plane: Plane, tmp_path: Path) -> None:
    with CollectionWriter(tmp_path / "bare", create=True):
        pass
    with pytest.raises(EmptySpaceError, match="is empty; `kvasir index"):
        retrieval.open(tmp_path / "bare").search(0)
    empty = plane(tmp_path / "empty", {})
    for query in (on_circle(3), 0):
        with pytest.raises(EmptySpaceError, match="is empty; `kvasir index"):
            empty.search(query, query_class="a")


# Real pictures and the default encoder


def test_every_form_of_a_picture_finds_it(engine: Searcher, indexed: Any) -> None:
    path = indexed.data / "pylorus" / "3.jpg"
    own = file_id(engine, "pylorus/3.jpg")
    data = path.read_bytes()
    with Image.open(BytesIO(data)) as image:
        pixels = np.asarray(image)
        forms: list[Any] = [path, str(path), data, bytearray(data), memoryview(data), image, pixels, read(path)]
        for form in forms:
            hits = engine.search(form, 3)
            assert hits[0].id == own
            assert hits[0].score == pytest.approx(1, abs=1e-5)
            assert hits.query_id is None
    assert engine.search(own, 3, exclude_self=False).ids == engine.search(path, 3).ids
    assert engine.search(np.int64(own), 3, exclude_self=False).ids == engine.search(path, 3).ids


def test_pictures_of_one_class_are_near(engine: Searcher) -> None:
    hits = engine.search(file_id(engine, "polyps/3.jpg"), 5)
    assert hits.quality is not None
    assert hits.quality.precision >= 0.8
    assert (hits.quality.relevant, hits.searched) == (8, 25)


def test_an_exact_copy_is_the_first_hit_and_its_cluster_can_be_left_out(engine: Searcher) -> None:
    first, copy = file_id(engine, "polyps/0.jpg"), file_id(engine, "polyps/copy of 0.jpg")
    assert engine.search(first, 1).ids == [copy]
    assert copy not in engine.search(first, 26, exclude_cluster=True).ids


def test_pictures_that_cannot_be_used_are_picture_errors(engine: Searcher, tmp_path: Path) -> None:
    for query in (b"", b"no picture", tmp_path / "nowhere.jpg", np.zeros((3, 3), np.float32)):
        with pytest.raises(PictureError):
            engine.search(query)


def test_many_threads_get_the_answers_that_one_gets(engine: Searcher, indexed: Any) -> None:
    fresh = retrieval.open(indexed.path, "throughput")
    queries: list[Any] = [*sorted(indexed.data.glob("*/*.jpg"))[::2], 0, 5, 9]
    alone = [[(hit.id, hit.distance) for hit in fresh.search(query, 7)] for query in queries]
    shared = retrieval.open(indexed.path)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: [(h.id, h.distance) for h in shared.search(query, 7)], queries * 2))
    assert [[i for i, _ in answer] for answer in together] == [[i for i, _ in answer] for answer in alone * 2]
    for one, other in zip(together, alone * 2, strict=True):
        assert [d for _, d in one] == pytest.approx([d for _, d in other], abs=1e-5)


@pytest.mark.slow
def test_while_one_index_is_built_other_spaces_are_searched(
    two_spaces: Path, indexed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = retrieval.open(two_spaces)
    first, second = (space.name for space in engine.collection.spaces)
    begun, going_on = threading.Event(), threading.Event()

    def slow_index(collection: Collection, space: str, metric: Any) -> Index:
        if space == first:
            begun.set()
            assert going_on.wait(60)
        return open_index(collection, space, metric)

    monkeypatch.setattr("retrieval.search.open_index", slow_index)
    with ThreadPoolExecutor(2) as pool:
        try:
            waiting = pool.submit(engine.search, 0, spaces=first)
            assert begun.wait(60)
            picture = indexed.data / "cecum" / "2.jpg"
            assert pool.submit(engine.search, picture, 1, spaces=second).result(60)[0].file == "cecum/2.jpg"
            assert pool.submit(engine.vectors_of, picture, [first]).result(60)[first].shape == (1280,)
        finally:
            going_on.set()
        assert len(waiting.result(60)) == 10


def test_a_file_gets_the_vector_that_indexing_gave_it(engine: Searcher, indexed: Any) -> None:
    path = indexed.data / "cecum" / "2.jpg"
    (made,) = engine.vectors_of(path, [SPACE]).values()
    stored = engine.collection.vector(SPACE, file_id(engine, "cecum/2.jpg"))
    assert float(made @ stored) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_searching_by_a_file_tells_nobody(indexed: Any) -> None:
    file = indexed.data / "polyps" / "2.jpg"
    script = f"""
import sys, retrieval
retrieval.open({str(indexed.path)!r}).search({str(file)!r})
print("openvino" in sys.modules, [name for name in sys.modules if name.startswith("openvino_telemetry.")])
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert told.stdout == "True []\n"


def test_a_lost_tower_is_built_again_from_the_same_weights(indexed: Any, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    shutil.rmtree(path / "encoders")
    engine = retrieval.open(path)
    hits = engine.search(indexed.data / "cecum" / "2.jpg", 1)
    assert hits[0].file == "cecum/2.jpg"
    assert hits[0].score > 0.9999


def test_weights_that_did_not_make_the_space_are_refused(indexed: Any, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    shutil.rmtree(path / "encoders")
    with CollectionWriter(path) as writer:
        recipe = writer.manifest.space(SPACE).recipe
        writer.update_recipe(SPACE, recipe | {"weights": "0" * 64, "fit": "pad"})
    with pytest.raises(EncoderMismatchError, match=r"weights [0-9a-f]{12}… instead of 0000"):
        retrieval.open(path).search(indexed.data / "cecum" / "2.jpg")


def _cut(data: bytearray) -> None:
    del data[5000:]


def _flip_one_bit(data: bytearray) -> None:
    data[len(data) // 2] ^= 1  # it loads and runs all the same


@pytest.mark.parametrize("name", ["tower.xml", "tower.bin"])
@pytest.mark.parametrize("damage", [_cut, _flip_one_bit])
def test_a_damaged_tower_is_told_and_never_asked(
    indexed: Any, tmp_path: Path, name: str, damage: Callable[[bytearray], None]
) -> None:
    path = tmp_path / "my collection"
    shutil.copytree(indexed.path, path)
    tower = path / "encoders" / SPACE / name
    data = bytearray(tower.read_bytes())
    damage(data)
    tower.write_bytes(data)
    with pytest.raises(DamagedTowerError, match=f"is damaged; `kvasir verify --repair '{path}'` converts it anew"):
        retrieval.open(path).search(indexed.data / "cecum" / "2.jpg")


def test_a_tower_that_a_stopped_run_left_is_not_taken_for_the_spaces_own(indexed: Any, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    with CollectionWriter(path) as writer:
        recipe = writer.manifest.space(SPACE).recipe
        writer.update_recipe(SPACE, {name: value for name, value in recipe.items() if name != "converted"})
    (path / "encoders" / SPACE / "tower.bin").write_bytes(b"another encoder's")
    assert retrieval.open(path).search(indexed.data / "cecum" / "2.jpg", 1)[0].score > 0.9999


@pytest.mark.slow
def test_three_lines_from_import_to_hits(indexed: Any) -> None:
    lines = (
        "import retrieval",
        f"engine = retrieval.open({str(indexed.path)!r})",
        f"hits = engine.search({str(indexed.data / 'polyps' / '1.jpg')!r}, k=3)",
    )
    show = "print(hits[0].file, len(hits), hits._repr_html_().count('<img '), repr(engine)[:20])"
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join([*lines, show])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert told.stdout == "polyps/1.jpg 3 4 <Engine of 26 images\n"


def test_the_nearest_images_are_ranked_anew(indexed: Any) -> None:
    engine = retrieval.open(indexed.path)
    plain = engine.search(3, 20)
    anew = engine.search(3, 20, rerank="expansion")
    assert (anew.score_kind, len(anew)) == ("re-ranked similarity", 20)
    by_id = {hit.id: hit.distance for hit in engine.search(3, 26)}
    assert all(hit.distance == by_id[hit.id] for hit in anew)  # the distance stays the space's own
    assert [hit.id for hit in anew] != [hit.id for hit in plain]
    assert all(first.score >= second.score for first, second in itertools.pairwise(anew))
    with pytest.raises(QueryError, match="no way of re-ranking"):
        engine.search(3, rerank="magic")
