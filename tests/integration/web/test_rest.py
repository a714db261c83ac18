"""The REST API on a live port: what each kind of query gets, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image

from retrieval.collection import Collection, CollectionWriter
from retrieval.evaluation.collection import evaluate_collection
from retrieval.evaluation.options import EvaluationOptions, Fusion, MeasureOptions
from web.app import create_app
from web.context import Settings
from web.keys import FILE, create_key, revoke_key
from web.query_examples import query_examples


@pytest.fixture(scope="module")
def api(served: Any) -> Any:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def picture(indexed: Any) -> bytes:
    return (indexed.data / "polyps" / "3.jpg").read_bytes()


@pytest.fixture(scope="module")
def writable(serve: Callable[..., Any], two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("writable") / "drawn.collection"
    shutil.copytree(two_spaces, path)
    return serve(path, "--rate", "off")


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    fields = answer.json()
    assert fields["status"] == status
    assert fields["request_id"] == answer.headers["X-Request-ID"]
    return str(fields["type"])


def image_of(api: httpx.Client, file: str) -> dict[str, Any]:
    images = api.get("/api/v1/images", params={"limit": 500}).json()["images"]
    return next(image for image in images if image["file"] == file)


# Questions


def test_a_form_a_body_and_base64_get_one_answer(api: httpx.Client, picture: bytes) -> None:
    form = api.post("/api/v1/search", files={"image": picture}, data={"k": "5"})
    body = api.post("/api/v1/search?k=5", content=picture, headers={"Content-Type": "image/jpeg"})
    text = api.post("/api/v1/search", json={"image": base64.b64encode(picture).decode(), "k": 5})
    assert ids(form) == ids(body) == ids(text)
    best = form.json()["hits"][0]
    assert (best["file"], best["class"]) == ("polyps/3.jpg", "polyps")
    assert best["score"] == pytest.approx(1, abs=1e-4)


def test_a_picture_in_json_may_be_a_data_url(api: httpx.Client, picture: bytes, encode_file: Any) -> None:
    text = base64.b64encode(picture).decode()
    plain = ids(api.post("/api/v1/search", json={"image": text, "k": 5}))
    for address in (
        f"data:image/jpeg;base64,{text}",
        f"DATA:IMAGE/JPEG;BASE64,{text}",
        f"data:image/jpeg;charset=utf-8;base64,{text}",
        f"data:application/octet-stream;base64,{text}",
        f"data:;base64,{text}",
        f"data:image/jpeg;base64,{quote(text, safe='')}",
        f"data:image/jpeg,{quote(picture, safe='')}",
        base64.encodebytes(picture).decode(),  # with line breaks
        text.rstrip("="),
        text.replace("+", "-").replace("/", "_"),
        text.replace("+", "-").replace("/", "_").rstrip("="),
        f"data:image/jpeg;base64,{base64.urlsafe_b64encode(picture).decode().rstrip('=')}",
    ):
        assert ids(api.post("/api/v1/search", json={"image": address, "k": 5})) == plain
        assert ids(api.post("/api/v1/search", json={"query": [{"image": address}], "k": 5})) == plain
    # What it says of itself is not believed: its content is read.
    png = base64.b64encode(encode_file(Image.open(io.BytesIO(picture)), "PNG")).decode()
    assert len(ids(api.post("/api/v1/search", json={"image": f"data:image/jpeg;base64,{png}", "k": 5}))) == 5


@pytest.mark.parametrize(
    ("image", "status", "kind", "word"),
    [
        ("data:text/html;base64,aGFsbG8=", 422, "data-url", "'text/html'"),
        ("data:video/mp4,abc", 422, "data-url", "'video/mp4'"),
        ("data:image/jpeg;base64", 422, "data-url", "comma"),
        ("data:image/jpeg;base64,/9j/4AAQ!", 422, "not-base64", "neither base64 nor a data: URL"),
        ("data:image/jpeg;base64,/9j/4", 422, "not-base64", "neither base64"),
        ("/9j_4AAQ", 422, "not-base64", "neither base64"),  # both alphabets
        ("_9j-4===", 422, "not-base64", "neither base64"),
        ("_9j-4AAQ=_9j-", 422, "not-base64", "neither base64"),
        ("data:image/jpeg;base64,_9j-4A", 415, "unknown-format", ""),
        ("data:image/jpeg;base64,", 422, "no-picture", "no picture"),
        ("data:image/jpeg,%FF%D8%FF", 415, "unknown-format", ""),
        ("data:image/jpeg;base64,aGFsbG8=", 415, "unknown-format", ""),
        ("data:image/svg+xml,%3Csvg/%3E", 415, "unknown-format", ""),
        ("https://example.org/a.jpg", 422, "not-base64", "the server fetches none"),
        ("Grüße", 422, "not-base64", "neither base64"),
    ],
)
def test_a_data_url_that_is_no_pictures_is_told(
    api: httpx.Client, image: str, status: int, kind: str, word: str
) -> None:
    for body in ({"image": image}, {"query": [{"image_id": 3}, {"image": image}]}):
        refused = api.post("/api/v1/search", json=body)
        assert problem(refused, status) == f"urn:kvasir:{kind}"
        assert word in refused.json()["detail"]


def test_an_image_id_leaves_itself_out_and_knows_its_class(api: httpx.Client) -> None:
    image = image_of(api, "polyps/3.jpg")
    by_post = api.post("/api/v1/search", json={"image_id": image["id"], "k": 4})
    by_get = api.get(image["links"]["similar"], params={"k": 4})
    assert ids(by_post) == ids(by_get)
    assert image["id"] not in ids(by_get)
    answer = by_get.json()
    right = sum(hit["class"] == "polyps" for hit in answer["hits"])
    assert answer["precision_at_k"] == right / 4
    assert answer["relevant"] == 8  # nine polyps, the query aside
    assert answer["recall_at_k"] == right / 8
    assert answer["recall_ceiling"] == 4 / 8
    with_itself = api.get(image["links"]["similar"], params={"k": 1, "exclude_self": "false"})
    assert ids(with_itself) == [image["id"]]


def test_near_duplicates_are_left_out_on_request(api: httpx.Client) -> None:
    image, copy = image_of(api, "polyps/0.jpg"), image_of(api, "polyps/copy of 0.jpg")
    assert image["cluster"] == copy["cluster"]
    assert ids(api.get(image["links"]["similar"], params={"k": 1})) == [copy["id"]]
    assert copy["id"] not in ids(api.get(image["links"]["similar"], params={"k": 20, "exclude_cluster": "true"}))


def test_a_vector_is_searched_in_its_space(api: httpx.Client, two_spaces: Path) -> None:
    from retrieval.collection import Collection

    image = image_of(api, "cecum/2.jpg")
    collection = Collection.open(two_spaces)
    space = collection.spaces[1].name
    vector = np.asarray(collection.vector(space, image["id"]), float)
    answer = api.post("/api/v1/search", json={"vector": (7 * vector).tolist(), "spaces": [space], "k": 1})
    assert ids(answer) == [image["id"]]
    assert problem(api.post("/api/v1/search", json={"vector": [1, 2, 3]}), 422) == "urn:kvasir:vector"


def test_an_image_gives_its_vectors_and_they_find_what_it_finds(api: httpx.Client, two_spaces: Path) -> None:
    image = image_of(api, "cecum/2.jpg")
    answer = api.get(f"{image['links']['self']}/vectors").json()
    opened = Collection.open(two_spaces)
    assert answer["id"] == image["id"]
    assert list(answer["vectors"]) == [space.name for space in opened.spaces] == image["spaces"]
    for space, vector in answer["vectors"].items():
        stored = opened.vector(space, image["id"])
        assert stored is not None
        assert np.array_equal(np.array(vector, stored.dtype), stored)
        found = api.post("/api/v1/search", json={"vector": vector, "spaces": [space], "k": 5})
        by_id = api.get(image["links"]["similar"], params={"spaces": space, "k": 5, "exclude_self": "false"})
        assert ids(found) == ids(by_id)
    assert problem(api.get("/api/v1/images/999999/vectors"), 404) == "urn:kvasir:no-such-image"


def test_several_spaces_are_fused_by_weights(api: httpx.Client) -> None:
    spaces = [space["name"] for space in api.get("/api/v1/collection").json()["spaces"]]
    image = image_of(api, "pylorus/1.jpg")
    alone = [ids(api.get(image["links"]["similar"], params={"spaces": space, "k": 25})) for space in spaces]
    heavy = api.get(image["links"]["similar"], params={"spaces": spaces, "weights": "1,1000000", "k": 25})
    assert ids(heavy) == alone[1] != alone[0]
    assert set(heavy.json()["hits"][0]["distances"]) == set(spaces)


def test_a_class_filter_gives_only_that_class(api: httpx.Client, picture: bytes) -> None:
    answer = api.post("/api/v1/search", files={"image": picture}, data={"classes": ["cecum", "pylorus"], "k": "30"})
    assert {hit["class"] for hit in answer.json()["hits"]} == {"cecum", "pylorus"}
    assert answer.json()["searched"] == 16


def test_a_region_is_the_same_as_the_cut_picture(api: httpx.Client, encode_file: Callable[..., bytes]) -> None:
    random = np.random.default_rng(3)
    whole = Image.fromarray(random.integers(0, 255, (120, 160, 3), dtype=np.uint8)).resize((320, 240))
    part = whole.crop((80, 60, 240, 180))
    by_region = api.post("/api/v1/search?region=0.25,0.25,0.5,0.5", files={"image": encode_file(whole, "PNG")})
    by_cut = api.post("/api/v1/search", files={"image": encode_file(part, "PNG")})
    scores = [[hit["score"] for hit in answer.json()["hits"]] for answer in (by_region, by_cut)]
    assert ids(by_region) == ids(by_cut)
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    outside = api.post("/api/v1/search?region=0.5,0.5,0.6,0.2", files={"image": encode_file(whole, "PNG")})
    assert problem(outside, 422) == "urn:kvasir:invalid-request"


# Queries of parts


def search(api: httpx.Client, *parts: dict[str, Any], **options: Any) -> httpx.Response:
    return api.post("/api/v1/search", json={"query": list(parts)} | options)


def test_a_query_of_one_part_is_its_short_form(api: httpx.Client, picture: bytes, two_spaces: Path) -> None:
    text = base64.b64encode(picture).decode()
    opened = Collection.open(two_spaces)
    space = opened.spaces[1].name
    vector = np.asarray(opened.vector(space, 4), float).tolist()
    region = [0.1, 0.2, 0.5, 0.6]
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"image_id": 5}, {"image_id": 5}),
        ({"image": text}, {"image": text}),
        ({"image": text, "region": region}, {"image": text, "region": region}),
        ({"image_id": 5, "region": region}, {"image_id": 5, "region": region}),
        ({"vector": vector, "space": space}, {"vector": vector, "spaces": [space]}),
    ]
    for part, short in pairs:
        by_part = search(api, part, k=6)
        by_short = api.post("/api/v1/search", json=short | {"k": 6})
        assert by_part.status_code == by_short.status_code == 200, by_part.text
        assert by_part.json() == by_short.json()


def test_several_parts_are_searched_for_together(api: httpx.Client, picture: bytes) -> None:
    text = base64.b64encode(picture).decode()
    first, second = image_of(api, "cecum/2.jpg")["id"], image_of(api, "pylorus/1.jpg")["id"]
    answer = search(api, {"image_id": first}, {"image_id": second}, {"image": text}, k=9)
    assert not {first, second} & set(ids(answer))
    assert ids(answer)[0] == image_of(api, "polyps/3.jpg")["id"]
    assert answer.json()["query"] == {"id": None, "class": None}
    heavy = search(api, {"image_id": first, "weight": 1e6}, {"image_id": second, "weight": 1}, k=9)
    alone = search(api, {"image_id": first}, k=10, exclude_ids=[second])
    assert ids(heavy) == ids(alone)[:9]


def test_words_are_searched_by_the_classes_that_they_describe(api: httpx.Client) -> None:
    answer = search(api, {"text": "a sessile polyp"}, k=5).json()
    assert [hit["class"] for hit in answer["hits"]] == ["polyps"] * 5
    (match,) = answer["text_matches"]
    assert match["classes"] == [{"class": "polyps", "share": 1.0}]
    assert (match["text"], match["unknown"], match["spaces"]) == ("a sessile polyp", [], answer["spaces"])
    refused = search(api, {"text": "zebra"})
    assert problem(refused, 422) == "urn:kvasir:unknown-words"
    assert "known terms are cecum, polyp, pylorus" in refused.json()["detail"]


def test_a_negative_weight_pushes_its_part_away(api: httpx.Client) -> None:
    near = search(api, {"image_id": 5}, k=30)
    away = search(api, {"image_id": 5}, {"image_id": ids(near)[0], "weight": -0.9}, k=30)
    assert away.json()["score_kind"] == "balance"
    assert ids(near)[0] not in ids(away)
    refused = search(api, {"image_id": 5, "weight": -1})
    assert "all weights are negative" in refused.json()["detail"]
    assert problem(refused, 422) == "urn:kvasir:bad-query"


def test_a_part_of_a_query_that_is_none_is_told_in_the_words_of_the_request(api: httpx.Client) -> None:
    refused = api.post("/api/v1/search", json={"query": [{}]}).json()
    assert refused["detail"] == "a part of a query is one of image_id, image, text and vector; given: none"


def test_spaces_may_be_parted_by_commas_in_an_address(api: httpx.Client, two_spaces: Path) -> None:
    names = [space.name for space in Collection.open(two_spaces).spaces]
    by_comma = api.get("/api/v1/images/5/similar", params={"spaces": ", ".join(names), "weights": "2,1"}).json()
    assert by_comma["spaces"] == names
    assert by_comma == api.get("/api/v1/images/5/similar", params={"spaces": names, "weights": "2,1"}).json()
    assert problem(api.post("/api/v1/search", json={"image_id": 5, "spaces": [",".join(names)]}), 422)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"query": []}, "invalid-request"),
        ({"query": [{}]}, "bad-query"),
        ({"query": [{"image_id": 5, "text": "a"}]}, "bad-query"),
        ({"query": [{"image_id": 5, "weight": 0}]}, "bad-query"),
        ({"query": [{"image_id": 5, "space": "s"}]}, "bad-query"),
        ({"query": [{"text": "a", "region": [0, 0, 1, 1]}]}, "bad-query"),
        ({"query": [{"image_id": 5, "region": [0, 0, 2, 1]}]}, "invalid-request"),
        ({"query": [{"image_id": 5, "weight": 1e9}]}, "invalid-request"),
        ({"query": [{"image_id": 5, "nonsense": 1}]}, "invalid-request"),
        ({"query": [{"image_id": 5}] * 21}, "invalid-request"),
        ({"query": [{"image": "no base64!"}]}, "not-base64"),
        ({"query": [{"image": ""}]}, "invalid-request"),
        ({"query": [{"vector": [1.0, 2.0]}]}, "vector"),
        ({"query": [{"vector": [1.0], "space": "none"}]}, "space-name"),
        ({"query": [{"image_id": 5}], "image_id": 5}, "no-picture"),
        ({"query": [{"image_id": 5}], "region": [0, 0, 1, 1]}, "bad-query"),
        ({"image_id": 5, "fusion": "none"}, "unknown-fusion"),
        ({"image_id": 5, "ids": [-1]}, "invalid-request"),
        ({"image_id": 5, "ids": []}, "invalid-request"),
    ],
)
def test_a_query_that_does_not_fit_is_told(api: httpx.Client, body: dict[str, Any], kind: str) -> None:
    assert problem(api.post("/api/v1/search", json=body), 422) == f"urn:kvasir:{kind}"


def test_hits_can_be_limited_to_images_and_kept_from_others(api: httpx.Client, picture: bytes) -> None:
    polyps = [image["id"] for image in api.get("/api/v1/images?class=polyps&limit=9").json()["images"]]
    by_json = search(api, {"image_id": 0}, k=20, ids=[*polyps, 10**6])
    assert set(ids(by_json)) == set(polyps) - {0}
    assert by_json.json()["searched"] == len(set(polyps) - {0})
    by_address = api.get(
        "/api/v1/images/0/similar", params={"k": 20, "ids": ",".join(map(str, polyps)), "exclude_ids": polyps[:3]}
    )
    assert set(ids(by_address)) == set(polyps[3:]) - {0}
    form = {"k": "20", "ids": [str(i) for i in polyps], "classes": ["polyps", "cecum"], "exclude_ids": str(polyps[0])}
    assert set(ids(api.post("/api/v1/search", files={"image": picture}, data=form))) == set(polyps[1:])


def test_a_score_says_what_it_is(api: httpx.Client) -> None:
    spaces = [space["name"] for space in api.get("/api/v1/collection").json()["spaces"]]
    alone = search(api, {"image_id": 5}).json()
    assert (alone["score_kind"], alone["fusion"]) == ("similarity", None)
    for method, kind in (("rrf", "fused ranks"), ("zscore", "fused scores"), ("minmax", "fused scores")):
        fused = search(api, {"image_id": 5}, spaces=spaces, fusion=method).json()
        assert (fused["score_kind"], fused["fusion"]) == (kind, method)
        scores = [hit["score"] for hit in fused["hits"]]
        assert scores == sorted(scores, reverse=True)
    assert search(api, {"image_id": 5}, spaces=spaces).json()["fusion"] == "rrf"


# Refusals


def test_faults_have_their_own_problem_documents(api: httpx.Client, picture: bytes) -> None:
    def send(data: bytes) -> httpx.Response:
        return api.post("/api/v1/search", files={"image": data})

    assert problem(send(b"GIF89a" + bytes(100)), 415) == "urn:kvasir:unknown-format"
    assert problem(send(picture[: len(picture) // 2]), 422) == "urn:kvasir:broken-picture"
    assert problem(send(b""), 422) == "urn:kvasir:no-picture"
    assert problem(api.post("/api/v1/search", content=b"<a/>", headers={"Content-Type": "text/xml"}), 415)
    assert problem(api.post("/api/v1/search", json={"image": "no base64!"}), 422) == "urn:kvasir:not-base64"
    assert problem(api.post("/api/v1/search", json={"image_id": 10**6}), 404) == "urn:kvasir:no-such-image"
    assert problem(api.post("/api/v1/search", json={"image_id": 1, "vector": [1.0]}), 422) == "urn:kvasir:no-picture"
    assert problem(api.get("/api/v1/images/1/similar?spaces=none"), 422) == "urn:kvasir:space-name"
    assert problem(api.get("/api/v1/images/1/similar?classes=none"), 422) == "urn:kvasir:no-such-class"
    assert problem(api.get("/api/v1/images/1/similar?k=0"), 422) == "urn:kvasir:invalid-request"
    assert problem(api.get("/api/v1/nothing"), 404) == "urn:kvasir:not-found"
    assert problem(api.put("/api/v1/images"), 405) == "urn:kvasir:method-not-allowed"


def test_of_two_pictures_none_is_dropped_in_silence(api: httpx.Client, writable: Any, picture: bytes) -> None:
    _, key = create_key(writable.collection, "two", "write")
    twice = [("image", ("a.jpg", picture)), ("image", ("b.jpg", picture))]
    other = [("image", ("a.jpg", picture)), ("photo", ("b.jpg", picture))]
    for files in (twice, other):
        found = api.post("/api/v1/search", files=files)
        assert problem(found, 422) == "urn:kvasir:several-pictures"
        assert "send one picture" in found.json()["detail"]
        added = httpx.post(f"{writable.url}/api/v1/images", files=files, headers={"X-API-Key": key})
        assert problem(added, 422) == "urn:kvasir:several-pictures"
    submitted = api.post(
        "/search", files=[("picture", file) for _, file in twice], headers={"Accept": "application/json"}
    )
    location = submitted.json()["location"]
    assert re.fullmatch(r"/results\?upload=([0-9a-f]{32})&more=\1", location)  # the page takes several: both are parts
    one_is_text = api.post("/api/v1/search", files={"image": picture}, data={"image": "x"})
    assert problem(one_is_text, 422) == "urn:kvasir:no-picture"


@pytest.mark.parametrize("address", ["search", "search/batch", "search/classes", "images/1/reasons"])
def test_a_file_s_name_in_place_of_the_file_is_told(api: httpx.Client, address: str) -> None:
    answer = api.post(f"/api/v1/{address}", files={"image": (None, "picture.jpg")})  # curl -F image=picture.jpg
    assert problem(answer, 422) == "urn:kvasir:no-picture"
    assert answer.json()["detail"] == "the part 'image' is a text and no file; with curl, -F image=@FILE sends the file"


def test_an_address_that_is_none_and_a_method_that_is_not_its_own_are_told_with_the_right_ones(
    api: httpx.Client,
) -> None:
    nothing = api.get("/api/v1/collection/")
    assert problem(nothing, 404) == "urn:kvasir:not-found"
    assert nothing.json()["detail"] == "nothing is at /api/v1/collection/; /api/v1/openapi.json lists the addresses"
    put = api.put("/api/v1/images/1")
    assert problem(put, 405) == "urn:kvasir:method-not-allowed"
    assert put.json()["detail"] == "/api/v1/images/1 takes DELETE, GET, HEAD, not PUT"


def test_reasons_need_images_that_there_are(api: httpx.Client) -> None:
    for address in ("/api/v1/images/1/reasons?query=999999", "/api/v1/images/999999/reasons?query=1"):
        assert problem(api.get(address), 404) == "urn:kvasir:no-such-image"


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/images?class=polyps&class=cecum",
        "/api/v1/images/3/similar?k=1&k=2",
        "/results?image=3&image=4",
        "/results?image=3&left=1&left=2&top=1&width=50&height=50",
        "/compare?image=3&hit=4&hit=5",
    ],
)
def test_a_field_that_has_one_value_is_not_given_twice(api: httpx.Client, address: str) -> None:
    answer = api.get(address, headers={"Accept": "application/json"})
    assert problem(answer, 422) == "urn:kvasir:repeated-field"
    assert "give it once" in answer.json()["detail"]


def test_a_form_gives_no_field_twice(api: httpx.Client, picture: bytes) -> None:
    answer = api.post("/api/v1/search", files={"image": picture}, data={"k": ["1", "2"]})
    assert problem(answer, 422) == "urn:kvasir:repeated-field"


def test_options_of_the_form_come_before_those_of_the_address(api: httpx.Client, picture: bytes) -> None:
    answer = api.post("/api/v1/search?k=2&exclude_cluster=true", files={"image": picture}, data={"k": "3"})
    assert len(ids(answer)) == 3
    json = {"image_id": 0, "k": 4}
    assert len(ids(api.post("/api/v1/search?k=2", json=json))) == 4


def test_a_picture_is_judged_by_its_content_not_its_name(api: httpx.Client, picture: bytes) -> None:
    odd = api.post("/api/v1/search", files={"image": ("../../etc/passwd.exe", picture, "application/x-sh")})
    assert odd.json()["hits"][0]["file"] == "polyps/3.jpg"
    assert problem(api.post("/api/v1/search", files={"image": ("a.jpg", b"#!/bin/sh", "image/jpeg")}), 415)


def test_limits_of_bytes_and_pixels_hold_before_decoding(
    serve: Callable[..., Any], two_spaces: Path, encode_file: Callable[..., bytes]
) -> None:
    server = serve(two_spaces, "--max-upload", "0.05", "--max-pixels", "0.1", "--rate", "3/hour")
    huge = encode_file(Image.new("L", (4000, 4000)), "PNG")  # 16 megapixels in some kilobytes
    with httpx.Client(base_url=server.url) as api:
        assert problem(api.post("/api/v1/search", files={"image": huge}), 413) == "urn:kvasir:picture-too-large"
        assert problem(api.post("/api/v1/search", files={"image": bytes(60_000)}), 413) == "urn:kvasir:upload-too-large"
        assert problem(api.post("/api/v1/search", files={"image": bytes(5_000_000)}), 413)
        refused = api.get("/api/v1/images/1/similar")
        assert problem(refused, 429)
        assert int(refused.headers["Retry-After"]) > 0
        assert api.get("/api/v1/images/1").status_code == 200  # only searches and writes are counted


def test_the_limit_of_pixels_may_be_raised_for_queries_but_not_for_what_is_stored(
    two_spaces: Path, tmp_path: Path, encode_file: Callable[..., bytes]
) -> None:
    path = tmp_path / "c"
    shutil.copytree(two_spaces, path)
    _, key = create_key(path, "writer", "write")
    client = create_app(Settings(path, max_pixels=66_000_000, rate=""), background=False).test_client()
    large = encode_file(Image.new("L", (8125, 8000)), "PNG")  # 65 megapixels

    found = client.post("/api/v1/search", data=large, content_type="image/png")
    assert found.status_code == 200, found.text
    part = {"left": "0", "top": "0", "width": "50", "height": "50"}
    answer = client.post("/search", data=part | {"picture": (io.BytesIO(large), "large.png")})
    assert client.get(answer.location).status_code == 200
    upload = httpx.URL(answer.location).params["upload"]
    assert client.get(f"/queries/{upload}.jpg").status_code == 200

    refused = client.post("/api/v1/images", data=large, content_type="image/png", headers={"X-API-Key": key})
    assert refused.status_code == 413
    assert "65.0 megapixels; the limit is 64.0" in refused.json["detail"]


def test_a_low_limit_of_pixels_is_for_what_comes_not_for_the_collections_own(two_spaces: Path, picture: bytes) -> None:
    client = create_app(Settings(two_spaces, max_pixels=10_000, rate=""), background=False).test_client()
    refused = client.post("/api/v1/search", data=picture, content_type="image/jpeg")
    assert refused.status_code == 413
    assert refused.json["type"] == "urn:kvasir:picture-too-large"
    assert client.get("/api/v1/images/3/similar?region=0,0,0.5,0.5").status_code == 200


# Images and pictures


def test_images_are_listed_by_class_page_by_page(api: httpx.Client) -> None:
    found: list[int] = []
    cursor = None
    for _ in range(10):
        page = api.get(
            "/api/v1/images", params={"class": "polyps", "limit": 4} | ({"cursor": cursor} if cursor else {})
        )
        found += [image["id"] for image in page.json()["images"]]
        cursor = page.json()["next"]
        if cursor is None:
            break
    assert page.json()["total"] == len(found) == len(set(found)) == 9
    assert found == sorted(found)


def test_an_unknown_class_is_refused_wherever_it_is_named(api: httpx.Client) -> None:
    for path in ("/api/v1/images?class=none", "/api/v1/images/1/similar?classes=none"):
        answer = api.get(path)
        assert problem(answer, 422) == "urn:kvasir:no-such-class"
        assert "polyps" in answer.json()["detail"]


def test_shown_pictures_carry_no_metadata_and_are_cached(
    writable: Any, encode_file: Callable[..., bytes], draw: Callable[..., Image.Image]
) -> None:
    _, key = create_key(writable.collection, "pictures", "write")
    exif = Image.Exif()
    exif[0x010E] = "NAME OF A PATIENT"
    plain = encode_file(draw(77), exif=exif, comment=b"NAME OF A PATIENT")
    exif[0x0112] = 6
    turned = encode_file(draw(78), exif=exif)
    assert b"NAME OF A PATIENT" in plain
    with httpx.Client(base_url=writable.url, headers={"Authorization": f"Bearer {key}"}) as api:
        for data, size in ((plain, (120, 90)), (turned, (90, 120))):
            image = api.post("/api/v1/images", files={"image": data}).json()
            for part in ("picture", "thumbnail"):
                answer = api.get(image["links"][part])
                assert b"PATIENT" not in answer.content
                shown = Image.open(io.BytesIO(answer.content))
                assert shown.size == size
                assert not shown.getexif()
                assert "immutable" in answer.headers["Cache-Control"]
                again = api.get(image["links"][part], headers={"If-None-Match": answer.headers["ETag"]})
                assert (again.status_code, again.content) == (304, b"")
                weak = api.get(image["links"][part], headers={"If-None-Match": f"W/{answer.headers['ETag']}"})
                assert weak.status_code == 304  # as a proxy that compresses makes it
        stored = api.get(f"/api/v1/images/{image['id']}/picture")
        assert "immutable" not in stored.headers["Cache-Control"]
        first = api.post("/api/v1/images", files={"image": plain}).json()
        kept = Image.open(io.BytesIO(api.get(first["links"]["picture"]).content))
        assert np.array_equal(np.asarray(kept), np.asarray(Image.open(io.BytesIO(plain))))


# Writing


def test_writing_needs_a_key_that_may_write(writable: Any, picture: bytes) -> None:
    _, reader = create_key(writable.collection, "reader", "read")
    kept, writer = create_key(writable.collection, "writer", "write")
    assert writer not in (writable.collection / FILE).read_text()
    with httpx.Client(base_url=writable.url) as api:

        def remove(headers: dict[str, str], auth: Any = None) -> httpx.Response:
            return api.delete("/api/v1/images/999999", headers=headers, auth=auth)

        assert problem(remove({}), 401)
        assert remove({}).headers["WWW-Authenticate"].startswith("Bearer")
        assert problem(remove({"Authorization": "Bearer kvasir_00000000_x"}), 401)
        assert problem(remove({"Authorization": f"Bearer {writer}x"}), 401)
        assert problem(remove({}, auth=("anyone", writer)), 401)  # a browser would send this for any page
        assert problem(remove({"Authorization": f"Bearer {reader}"}), 403) == "urn:kvasir:key-refused"
        assert problem(remove({"Authorization": f"Bearer {writer}"}), 404)
        assert problem(remove({"X-API-Key": writer}), 404)
        revoke_key(writable.collection, kept.id)
        assert problem(remove({"Authorization": f"Bearer {writer}"}), 401)


def test_a_damaged_file_of_keys_is_told_and_the_keys_that_were_read_last_go_on(
    two_spaces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.collection"
    shutil.copytree(two_spaces, path)
    _, key = create_key(path, "writer", "write")
    client = create_app(Settings(path, rate=""), background=False).test_client()
    whole = (path / FILE).read_text()
    (path / FILE).write_text(whole.replace('"write"', "1"))
    for _ in range(2):
        assert client.delete("/api/v1/images/999999", headers={"X-API-Key": key}).status_code == 404
        assert client.delete("/api/v1/images/999999", headers={"X-API-Key": f"{key}x"}).status_code == 401
    assert caplog.text.count("is damaged") == 1
    assert client.get("/api/v1/images/1").status_code == 200
    (path / FILE).write_text(whole)
    assert client.delete("/api/v1/images/999999", headers={"X-API-Key": key}).status_code == 404


def test_an_added_picture_is_found_and_a_removed_one_is_not(
    writable: Any, encode_file: Callable[..., bytes], draw: Callable[..., Image.Image]
) -> None:
    _, key = create_key(writable.collection, "adds", "write")
    data = encode_file(draw(4711), "PNG")
    with httpx.Client(base_url=writable.url, headers={"Authorization": f"Bearer {key}"}) as api:
        before = api.get("/api/v1/collection").json()["images"]
        added = api.post("/api/v1/images?class=new%20class", content=data, headers={"Content-Type": "image/png"})
        assert added.status_code == 201
        image = added.json()
        assert added.headers["Location"] == image["links"]["self"]
        assert image["class"] == "new class"
        assert len(image["spaces"]) == 2
        again = api.post("/api/v1/images?class=new%20class", content=data, headers={"Content-Type": "image/png"})
        assert (again.status_code, again.json()["id"]) == (200, image["id"])
        assert ids(api.post("/api/v1/search", files={"image": data}, data={"k": "1"})) == [image["id"]]
        files = list((writable.collection / "pictures").iterdir())
        assert any(file.name == Path(image["file"]).name for file in files)
        assert api.delete(image["links"]["self"]).status_code == 204
        assert problem(api.get(image["links"]["self"]), 404)
        assert image["id"] not in ids(api.post("/api/v1/search", files={"image": data}, data={"k": "50"}))
        assert not (writable.collection / "pictures" / Path(image["file"]).name).exists()
        assert api.get("/api/v1/collection").json()["images"] == before


def test_what_another_process_wrote_is_seen(writable: Any) -> None:
    from retrieval.collection import CollectionWriter

    with httpx.Client(base_url=writable.url) as api:
        image = image_of(api, "cecum/7.jpg")
        with CollectionWriter(writable.collection) as writer:
            writer.remove([image["id"]])
        deadline = time.monotonic() + 20
        while api.get(image["links"]["self"]).status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_reading_can_be_set_to_need_a_key(serve: Callable[..., Any], writable: Any) -> None:
    _, key = create_key(writable.collection, "reader", "read")
    server = serve(writable.collection, "--require-key", "--rate", "off")
    with httpx.Client(base_url=server.url) as api:
        assert problem(api.get("/api/v1/collection"), 401) == "urn:kvasir:key-needed"
        assert api.get("/").status_code == 401
        assert api.get("/").headers["WWW-Authenticate"].startswith("Basic")
        assert api.get("/healthz").status_code == 200
        assert api.get("/", auth=("me", key)).status_code == 200
        assert api.get("/api/v1/collection", headers={"Authorization": f"Bearer {key}"}).status_code == 200


# Around


def finished(api: httpx.Client, started: httpx.Response) -> dict[str, Any]:
    """An evaluation, once it no longer runs."""
    assert started.status_code == 202
    deadline = time.monotonic() + 120
    while (job := api.get(started.headers["Location"]).json())["state"] == "running":
        assert 0 <= job["progress"] <= 1
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return dict(job)


def test_evaluations_are_jobs_with_progress(api: httpx.Client, writable: Any) -> None:
    with httpx.Client(base_url=writable.url, timeout=60) as writing:
        job = finished(writing, writing.post("/api/v1/evaluations", json={"samples": 0}))
    assert (job["state"], job["progress"]) == ("done", 1)
    assert len(job["result"]["spaces"]) == 2
    assert 0 < job["result"]["spaces"][0]["measures"]["mAP"]["macro"] <= 1
    assert problem(api.post("/api/v1/evaluations", json={"spaces": ["none"]}), 422)
    twice = [job["result"]["spaces"][0]["space"]] * 2
    assert problem(api.post("/api/v1/evaluations", json={"spaces": twice}), 422) == "urn:kvasir:invalid-request"
    assert problem(api.get("/api/v1/evaluations/none"), 404)


def test_an_evaluation_is_kept_in_the_collection_and_its_files_are_those_of_a_report(
    serve: Callable[..., Any], writable: Any
) -> None:
    with httpx.Client(base_url=writable.url, timeout=60) as api:
        job = finished(api, api.post("/api/v1/evaluations", json={"samples": 20, "protocol": "leave-one-out"}))
    again = serve(writable.collection)
    with httpx.Client(base_url=again.url, timeout=60) as api:
        assert api.get(f"/api/v1/evaluations/{job['id']}").json()["result"] == job["result"]
        whole = api.get("/evaluation/files/evaluation.json").json()
        assert whole["spaces"][0]["measures"] == job["result"]["spaces"][0]["measures"]
        assert len(whole["spaces"][0]["per_query"]["id"]) == whole["spaces"][0]["queries"]["all"]
        assert api.get("/evaluation/files/means.csv").headers["Content-Disposition"].startswith("attachment")
        assert api.get("/evaluation/files/facts.json").status_code == 404
        page = api.get("/evaluation/report.html")
        assert page.headers["Content-Disposition"] == "attachment; filename=report.html"
        assert "data:image/webp;base64," in page.text
        assert "/api/v1/" not in page.text
        newer = finished(api, api.post("/api/v1/evaluations", json={"samples": 0}))
        assert (
            api.get("/evaluation/files/evaluation.json").json()["spaces"][0]["protocol"]["name"] == "leave-cluster-out"
        )
        older = api.get("/evaluation/files/evaluation.json", params={"evaluation": job["id"]}).json()
        assert older == whole
        assert f"/evaluation/?evaluation={job['id']}" in api.get("/evaluation/").text
        assert api.get("/evaluation/", params={"evaluation": newer["id"]}).status_code == 200
        assert api.get("/evaluation/", params={"evaluation": "none"}).status_code == 404


def test_an_evaluation_measures_fusions_as_the_command_does(api: httpx.Client, two_spaces: Path) -> None:
    a, b = [space["name"] for space in api.get("/api/v1/collection").json()["spaces"]]
    wanted = {"samples": 0, "fusions": [f"{a}+{b}", f" zscore: {a}=2 + {b}=0.5", f"{a}+{b}"]}
    names = [f"{a}+{b}", f"zscore:{a}=2+{b}=0.5"]
    done = finished(api, api.post("/api/v1/evaluations", json=wanted))
    assert done["request"]["fusions"] == names
    options = EvaluationOptions(measures=MeasureOptions(samples=0), fusions=tuple(map(Fusion.parse, names)))
    opened = Collection.open(two_spaces)
    by_command = evaluate_collection(opened, opened.manifest.name, options).to_dict()
    assert [space["space"] for space in done["result"]["spaces"]] == [a, b, *names]
    for mine, theirs in zip(done["result"]["spaces"], by_command["spaces"], strict=True):
        for field in ("measures", "fusion", "fusion_method"):
            assert mine.get(field) == theirs.get(field)


def test_an_evaluation_ranks_anew_as_the_command_does(api: httpx.Client, two_spaces: Path) -> None:
    wanted = {"samples": 0, "rerank": ["expansion", "expansion"], "feedback": True}
    done = finished(api, api.post("/api/v1/evaluations", json=wanted))
    assert done["request"]["rerank"] == ["expansion"]
    options = EvaluationOptions(measures=MeasureOptions(samples=0), rerank=("expansion",), feedback=True)
    opened = Collection.open(two_spaces)
    by_command = evaluate_collection(opened, opened.manifest.name, options).to_dict()
    assert [space["space"] for space in done["result"]["spaces"]] == [one["space"] for one in by_command["spaces"]]
    assert done["result"]["feedback"] == by_command["feedback"]
    assert done["result"]["spaces"][-1]["space"].endswith(", expansion")
    assert done["result"]["spaces"][-1]["measures"] == by_command["spaces"][-1]["measures"]
    assert problem(api.post("/api/v1/evaluations", json={"rerank": ["magic"]}), 422)


@pytest.mark.parametrize(
    ("fusions", "kind", "word"),
    [
        (["tf_efficientnet_lite0"], "fusion-text", "needs two spaces or more"),
        (["tf_efficientnet_lite0+tf_efficientnet_lite0"], "fusion-text", "each once"),
        (["sum:tf_efficientnet_lite0+test_vit"], "fusion-text", "no fusion method is called 'sum'"),
        (["tf_efficientnet_lite0=0+test_vit"], "fusion-text", "positive weights"),
        (["tf_efficientnet_lite0+none"], "space-name", "none"),
        ([5], "invalid-request", "fusions.0"),
        (["a+b"] * 21, "invalid-request", "fusions"),
    ],
)
def test_a_fusion_that_cannot_be_evaluated_is_told(api: httpx.Client, fusions: list[Any], kind: str, word: str) -> None:
    refused = api.post("/api/v1/evaluations", json={"fusions": fusions})
    assert problem(refused, 422) == f"urn:kvasir:{kind}"
    assert word in refused.json()["detail"]


def test_a_report_that_cannot_be_shown_is_told_with_what_to_do(serve: Callable[..., Any], writable: Any) -> None:
    with httpx.Client(base_url=writable.url, timeout=60) as api:
        job = finished(api, api.post("/api/v1/evaluations", json={"samples": 0, "spaces": ["tf_efficientnet_lite0"]}))
        folder = writable.collection / "evaluations" / job["id"]
        facts = json.loads((folder / "facts.json").read_text())
        earlier = {name: value for name, value in facts.items() if name not in ("files", "sha256")}
        (folder / "facts.json").write_text(json.dumps(earlier))  # as before files had digests
        for text, told in (
            ('{"title": "", "head": "", "sections": []}', "stored by another version"),
            ("{", "is damaged"),
        ):
            (folder / "report.json").write_text(text)
            page = api.get("/evaluation/")
            assert page.status_code == 200
            assert told in page.text
            assert "Evaluate again" in page.text
            assert str(writable.collection) not in page.text
            assert problem(api.get("/evaluation/report.html", headers={"Accept": "application/json"}), 410)
        assert api.get("/evaluation/files/means.csv").status_code == 200
        (folder / "means.csv").unlink()
        assert api.get("/evaluation/files/means.csv").status_code == 410
        (folder / "result.json").write_text("{}")
        assert problem(api.get(f"/api/v1/evaluations/{job['id']}"), 410) == "urn:kvasir:stored-evaluation"


def test_an_evaluation_that_cannot_be_made_says_why(
    serve: Callable[..., Any], two_spaces: Path, tmp_path: Path
) -> None:
    path = tmp_path / "unlabelled.collection"
    shutil.copytree(two_spaces, path, ignore=shutil.ignore_patterns("evaluations"))
    opened = Collection.open(path)
    labelled = opened.images.ids[opened.images.labels >= 0].tolist()
    with CollectionWriter(path) as writer:
        writer.remove(labelled)
    with httpx.Client(base_url=serve(path).url, timeout=60) as api:
        job = finished(api, api.post("/api/v1/evaluations", json={}))
        assert job["state"] == "failed"
        assert "no image has a class" in job["error"]
        assert job["error"] in api.get("/evaluation/").text
        assert problem(api.get("/evaluation/report.html", headers={"Accept": "application/json"}), 404)


def test_every_answer_has_the_security_headers(api: httpx.Client) -> None:
    for path in ("/", "/api/v1/collection", "/api/v1/nothing", "/nothing", "/static/page.css"):
        headers = api.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_other_origins_are_refused_unless_configured(serve: Callable[..., Any], two_spaces: Path, served: Any) -> None:
    origin = {"Origin": "https://lab.example"}
    assert "Access-Control-Allow-Origin" not in httpx.get(f"{served.url}/api/v1/collection", headers=origin).headers
    server = serve(two_spaces, "--cors", "https://lab.example")
    allowed = httpx.get(f"{server.url}/api/v1/collection", headers=origin)
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://lab.example"
    other = httpx.get(f"{server.url}/api/v1/collection", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers
    asked = httpx.options(f"{server.url}/api/v1/search", headers=origin | {"Access-Control-Request-Method": "POST"})
    assert "POST" in asked.headers["Access-Control-Allow-Methods"]


def test_a_foreign_host_name_is_refused_on_loopback(served: Any) -> None:
    for path in ("/api/v1/collection", "/", "/collection/"):
        answer = httpx.get(f"{served.url}{path}", headers={"Host": "evil.example"})
        assert problem(answer, 400)


def test_a_connection_outlives_a_refused_upload(api: httpx.Client, picture: bytes) -> None:
    large = {"content": picture + bytes(2**20), "headers": {"Content-Type": "image/jpeg"}}
    for _ in range(3):
        assert problem(api.post("/api/v1/search?k=0", **large), 422)
        assert problem(api.post("/api/v1/nothing", **large), 404)
        assert problem(api.post("/api/v1/images", **large), 401)
    assert api.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "/\\evil.example", "/\t/evil.example", "https://evil.example", "/ x"]
)
def test_switching_the_look_leads_nowhere_else(api: httpx.Client, elsewhere: str) -> None:
    assert api.post("/theme", data={"back": elsewhere, "to": "light"}).headers["Location"] == "/"


def test_a_region_without_all_its_edges_is_told(api: httpx.Client) -> None:
    answer = api.get("/results?image=3&left=10&width=20")
    assert answer.status_code == 422
    assert "four numbers" in answer.text


def test_metrics_and_logs_tell_of_requests(served: Any, api: httpx.Client) -> None:
    api.get("/api/v1/collection", headers={"X-Request-ID": "my-own-id"})
    assert 'kvasir_requests_total{endpoint="collection.collection_info",status="200"}' in api.get("/metrics").text
    log = served.log.read_text()
    assert '"request_id": "my-own-id"' in log
    assert "faiss" not in log


def test_a_full_queue_is_told_at_once(serve: Callable[..., Any], two_spaces: Path, picture: bytes) -> None:
    server = serve(two_spaces, "--queue", "1", "--rate", "off")
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as api:
            answers.extend(api.post("/api/v1/search", files={"image": picture}) for _ in range(15))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert problem(refused, 503) == "urn:kvasir:busy"
    assert refused.headers["Retry-After"] == "1"


def test_sigterm_lets_a_running_request_end(serve: Callable[..., Any], two_spaces: Path, picture: bytes) -> None:
    server = serve(two_spaces)
    length = len(picture)
    head = "POST /api/v1/search?k=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
    head += f"Content-Length: {length}\r\n\r\n"
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode() + picture[:100])
        time.sleep(0.5)  # the server has begun to read the picture
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(picture[100:])
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"polyps/3.jpg"' in answer
    assert server.process.wait(30) == 0


def test_near_duplicates_among_the_hits_fold_into_one(api: httpx.Client) -> None:
    copy = image_of(api, "polyps/copy of 0.jpg")
    query = image_of(api, "polyps/3.jpg")["id"]
    hits = api.get(f"/api/v1/images/{query}/similar", params={"k": 15, "fold": "true"}).json()["hits"]
    assert len({hit["cluster"] for hit in hits}) == 15
    (first,) = [hit for hit in hits if hit["near_duplicates"]]
    assert first["cluster"] == copy["cluster"]


def test_the_nearest_of_each_class_come_side_by_side(api: httpx.Client, picture: bytes) -> None:
    for body in ({"files": {"image": picture}}, {"json": {"image_id": 3}}):
        classes = api.post("/api/v1/search/classes", params={"k": 2}, **body).json()["classes"]
        assert {one["class"] for one in classes} == {"cecum", "polyps", "pylorus"}
        for one in classes:
            assert {hit["class"] for hit in one["hits"]["hits"]} == {one["class"]}
            assert len(one["hits"]["hits"]) == 2
    only = api.post("/api/v1/search/classes", json={"image_id": 3, "k": 1, "classes": ["cecum"]}).json()["classes"]
    assert [one["class"] for one in only] == ["cecum"]


@pytest.mark.parametrize("body", [body for _, body in query_examples()])
def test_the_documented_queries_are_answered(api: httpx.Client, picture: bytes, two_spaces: Path, body: str) -> None:
    space = Collection.open(two_spaces).spaces[0]
    text = body.replace("<base64>", base64.b64encode(picture).decode()).replace("NAME", space.name)
    values = json.loads(text.replace("[0.1, 0.2, 0.3]", str([1.0] * space.dimension)))
    answer = api.post("/api/v1/search", json=values)
    assert answer.status_code == 200, answer.text
    assert answer.json()["hits"]


def test_copies_of_an_upload_are_told_where_they_are_asked_for(api: httpx.Client, picture: bytes) -> None:
    own = image_of(api, "polyps/3.jpg")["id"]
    assert api.post("/api/v1/search", files={"image": picture}).json()["copies"] is None
    exact = api.post("/api/v1/search", files={"image": picture}, data={"copies": "true"}).json()["copies"]
    assert own in exact["ids"]
    assert exact["exact"]
    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(out, "JPEG", quality=70)
    nearly = api.post(
        "/api/v1/search?copies=true", content=out.getvalue(), headers={"Content-Type": "image/jpeg"}
    ).json()["copies"]
    assert own in nearly["ids"]
    assert not nearly["exact"]
    assert api.post("/api/v1/search", json={"image_id": own, "copies": True}).json()["copies"] is None


def test_marked_images_move_a_query_in_json_an_address_and_a_form(api: httpx.Client, picture: bytes) -> None:
    near = ids(search(api, {"image_id": 5}, k=12))
    marks = {"relevant": near[4:6], "irrelevant": near[:2]}
    moved = search(api, {"image_id": 5}, k=12, **marks)
    assert moved.json()["score_kind"] == "balance"
    assert ids(moved) != near
    assert set(marks["relevant"]) <= set(ids(moved)[:6])
    fields = {name: ",".join(map(str, marked)) for name, marked in marks.items()}
    address = api.get("/api/v1/images/5/similar", params=fields | {"k": 12})
    assert ids(address) == ids(moved)
    form = api.post("/api/v1/search", files={"image": picture}, data=fields | {"k": 12})
    assert form.json()["score_kind"] == "balance"
    unseen = search(api, {"image_id": 5}, k=12, exclude_ids=near, **marks)
    assert not set(ids(unseen)) & set(near)
    assert problem(search(api, {"image_id": 5}, relevant=[1], irrelevant=[1]), 422) == "urn:kvasir:bad-query"
    assert problem(search(api, {"image_id": 5}, relevant=[10**6]), 404) == "urn:kvasir:no-such-image"
