"""Requests as bytes on a connection: malformed ones, long ones, slow ones, and several on one."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("gunicorn.http", reason="gunicorn does not run on Windows")

POST = b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def connection(served: Any) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", httpx.URL(served.url).port), timeout=60) as client:
        yield client


def status_of(connection: socket.socket) -> int:
    """The status of one response, read to its end."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def answer_to_the_end(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of the response after which the server closes."""
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


MALFORMED = {
    "a chunk of -5 bytes": CHUNKED + b"-5\r\nxxxxx\r\n0\r\n\r\n",
    "a chunk line of 20,000 bytes": CHUNKED + b"1;" + b"a" * 20_000 + b"\r\nx\r\n0\r\n\r\n",
    "a chunk size without digits": CHUNKED + b";a\r\nx\r\n0\r\n\r\n",
    "a chunk size of 18 f": CHUNKED + b"f" * 18 + b"\r\nx",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "contradicting lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": GET + b"X-A: b\r\n c\r\n\r\n",
    "NUL in a header": GET + b"X-A: b\x00c\r\n\r\n",
    "bare LF": GET.replace(b"\r\n", b"\n") + b"\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_refused_while_its_client_waits(
    served: Any, connection: socket.socket, request_bytes: bytes
) -> None:
    before = len(served.log.read_bytes())
    connection.sendall(request_bytes)
    head, body = answer_to_the_end(connection)
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n")
    assert json.loads(body)["type"] == "urn:kvasir:bad-request"
    said = served.log.read_bytes()[before:]
    assert json.loads(body)["request_id"].encode() in said
    assert b'"error"' not in said


@pytest.mark.parametrize("kind", [b"image/png", b"application/x-nothing"])
def test_a_length_beyond_the_limit_is_refused_before_anything_comes(connection: socket.socket, kind: bytes) -> None:
    connection.sendall(POST.replace(b"image/png", kind) + b"Content-Length: 99999999999999999999\r\n\r\n")
    head, body = answer_to_the_end(connection)
    assert head.startswith(b"HTTP/1.1 413")
    assert "20 MiB" in json.loads(body)["detail"]


def test_who_sends_too_much_before_reading_is_told_all_the_same(served: Any) -> None:
    api = http.client.HTTPConnection("127.0.0.1", httpx.URL(served.url).port, timeout=60)
    api.request("POST", "/api/v1/search", bytes(50 * 2**20), {"Content-Type": "image/png"})
    assert api.getresponse().status == 413
    api.close()


def test_requests_that_come_together_are_answered_in_order(connection: socket.socket) -> None:
    connection.sendall((GET + b"\r\n") * 3 + GET.replace(b"healthz", b"nosuch") + b"Connection: close\r\n\r\n")
    statuses = [status_of(connection) for _ in range(3)]
    head, _ = answer_to_the_end(connection)
    assert statuses == [200, 200, 200]
    assert head.startswith(b"HTTP/1.1 404")


def test_a_client_that_waits_for_100_continue_gets_it_and_its_answer(connection: socket.socket) -> None:
    connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n")
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"abc")
    head, _ = answer_to_the_end(connection)
    assert head.startswith(b"HTTP/1.1 415")


def test_a_client_that_waits_for_100_continue_is_refused_a_body_beyond_the_limit(connection: socket.socket) -> None:
    connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")
    head, _ = answer_to_the_end(connection)
    assert head.startswith(b"HTTP/1.1 413")


def test_a_client_that_has_sent_all_and_closes_its_side_is_answered(connection: socket.socket) -> None:
    connection.sendall(GET + b"\r\n")
    connection.shutdown(socket.SHUT_WR)
    head, body = answer_to_the_end(connection)
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body) == {"status": "ok"}


def test_a_picture_in_chunks_is_a_picture(served: Any, indexed: Any) -> None:
    picture = next(Path(indexed.data).rglob("*.jpg")).read_bytes()
    parts = (picture[at : at + 1000] for at in range(0, len(picture), 1000))
    whole = httpx.post(f"{served.url}/api/v1/search", content=picture, headers={"Content-Type": "image/jpeg"})
    chunked = httpx.post(f"{served.url}/api/v1/search", content=parts, headers={"Content-Type": "image/jpeg"})
    assert chunked.json() == whole.json()
    assert whole.json()["hits"][0]["score"] > 0.99
