from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("gunicorn.http", reason="gunicorn does not run on Windows")

from gunicorn.config import Config
from gunicorn.http.errors import ParseException

from web.serving.request_reader import JUDGED_AT, MAX_HEAD, MAX_SIZE_LINE, RequestReader

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: kvasir.example:8000\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: [::1]:8000\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def reader(most: int = 1000) -> RequestReader:
    return RequestReader(Config(), ("127.0.0.1", 1), most)


def requests(data: bytes, step: int, most: int = 1000) -> list[Any]:
    """The requests that `data` has, received `step` bytes at a time."""
    read, made = reader(most), []
    for start in range(0, len(data), step):
        read.feed(memoryview(data)[start : start + step])
        while (request := read.next_request()) is not None:
            made.append(request)
    assert read.phase == "idle"
    return made


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_requests_come_whole_however_their_bytes_come(step: int) -> None:
    sized = POST + b"Content-Length: 5\r\n\r\nhello"
    chunked = CHUNKED + b'3;a="b"\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n'
    several = requests(b"\r\n" + GET + sized + chunked + GET, step)
    assert [(request.method, request.body.read()) for request in several] == [
        ("GET", b""),
        ("POST", b"hello"),
        ("POST", b"hello"),
        ("GET", b""),
    ]
    assert several[0].query == "b=1"
    assert several[2].headers == [("HOST", "[::1]:8000"), ("CONTENT-LENGTH", "5")]


def test_http_1_0_needs_no_host() -> None:
    [request] = requests(b"GET / HTTP/1.0\r\n\r\n", 100)
    assert request.should_close()


@pytest.mark.parametrize("body", [b"Content-Length: 1001\r\n\r\n", b"Content-Length: " + b"9" * 20 + b"\r\n\r\n"])
def test_a_body_beyond_the_limit_is_handed_out_before_it_comes(body: bytes) -> None:
    [request] = requests(POST + body, 1)
    assert request.body.read() == b""
    assert request.should_close()


def test_chunks_beyond_the_limit_are_handed_out_with_a_length_that_says_so() -> None:
    read = reader(most=10)
    read.feed(memoryview(CHUNKED + b"8\r\n12345678\r\n3\r\n"))
    request = read.next_request()
    assert ("CONTENT-LENGTH", "11") in request.headers
    assert request.body.read() == b""
    assert request.should_close()


def test_the_expectation_of_a_client_that_waits_is_told_once() -> None:
    read = reader()
    read.feed(memoryview(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"))
    assert read.next_request() is None
    assert read.take_expectation()
    assert not read.take_expectation()
    read.feed(memoryview(b"ok"))
    assert read.next_request().body.read() == b"ok"


@pytest.mark.parametrize("step", [1000, 100_000, 10**6])
@pytest.mark.parametrize("coding", ["length", "chunks"])
def test_a_large_body_is_judged_by_its_start_and_the_rest_is_not_waited_for(step: int, coding: str) -> None:
    judged: list[int] = []

    def judge(request: Any, start: bytes) -> Exception | None:
        judged.append(len(start))
        return ValueError("costly") if len(start) == JUDGED_AT[at] else None

    size = 4 * 1024 * 1024
    head = CHUNKED + b"%x\r\n" % size if coding == "chunks" else POST + b"Content-Length: %d\r\n\r\n" % size
    for at in (0, 1):
        judged.clear()
        read, request, sent = RequestReader(Config(), ("127.0.0.1", 1), 2 * size, judge), None, 0
        read.feed(memoryview(head))
        while request is None:
            request = read.next_request()
            if request is None:
                read.feed(memoryview(bytes(step)))
                sent += step
        assert sent < JUDGED_AT[at] + 2 * step
        assert judged[-1] == JUDGED_AT[at]
        assert request.should_close()
        with pytest.raises(ValueError, match="costly"):
            request.body.read()
        with pytest.raises(ValueError, match="costly"):
            request.body.readinto(bytearray(10))


def test_a_body_that_nothing_speaks_against_comes_whole() -> None:
    judged: list[int] = []
    body = bytes(range(256)) * 8192
    read = RequestReader(Config(), ("127.0.0.1", 1), 10**7, lambda request, start: judged.append(len(start)))
    data = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body + GET
    for start in range(0, len(data), 50_000):
        read.feed(memoryview(data)[start : start + 50_000])
        if request := read.next_request():
            assert request.body.read() == body
            break
    assert judged == list(JUDGED_AT)
    read.feed(memoryview(data)[start + 50_000 :])
    assert read.next_request().method == "GET"


MALFORMED = {
    "a negative chunk": CHUNKED + b"-5\r\n",
    "a chunk's line too long": CHUNKED + b"1;" + b"a" * MAX_SIZE_LINE,
    "no digits": CHUNKED + b";a\r\n",
    "an empty size": CHUNKED + b"\r\n",
    "18 digits": CHUNKED + b"f" * 18,
    "a sign": CHUNKED + b"+5",
    "0x": CHUNKED + b"0x5\r\n",
    "an underscore": CHUNKED + b"1_0\r\n",
    "a space first": CHUNKED + b" 5\r\n",
    "a chunk that goes on": CHUNKED + b"2\r\nabc",
    "a chunk without its end": CHUNKED + b"2\r\nab0\r\n\r\n",
    "bare LF after a size": CHUNKED + b"2\nab",
    "a trailer that is none": CHUNKED + b"0\r\nno colon\r\n",
    "trailers without end": CHUNKED + b"0\r\n" + b"A: b\r\n" * 3000,
    "control characters in an extension": CHUNKED + b"1;\x00\r\n",
    "a chunk for each byte": CHUNKED + b"1\r\nx\r\n" * 1200,
    "a length of words": POST + b"Content-Length: five\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n",
    "a negative length": POST + b"Content-Length: -5\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\n",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "a coding that nobody undoes": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a host that is none": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a host with a name": b"GET / HTTP/1.1\r\nHost: me@a\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n",
    "CR in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: a\n",
    "bare LF among headers": b"GET / HTTP/1.1\r\nHost: a\nX: b",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.1": b"GET / HTTP/3.1\r\nHost: a\r\n\r\n",
    "a method of small letters": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an address with NUL": b"GET /\x00 HTTP/1.1\r\n",
    "an address without end": b"GET /" + b"a" * 9000,
    "headers without end": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_HEAD // 6),
    "a header too long": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
    "empty lines": b"\r\n" * 3,
}


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_refused_as_soon_as_it_shows(data: bytes, step: int) -> None:
    with pytest.raises(ParseException):
        requests(data, step, 10**6)


def test_the_end_of_a_head_is_found_in_pieces_of_it() -> None:
    read = reader()
    for piece in (GET[:-3], GET[-3:-1]):
        read.feed(memoryview(piece))
        assert read.next_request() is None
        assert read.phase == "head"
    read.feed(memoryview(GET[-1:]))
    assert read.next_request().path == "/a"
