from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.collection import Collection
from retrieval.hits import Hit, Hits, Quality
from retrieval.query import Part, Query
from retrieval.search import open_collection
from retrieval.sources.vectors import NoStoredPictureError


def hit(rank: int, image_id: int, class_name: str | None = "a") -> Hit:
    return Hit(rank, image_id, 0.5, 0.5, {"s": 0.5}, class_name, f"{image_id}.jpg", image_id, image_id)


def hits(collection: Collection, *entries: Hit, quality: Quality | None = None) -> Hits:
    return Hits(entries, ("s",), 20, None, quality and "a", quality, collection)


@pytest.fixture
def collection(indexed: object) -> Collection:
    return Collection.open(indexed.path)  # type: ignore[attr-defined]


def test_hits_are_a_list_that_knows_its_query(collection: Collection) -> None:
    answer = hits(collection, hit(1, 3, "b"), hit(2, 5), hit(3, 0), quality=Quality(3, 7, 2 / 3, 2 / 7, 3 / 7))
    assert len(answer) == 3
    assert [each.id for each in answer] == answer.ids == [3, 5, 0]
    assert answer[0].id == 3
    assert [each.id for each in answer[1:]] == [5, 0]
    assert list(answer.class_counts.items()) == [("a", 2), ("b", 1)]


def test_an_answer_is_one_short_line(collection: Collection) -> None:
    assert (
        repr(hits(collection, hit(1, 3), hit(2, 5)))
        == "<Hits: 2 of 20 for a query from outside in s, best similarity 0.50: 3.jpg>"
    )
    nothing = Hits((), ("s", "t"), 1924, 12, None, None, collection)
    assert repr(nothing) == "<Hits: 0 of 1,924 for image 12 in s + t>"


def test_quality_follows_from_what_was_found() -> None:
    assert Quality.of(hits=3, relevant=8, k=5) == Quality(5, 8, 3 / 5, 3 / 8, 5 / 8)
    assert Quality.of(hits=2, relevant=2, k=5) == Quality(5, 2, 2 / 5, 1, 1)
    assert Quality.of(hits=0, relevant=0, k=5) == Quality(5, 0, 0, None, None)


def test_json_is_plain_and_complete(collection: Collection) -> None:
    answer = hits(collection, hit(1, 3, None), quality=Quality(1, 7, 0.0, 0.0, 1 / 7))
    plain = json.loads(json.dumps(answer.to_dict()))
    assert plain["quality"] == {"k": 1, "relevant": 7, "precision": 0, "recall": 0, "recall_ceiling": 1 / 7}
    assert (plain["query_id"], plain["query_class"]) == (None, "a")
    assert plain["hits"] == [
        {"rank": 1, "id": 3, "class_name": None, "score": 0.5, "distance": 0.5}
        | {"distances": {"s": 0.5}, "file": "3.jpg", "cluster": 3, "scene": 3, "marks": [], "chance": None}
        | {"near_duplicates": []}
    ]


def test_json_of_an_answer_without_a_class_has_no_measures(collection: Collection) -> None:
    assert hits(collection).to_dict()["quality"] is None


def test_every_key_is_an_attribute_of_that_name(collection: Collection) -> None:
    found = open_collection(collection.path).search(0, 2)
    plain = found.to_dict()
    assert {name for name in plain if not hasattr(found, name)} == set()
    assert {name for name in plain["hits"][0] if getattr(found[0], name) != plain["hits"][0][name]} == {
        "marks",
        "near_duplicates",
    }
    assert {name for name in plain["quality"] if getattr(found.quality, name) != plain["quality"][name]} == set()


def test_a_hit_has_its_picture_and_the_path_of_its_file(collection: Collection, indexed: Any) -> None:
    first = open_collection(collection.path).search(0, 1)[0]
    assert first.path == indexed.data / first.file
    with Image.open(first.path) as picture:
        assert first.picture.size == picture.size
        assert np.array_equal(np.asarray(first.picture), np.asarray(picture.convert("RGB")))
    with pytest.raises(NoStoredPictureError):
        _ = hit(1, 0).picture


def test_a_hit_inside_a_zip_has_a_picture_and_no_path(
    indexed: Any, index_folder: Callable[..., Path], tiny_spec: str, tmp_path: Path
) -> None:
    packed = shutil.make_archive(str(tmp_path / "drawn"), "zip", indexed.data)
    first = open_collection(index_folder(Path(packed), tmp_path / "c", tiny_spec)).search(0, 1)[0]
    assert first.path is None
    assert first.picture.width > 0


def test_a_notebook_shows_the_query_first(collection: Collection, indexed: Any) -> None:
    engine = open_collection(collection.path)
    picture = indexed.data / "polyps" / "2.jpg"
    vector = engine.vectors(engine.collection.spaces[0].name)[1][4]
    query = Query((Part(image_id=5), Part(picture=picture, region=(0, 0, 0.5, 0.5), weight=2), Part(vector=vector)))
    page = engine.search(query, 2)._repr_html_()
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert captions[:3] == ["query: #5", "query: 2.jpg, weight 2", "query: vector"]
    assert page.count("<img ") == 2 + 2


def test_a_notebook_shows_every_picture_and_the_measures(collection: Collection) -> None:
    page = hits(collection, hit(1, 0), hit(2, 1), quality=Quality(2, 8, 0.5, 0.125, 0.25))._repr_html_()
    assert len(re.findall(r'<img src="data:image/jpeg;base64,/9j/', page)) == 2
    assert "precision@2 0.50, recall@2 0.1250 (at most 0.2500)" in page
    assert "2 of 20 images" in page


def test_undefined_recall_is_left_out(collection: Collection) -> None:
    page = hits(collection, hit(1, 0), quality=Quality(1, 0, 0.0, None, None))._repr_html_()
    assert "precision@1 0.00" in page
    assert "recall" not in page


def test_class_names_are_text_and_never_markup(collection: Collection) -> None:
    page = hits(collection, hit(1, 0, '<script>alert("x")</script>'))._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;x&#34;)" in page


def test_a_picture_that_is_gone_is_told_in_its_place(collection: Collection, tmp_path: Path) -> None:
    from retrieval.collection import CollectionWriter

    moved = tmp_path / "c"
    shutil.copytree(collection.path, moved)
    with CollectionWriter(moved) as writer:
        writer._catalog.execute("UPDATE images SET file = '<b>gone</b>.jpg' WHERE id = 0")
    page = hits(Collection.open(moved), hit(1, 0), hit(2, 1))._repr_html_()
    assert page.count("<img ") == 1
    assert "&lt;b&gt;gone&lt;/b&gt;.jpg is no longer in" in page


def test_no_hits_say_so(collection: Collection) -> None:
    assert "No hits." in hits(collection)._repr_html_()
