from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.commands.query_parts import text_part
from retrieval.query import Part, Query
from retrieval.search import open_collection

Search = Callable[..., tuple[int, str, str]]


def test_parts_are_searched_as_the_same_query_in_python(search: Search, indexed: Any, tmp_path: Path) -> None:
    engine = open_collection(indexed.path)
    picture = indexed.data / "polyps" / "2.jpg"
    vector = engine.vectors_of(9, [engine.collection.spaces[0].name])[engine.collection.spaces[0].name]
    np.save(tmp_path / "v.npy", vector)
    query = Query(
        (
            Part(image_id=5),
            Part(picture=picture, region=(0.2, 0.2, 0.5, 0.5), weight=0.5),
            Part(picture=picture, weight=2),
            Part(vector=vector, weight=3),
        )
    )
    status, out, err = search(
        5, indexed.path, "--image", f"{picture}@0.2,0.2,0.5,0.5=0.5", "--image", f"{picture}=2",
        "--vector", f"{tmp_path / 'v.npy'}=3", "-k", 6, "--json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    expected = engine.search(query, 6)
    assert json.loads(out) == json.loads(json.dumps(expected.to_dict()))
    assert 5 not in expected.ids
    table = search(indexed.path, "--image", 5, "--image", f"{picture}=2")[1].splitlines()
    assert table[1].split()[-1] == engine.search(Query((Part(image_id=5), Part(picture=picture, weight=2))))[0].file


def test_a_named_space_of_a_vector_is_what_is_searched(search: Search, two_spaces: Path, tmp_path: Path) -> None:
    engine = open_collection(two_spaces)
    first, second = (space.name for space in engine.collection.spaces)
    files = {}
    for name in (first, second):
        files[name] = tmp_path / f"{name}.npy"
        np.save(files[name], engine.vectors_of(3, [name])[name])
    found = json.loads(search(two_spaces, "--vector", f"{second}:{files[second]}", "-k", 1, "--json")[1])
    assert (found["spaces"], found["hits"][0]["id"]) == ([second], 3)
    both = [f"{name}:{file}" for name, file in files.items()]
    weighted = search(two_spaces, "--vector", both[0], "--vector", both[1], "--weight", f"{second}=2", "--json")[1]
    assert json.loads(weighted)["spaces"] == [first, second]


@pytest.mark.parametrize(
    ("text", "words", "weight"),
    [("blue dye", "blue dye", 1.0), ("blue dye=0.5", "blue dye", 0.5), ("a=b", "a=b", 1.0), ("a=b=2", "a=b", 2.0)],
)
def test_words_end_in_a_weight_where_that_is_a_number(text: str, words: str, weight: float) -> None:
    part = text_part(text)
    assert (part.text, part.weight) == (words, weight)


def test_a_file_named_like_a_part_is_that_file(search: Search, indexed: Any, tmp_path: Path) -> None:
    for name in ("5=2", "a.jpg@0,0,1,1=2"):
        (tmp_path / name).write_bytes((indexed.data / "polyps" / "2.jpg").read_bytes())
        found = json.loads(search(tmp_path / name, indexed.path, "-k", 1, "--json")[1])
        assert found["hits"][0]["file"] == "polyps/2.jpg"


def test_near_duplicates_of_a_part_given_by_id_are_left_out(search: Search, indexed: Any) -> None:
    engine = open_collection(indexed.path)
    original = next(hit for hit in engine.search(indexed.data / "polyps" / "0.jpg", 2))
    arguments = (indexed.path, "--image", original.id, "--image", "1", "-k", 30, "--json")
    copies = {hit["cluster"] for hit in json.loads(search(*arguments)[1])["hits"]}
    others = {hit["cluster"] for hit in json.loads(search(*arguments, "--exclude-cluster")[1])["hits"]}
    assert copies - others == {original.cluster}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--image", "5=x"), "expected FILE|ID[@LEFT,TOP,WIDTH,HEIGHT][=WEIGHT], such as 5@0.2,0.2,0.5,0.5=2"),
        (("--image", "5=0"), "5=0: a weight is a finite number other than 0, not 0.0; expected FILE|ID"),
        (("--image", "5=-1"), "all weights are negative; a query needs a part with a positive one"),
        (("--text", "zebra"), "“zebra”, and no space searched has a text encoder; known terms are cecum, polyp"),
        (("--image", "5", "--text", "blue dye=0.5"), "“blue dye” describes dyed-lifted-polyps"),
        (("--text", "blue=-1"), "all weights are negative"),
        (("--text", "blue=0"), "--text blue=0: a weight is a finite number other than 0, not 0.0; expected WORDS"),
        (("--text", "a = b", "--batch", "{tmp}", "--out", "o.csv"), "with COLLECTION and no other query"),
        (("--image", "5@0,0,1"), "a region is left, top, width and height as fractions between 0 and 1"),
        (("--image", "5@0,0,a,1"), "expected FILE|ID"),
        (("--image", "nosuch.jpg=2"), "nosuch.jpg=2"),
        (("5", "6"), "give one picture file or ID, then COLLECTION; further ones by --image"),
        (("--image", "999"), "999"),
        (("--vector", "nosuch.npy"), "--vector nosuch.npy: nosuch.npy: No such file or directory"),
        (("--vector", "{tmp}/text.npy"), "text.npy is not a .npy file of one vector; expected [SPACE:]FILE.npy"),
        (("--vector", "{tmp}/table.npy"), "a vector has one dimension, not the shape (2, 3)"),
        (("--vector", "{tmp}/short.npy"), "3"),
        (("--vector", "nowhere:{tmp}/short.npy"), "nowhere"),
        (("--vector", "{tmp}/short.npy=heavy"), "short.npy=heavy"),
        (("--vector", "{tmp}/short.npy", "--exclude-cluster"), "--exclude-cluster needs an ID in the query"),
        (("--image", "5", "--batch", "{tmp}", "--out", "o.csv"), "with COLLECTION and no other query"),
        ((), "give a picture file or an ID, then COLLECTION; or --image, --vector, --text or --batch"),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_read_is_told(
    search: Search, indexed: Any, tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "text.npy").write_text("1 2 3")
    np.save(tmp_path / "table.npy", np.zeros((2, 3)))
    np.save(tmp_path / "short.npy", np.ones(3))
    *rest, place = (*(text.format(tmp=tmp_path) for text in arguments), indexed.path)
    status, out, err = search(*rest, place)
    assert (status, out) == (2, "")
    assert reason in err
    assert "Traceback" not in err


def test_marks_move_the_query_and_near_duplicates_fold(search: Search, indexed: Any) -> None:
    near = [hit["id"] for hit in json.loads(search("5", indexed.path, "-k", 8, "--json")[1])["hits"]]
    marks = ("--like", f"{near[2]},{near[3]}", "--unlike", near[0], "--exclude", near[2])
    found = json.loads(search(5, indexed.path, *marks, "--json")[1])
    assert found["score_kind"] == "balance"
    listed = [hit["id"] for hit in found["hits"]]
    assert near[3] in listed
    assert near[2] not in listed
    out = search("1", indexed.path, "-k", 30, "--fold")[1]
    assert "near duplicates" in out
    assert "not ids of images" in search(5, indexed.path, "--like", "a")[2]


def test_the_nearest_of_each_class_and_diverse_hits(search: Search, indexed: Any) -> None:
    classes = json.loads(search(5, indexed.path, "--each-class", "--json")[1])["classes"]
    engine = open_collection(indexed.path)
    assert sorted(entry["class_name"] for entry in classes) == sorted(engine.collection.classes)
    assert {hit["class_name"] for hit in classes[0]["hits"]["hits"]} == {classes[0]["class_name"]}
    assert search(5, indexed.path, "--each-class")[1].count("rank") == len(classes)
    plain, diverse = (json.loads(search(5, indexed.path, "--mmr", share, "--json")[1]) for share in (1, 0.2))
    assert [hit["id"] for hit in plain["hits"]] == engine.search(5).ids
    assert [hit["id"] for hit in diverse["hits"]] == engine.search(5, rerank="mmr:0.2").ids != engine.search(5).ids
    assert "--mmr is a way of re-ranking" in search(5, indexed.path, "--mmr", 0.5, "--rerank", "mmr")[2]


def test_words_are_searched_by_the_classes_that_they_describe(search: Search, indexed: Any) -> None:
    status, out, err = search("--text", "pedunculated polyp", "-k", "3", indexed.path)
    assert (status, err) == (0, "")
    assert out.count("  polyps  ") == 3
    assert "note: “pedunculated polyp” was matched by its words to the class polyps" in out
