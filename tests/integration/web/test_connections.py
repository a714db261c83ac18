"""Requests as bytes on a connection: malformed ones, long ones, slow ones, and several on one."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

POST = b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def connection(served: Any) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", httpx.URL(served.url).port), timeout=60) as client:
        yield client


def status_of(connection: socket.socket) -> int:
    """The status of one response, read to its end."""
    with contextlib.closing(http.client.HTTPResponse(connection)) as response:
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


COMMENTS = b"\xff\xd8" + b"\xff\xfe\0\x02" * 4_000_000


def test_a_picture_is_refused_by_its_start_and_a_client_that_goes_on_sending_has_the_answer(served: Any) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(served.url).port), timeout=60) as client:
        client.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(COMMENTS) + COMMENTS[: 256 * 1024])
        head, body = answer_to_the_end(client)  # though the rest never comes
    assert head.startswith(b"HTTP/1.1 422")
    assert "too many segments" in json.loads(body)["detail"]
    for content in (COMMENTS, iter([COMMENTS[:1_000_000]] * 4)):
        response = httpx.post(f"{served.url}/api/v1/search", content=content, headers={"Content-Type": "image/png"})
        assert response.status_code == 422
        assert "too many segments" in response.json()["detail"]
    parts = httpx.post(f"{served.url}/api/v1/search", data={"k": "3"}, files={"image": COMMENTS})
    assert parts.status_code == 422
    assert "too many segments" in parts.json()["detail"]


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/api/v1/images", 401), ("POST", "/nosuch", 404)])
def test_keys_and_addresses_come_before_the_picture(served: Any, method: str, path: str, status: int) -> None:
    response = httpx.request(method, served.url + path, content=COMMENTS, headers={"Content-Type": "image/png"})
    assert response.status_code == status


@pytest.mark.parametrize("kind", [b"image/png", b"application/x-nothing"])
def test_a_length_beyond_the_limit_is_refused_before_anything_comes(connection: socket.socket, kind: bytes) -> None:
    connection.sendall(POST.replace(b"image/png", kind) + b"Content-Length: 99999999999999999999\r\n\r\n")
    head, body = answer_to_the_end(connection)
    assert head.startswith(b"HTTP/1.1 413")
    assert "20 MiB" in json.loads(body)["detail"]


def test_who_sends_too_much_before_reading_is_told_all_the_same(served: Any) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", httpx.URL(served.url).port, timeout=60)) as api:
        api.request("POST", "/api/v1/search", bytes(50 * 2**20), {"Content-Type": "image/png"})
        with contextlib.closing(api.getresponse()) as response:
            assert response.status == 413


def test_requests_that_come_together_are_answered_in_order(connection: socket.socket) -> None:
    connection.sendall((GET + b"\r\n") * 3 + GET.replace(b"healthz", b"nosuch") + b"Connection: close\r\n\r\n")
    answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb"^HTTP/1\.1 (\d+)", answers, re.MULTILINE) == [b"200", b"200", b"200", b"404"]


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


@pytest.mark.parametrize("path", ["/api/v1/search", "/api/v1/search/batch", "/search"])
@pytest.mark.parametrize("part", ['filename="a.png"', "nothing"])
def test_a_part_of_a_form_without_a_name_is_no_fault_of_the_server(served: Any, path: str, part: str) -> None:
    form = f"--x\r\nContent-Disposition: form-data; {part}\r\n\r\nGIF89a\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Accept": "application/json"}
    assert httpx.post(f"{served.url}{path}", content=form, headers=headers).status_code == 422


@pytest.fixture(scope="module")
def narrow(serve: Any, two_spaces: Path) -> Any:
    """A server with room for few connections of a client and little memory for bodies."""
    return serve(
        two_spaces, first="from web.serving import worker; worker.MAX_OF_CLIENT = 6; worker.MAX_MEMORY = 10**6"
    )


def connections(stack: contextlib.ExitStack, server: Any, count: int) -> list[socket.socket]:
    port = httpx.URL(server.url).port
    return [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(count)]


def answered(stack: contextlib.ExitStack, server: Any, count: int) -> list[socket.socket]:
    """Connections that have each had an answer, one after the other.

    So those of an earlier client, whose end the server may not have seen, are over when the last one begins.
    """
    opened = []
    for _ in range(count):
        opened += connections(stack, server, 1)
        opened[-1].sendall(GET + b"\r\n")
        assert status_of(opened[-1]) == 200
    return opened


def test_a_client_with_too_many_connections_loses_the_one_that_has_waited_longest(narrow: Any) -> None:
    with contextlib.ExitStack() as stack:
        clients = answered(stack, narrow, 7)
        assert clients[0].recv(1) == b""
        clients[1].sendall(GET + b"\r\n")
        assert status_of(clients[1]) == 200
        connections(stack, narrow, 1)
        assert clients[2].recv(1) == b""  # not the one that has just had its answer
        clients[1].sendall(GET + b"\r\n")
        assert status_of(clients[1]) == 200
    assert "those that have waited longest are closed" in narrow.log.read_text()


def test_bodies_that_together_take_too_much_memory_cost_the_slowest_its_place(narrow: Any) -> None:
    with contextlib.ExitStack() as stack:
        slow, *others = connections(stack, narrow, 4)
        slow.sendall(POST + b"Content-Length: 900000\r\n\r\n" + bytes(1000))
        time.sleep(1)
        for client in others:
            client.sendall(POST + b"Content-Length: 400000\r\n\r\n" + bytes(399_000))
        head, _ = answer_to_the_end(slow)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in head
        assert httpx.get(f"{narrow.url}/healthz").status_code == 200


def test_a_picture_in_chunks_is_a_picture(served: Any, indexed: Any) -> None:
    picture = next(Path(indexed.data).rglob("*.jpg")).read_bytes()
    parts = (picture[at : at + 1000] for at in range(0, len(picture), 1000))
    whole = httpx.post(f"{served.url}/api/v1/search", content=picture, headers={"Content-Type": "image/jpeg"})
    chunked = httpx.post(f"{served.url}/api/v1/search", content=parts, headers={"Content-Type": "image/jpeg"})
    assert chunked.json() == whole.json()
    assert whole.json()["hits"][0]["score"] > 0.99
