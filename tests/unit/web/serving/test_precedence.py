"""Searches by image id and vector are told from all other requests."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from web.limits import ConcurrencyLimit
from web.serving.precedence import (
    LONG_WAIT,
    MOST_WAIT,
    PAUSE,
    SMALL_BODY,
    before_waiting,
    is_probe,
    is_search,
    least_wait,
)
from web.serving.request_reader import RefusedBody


def request(method: str, path: str, body: bytes = b"") -> Any:
    path, _, query = path.partition("?")
    return SimpleNamespace(method=method, path=path, query=query, body=io.BytesIO(body))


@pytest.mark.parametrize(
    "asked",
    [
        request("GET", "/api/v1/images/17/similar"),
        request("GET", "/api/v1/images/17/similar?k=5"),
        request("POST", "/api/v1/search", b'{"image_id": 3, "k": 5}'),
        request("POST", "/api/v1/search", b'{"vector": [1, 0]}'),
        request("POST", "/api/v1/search", b'{"query": [{"image_id": 3}, {"vector": [1, 0]}]}'),
    ],
)
def test_searches_by_id_and_vector_go_first(asked: Any) -> None:
    assert is_search(asked)
    assert not is_probe(asked)


@pytest.mark.parametrize(
    "asked",
    [
        request("GET", "/"),
        request("GET", "/api/v1/images/17/picture"),
        request("DELETE", "/api/v1/images/17/similar"),
        request("GET", "/api/v1/images/17/similar?k=5&region=0,0,0.5,0.5"),
        request("POST", "/api/v1/search", b'{"image": "AAAA"}'),
        request("POST", "/api/v1/search", b'{"query": [{"text": "a polyp"}]}'),
        request("POST", "/api/v1/search", b'{"image_id": 5, "region": [0, 0, 0.5, 0.5]}'),
        request("POST", "/api/v1/search", b'{"image_id": 5, "irrelevant": [7]}'),
        request("POST", "/api/v1/search", rb'{"im\u0061ge": "AAAA"}'),
        request("GET", "/api/v1/images/17/similar?relevant=3"),
        request("POST", "/api/v1/search", b"\x89PNG\r\n"),
        request("POST", "/api/v1/search", b"{" + bytes(SMALL_BODY)),
        request("POST", "/api/v1/search/batch", b'{"searches": []}'),
        SimpleNamespace(method="POST", path="/api/v1/search", body=RefusedBody(ValueError())),
    ],
)
def test_other_requests_do_not(asked: Any) -> None:
    assert not is_search(asked)


def test_a_probe_waits_for_nobody() -> None:
    assert is_probe(request("GET", "/healthz"))
    assert is_probe(request("GET", "/readyz"))
    assert not is_probe(request("GET", "/metrics"))


def test_the_next_request_begins_before_one_waits_for_a_turn() -> None:
    told: list[str] = []
    reset = before_waiting.set(lambda: told.append("waits"))
    with ConcurrencyLimit(1, 1).slot():
        assert told == ["waits"]
    before_waiting.reset(reset)


def test_others_wait_while_a_search_runs_and_for_the_next_one_of_its_client() -> None:
    assert least_wait(beginning=False, searching=False, since_search=1) == 0
    assert least_wait(beginning=False, searching=True, since_search=1) == MOST_WAIT
    assert least_wait(beginning=False, searching=False, since_search=PAUSE / 2) == MOST_WAIT
    assert least_wait(beginning=True, searching=False, since_search=1) == LONG_WAIT
