"""POST /api/v1/search/batch: many queries in one request, answered in order, each as it would be alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from retrieval.space_search import SpaceSearch
from web.app import create_app
from web.context import Settings
from web.search import MAX_BATCH, MAX_BATCH_HITS

BATCH = "/api/v1/search/batch"


@pytest.fixture(scope="module")
def client(two_spaces: Path) -> FlaskClient:
    return create_app(Settings(two_spaces, rate=""), background=False).test_client()


@pytest.fixture(scope="module")
def pictures(indexed: Any) -> list[bytes]:
    return [(indexed.data / name / f"{n}.jpg").read_bytes() for n in (3, 5) for name in ("polyps", "cecum", "pylorus")]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def problem(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return str(answer.get_json()["type"]).removeprefix("urn:kvasir:")


def test_each_search_of_a_batch_has_the_result_that_it_has_alone(client: FlaskClient, pictures: list[bytes]) -> None:
    spaces = [space["name"] for space in client.get("/api/v1/collection").get_json()["spaces"]]
    vector = client.get("/api/v1/images/4/vectors").get_json()["vectors"][spaces[1]]
    searches: list[dict[str, Any]] = [
        {"image": text(pictures[0])},
        {"image_id": 7, "k": 3, "exclude_cluster": True},
        {
            "image": f"data:image/jpeg;base64,{text(pictures[1])}",
            "region": [0.1, 0.1, 0.6, 0.6],
            "query_class": "cecum",
        },
        {"vector": vector, "spaces": [spaces[1]]},
        {"query": [{"vector": vector, "space": spaces[1]}]},
        {"query": [{"image_id": 2}, {"image": text(pictures[2]), "weight": 0.5}], "spaces": spaces, "fusion": "zscore"},
        {"image_id": 9, "classes": ["cecum"]},
        {"image": text(pictures[0])},
    ]
    answer = client.post(f"{BATCH}?k=6", json={"searches": searches})
    assert answer.status_code == 200, answer.text
    alone = [client.post("/api/v1/search?k=6", json=search).get_json() for search in searches]
    assert answer.get_json()["results"] == alone


def test_options_of_the_batch_are_those_of_every_search_that_has_none_itself(client: FlaskClient) -> None:
    body = {"searches": [{"image_id": 1}, {"image_id": 2, "k": 4}], "k": 2, "classes": ["polyps"]}
    first, second = client.post(f"{BATCH}?k=9&exclude_self=false", json=body).get_json()["results"]
    assert (first["k"], len(first["hits"])) == (2, 2)
    assert (second["k"], len(second["hits"])) == (4, 4)
    assert {hit["class"] for hit in first["hits"] + second["hits"]} == {"polyps"}


def test_pictures_of_a_form_are_answered_in_their_order(client: FlaskClient, pictures: list[bytes]) -> None:
    files = [(io.BytesIO(data), f"{n}.jpg") for n, data in enumerate(pictures)]
    answer = client.post(BATCH, data={"image": [*files, (io.BytesIO(), "empty.jpg")], "k": "2"})
    assert answer.status_code == 200, answer.text
    *results, empty = answer.get_json()["results"]
    expected = [f"{name}/{n}.jpg" for n in (3, 5) for name in ("polyps", "cecum", "pylorus")]
    assert [result["hits"][0]["file"] for result in results] == expected
    assert {len(result["hits"]) for result in results} == {2}
    assert empty["type"] == "urn:kvasir:no-picture"


def test_what_is_wrong_with_one_search_is_its_result_and_the_others_are_answered(
    client: FlaskClient, pictures: list[bytes]
) -> None:
    searches: list[dict[str, Any]] = [
        {"image_id": 1},
        {"image": "no base64!"},
        {"image": "data:text/html,a"},
        {"image": text(b"GIF89a" + bytes(100))},
        {"image": text(pictures[0][: len(pictures[0]) // 2])},
        {"image_id": 10**6},
        {"vector": [1.0, 2.0]},
        {"image_id": 1, "spaces": ["none"]},
        {"image_id": 1, "classes": ["none"]},
        {"image_id": 1, "weights": [1, 2]},
        {"query": [{"text": "pylorus"}]},
        {"image": text(pictures[0]), "region": [0, 0, 0.01, 0.01]},
        {"image_id": 2},
    ]
    results = client.post(BATCH, json={"searches": searches, "k": 1}).get_json()["results"]
    assert [(result.get("status"), result.get("type", "").removeprefix("urn:kvasir:")) for result in results] == [
        (None, ""),
        (422, "not-base64"),
        (422, "data-url"),
        (415, "unknown-format"),
        (422, "broken-picture"),
        (404, "no-such-image"),
        (422, "vector"),
        (422, "space-name"),
        (422, "no-such-class"),
        (422, "bad-query"),
        (None, ""),
        (422, "bad-region"),
        (None, ""),
    ]
    for result, search in zip(results, searches, strict=True):
        alone = client.post("/api/v1/search?k=1", json=search).get_json()
        assert {**result, "request_id": ""} == {**alone, "request_id": ""} if "status" in result else result == alone


@pytest.mark.parametrize(
    ("body", "kind", "place"),
    [
        ({}, "invalid-request", "searches"),
        ({"searches": []}, "invalid-request", "searches"),
        ({"searches": [{"image_id": 1}] * (MAX_BATCH + 1)}, "invalid-request", "searches"),
        ({"searches": [{"image_id": 1}, {"image_id": 1, "k": 0}]}, "invalid-request", "searches.1.k"),
        ({"searches": [{"image_id": 1}, {"query": [{"image_id": 1, "nonsense": 1}]}]}, "invalid-request", "searches.1"),
        ({"searches": [{"image_id": 1}, {}]}, "bad-search", "searches.1"),
        ({"searches": [{"image_id": 1}, {"image_id": 1, "vector": [1.0]}]}, "bad-search", "searches.1"),
        ({"searches": [{"query": [{}]}]}, "bad-search", "searches.0"),
        ({"searches": [{"query": [{"image_id": 1, "weight": 0}]}]}, "bad-search", "searches.0"),
        ({"searches": [{"query": [{"image_id": 1, "weight": -1}]}]}, "bad-search", "searches.0"),
        ({"searches": [{"query": [{"image_id": 5}], "region": [0, 0, 1, 1]}]}, "bad-search", "searches.0"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_as_a_whole_by_the_place_of_its_fault(
    client: FlaskClient, body: dict[str, Any], kind: str, place: str
) -> None:
    refused = client.post(BATCH, json=body)
    assert problem(refused, 422) == kind
    assert place in refused.get_json()["detail"]


def test_a_body_that_is_neither_is_refused(client: FlaskClient, pictures: list[bytes]) -> None:
    assert problem(client.post(BATCH, data=pictures[0], content_type="image/jpeg"), 415) == "unsupported-body"
    assert problem(client.post(BATCH, data={"k": "3"}, content_type="multipart/form-data"), 422) == "no-picture"


def test_a_batch_has_limits_together(two_spaces: Path, pictures: list[bytes]) -> None:
    few = create_app(Settings(two_spaces, rate="", max_pixels=120 * 90), background=False).test_client()
    one = {"image": text(pictures[0])}

    hits = {"searches": [{"image_id": 1}] * 21, "k": 1000}
    refused = few.post(BATCH, json=hits)
    assert problem(refused, 413) == "batch-too-large"
    assert f"21,000 hits together; the limit is {MAX_BATCH_HITS:,}" in refused.get_json()["detail"]

    parts = {"searches": [{"query": [one, *[{"image_id": 1, "region": [0, 0, 1, 1]}] * 19]}] * 6}
    refused = few.post(BATCH, json=parts)
    assert problem(refused, 413) == "batch-too-large"
    assert "120 pictures and texts together; the limit is 100" in refused.get_json()["detail"]

    words = {"searches": [{"query": [{"text": "polyps"}] * 20}] * 6}  # each runs the text tower six times
    assert problem(few.post(BATCH, json=words), 413) == "batch-too-large"

    assert few.post("/api/v1/search", json={"query": [one] * 8}).status_code == 200
    assert problem(few.post("/api/v1/search", json={"query": [one] * 9}), 413) == "batch-too-large"

    assert few.post(BATCH, json={"searches": [one] * 8}).status_code == 200
    for ninth in (one, {"image_id": 1, "region": [0, 0, 1, 1]}):
        refused = few.post(BATCH, json={"searches": [one] * 8 + [ninth]})
        assert problem(refused, 413) == "batch-too-large"
        assert "0.1 megapixels together; the limit is 0.0864" in refused.get_json()["detail"]


def test_each_picture_passes_the_limits_of_a_single_one(
    two_spaces: Path, pictures: list[bytes], draw: Callable[..., Any], encode_file: Callable[..., bytes]
) -> None:
    settings = Settings(two_spaces, rate="", max_upload=20_000, max_pixels=150 * 100)
    strict = create_app(settings, background=False).test_client()
    wide, heavy = encode_file(draw(1, size=(151, 100))), pictures[1] + bytes(20_000)
    searches = [{"image": text(data)} for data in (pictures[0], wide, heavy)]
    results = strict.post(BATCH, json={"searches": searches}).get_json()["results"]
    assert [result.get("type") for result in results] == [
        None,
        "urn:kvasir:picture-too-large",
        "urn:kvasir:upload-too-large",
    ]
    too_long = strict.post(BATCH, json={"searches": [{"image": "A" * 1_200_000}]})
    assert problem(too_long, 413) == "request-entity-too-large"
    assert "send the batch in parts" in too_long.get_json()["detail"]


def test_a_batch_counts_as_its_searches_for_the_rate(two_spaces: Path) -> None:
    limited = create_app(Settings(two_spaces, rate="10/hour"), background=False).test_client()

    def send(count: int) -> Any:
        return limited.post(BATCH, json={"searches": [{"image_id": 1, "k": 1}] * count})

    assert problem(send(11), 429) == "too-many-requests"
    assert send(6).status_code == 200
    assert problem(send(5), 429) == "too-many-requests"
    assert limited.get("/api/v1/images/1/similar").status_code == 200
    assert send(3).status_code == 200
    assert problem(limited.get("/api/v1/images/1/similar"), 429) == "too-many-requests"


def test_searches_of_equal_options_are_one_call_of_the_index_and_of_other_options_another(
    client: FlaskClient, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []
    nearest = SpaceSearch.nearest

    def counted(search: SpaceSearch, queries: Any, depth: int, *more: Any) -> Any:
        calls.append((len(queries), depth))
        return nearest(search, queries, depth, *more)

    monkeypatch.setattr(SpaceSearch, "nearest", counted)
    searches = [{"image": text(data)} for data in pictures] + [{"image_id": n} for n in range(5)]
    several = [{**search, "query_class": "cecum"} for search in searches]
    body = {"searches": [*several, {"image_id": 1, "k": 3}], "k": 4}
    assert client.post(BATCH, json=body).status_code == 200
    assert calls == [(11, 4), (1, 3)]
