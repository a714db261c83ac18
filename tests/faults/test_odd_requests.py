"""Requests that are odd in any way: mutated, cut, doubled. Each gets an answer below 500, or none where it has no end.

By hand `pytest tests/faults/test_odd_requests.py --rounds 5000` sends so many of each kind.
"""

from __future__ import annotations

import collections
import socket
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

HEAD = b"Host: 127.0.0.1\r\nUser-Agent: odd\r\nAccept: text/html\r\n"
FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nGIF89a\r\n--x--\r\n'
SOUND = {
    "get": b"GET /answer?image=3&k=2 HTTP/1.1\r\n" + HEAD + b'If-None-Match: W/"a"\r\nCookie: theme=light\r\n\r\n',
    "picture": b"GET /api/v1/images/3/picture?v=1 HTTP/1.1\r\n" + HEAD + b"Range: bytes=0-9\r\n\r\n",
    "json": b"POST /api/v1/search HTTP/1.1\r\n"
    + HEAD
    + b"Content-Type: application/json\r\nContent-Length: 23\r\n\r\n"
    + b'{"image_id": 3, "k": 2}',
    "chunks": b"POST /api/v1/search HTTP/1.1\r\n"
    + HEAD
    + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b'f;a="b"\r\n{"image_id": 3,\r\n8\r\n "k": 2}\r\n0\r\nX-Trailer: 1\r\n\r\n',
    "form": b"POST /api/v1/search HTTP/1.1\r\n"
    + HEAD
    + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n" % len(FORM)
    + FORM,
    "key": b"DELETE /api/v1/images/3 HTTP/1.1\r\n" + HEAD + b"Authorization: Bearer kvasir_1_2\r\n\r\n",
    "options": b"OPTIONS /api/v1/search HTTP/1.1\r\n"
    + HEAD
    + b"Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n\r\n",
}
PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"%", b"/", b"//", b"..", b"?", b"#", b"\xff"),
    *(b"\r\n\r\n", b"-1", b"9" * 30, b"f" * 18, b"a" * 9000, b"X: " + b"y" * 70_000 + b"\r\n", b"\xf0\x9f"),
    *(b"Host: b\r\n", b"Content-Length: 7\r\n", b"Content-Length: 99999999999999999999\r\n", b" HTTP/2.0"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Expect: 100-continue\r\n"),
    *(b"Connection: close, upgrade\r\n", b"Upgrade: h2c\r\n"),
)


def mutated(request: bytes, random: np.random.Generator) -> bytes:
    """The request after one to four changes: a byte, a piece inserted, a part left out, doubled, or the end cut."""
    for _ in range(random.integers(1, 5)):
        at = int(random.integers(len(request) + 1))
        length = int(random.integers(1, 20))
        match random.integers(5):
            case 0:
                request = request[:at] + bytes([random.integers(256)]) + request[at + 1 :]
            case 1:
                request = request[:at] + PIECES[random.integers(len(PIECES))] + request[at:]
            case 2:
                request = request[:at] + request[at + length :]
            case 3:
                request = request[: at + length] + request[at:]
            case 4:
                request = request[: max(1, at)]
    return request


@pytest.mark.parametrize("kind", SOUND)
def test_no_odd_request_is_the_servers_fault(
    served: Any, kind: str, rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    random = np.random.default_rng(list(kind.encode()))
    port = httpx.URL(served.url).port
    before = len(served.log.read_bytes())
    counts: collections.Counter[str] = collections.Counter()
    for _ in range(rounds(40)):
        request = mutated(SOUND[kind], random)
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)  # so that what is not whole is not waited for
            answer = b"".join(iter(lambda one=connection: one.recv(65536), b""))
        status = answer[9:12].decode() if answer else "none"
        counts[status] += 1
        assert status == "none" or 100 <= int(status) < 500, request
    said = served.log.read_bytes()[before:]
    assert b'"level": "error"' not in said
    assert b"Traceback" not in said
    assert httpx.get(f"{served.url}/healthz").status_code == 200
    tally(requests=counts.total(), **dict(sorted(counts.items())))
