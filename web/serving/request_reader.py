"""HTTP/1.1 requests out of the bytes of one connection, without any input or output: bytes in, whole requests out.

gunicorn parses heads. Bodies are read here: gunicorn's readers block, and so would need a thread for each client.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, Literal

from gunicorn.http.errors import (
    InvalidHeader,
    InvalidRequestLine,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

MAX_HEAD = 64 * 1024
MAX_SIZE_LINE = 1024
MAX_TRAILERS = 8 * 1024
SMALL_CHUNKS = 1000
"""Chunks that may have any size; all together then have MEAN_CHUNK bytes each, so that parsing stays cheap."""
MEAN_CHUNK = 64
JUDGED_AT = (128 * 1024, 1024 * 1024)
"""Bytes of a body from which on its start is judged, once each."""

Judge = Callable[[Any, bytes], Exception | None]
"""(request, first bytes of its body) -> why the rest need not come, or None."""

_BARE_LF = re.compile(rb"(?<!\r)\n")
_LINE_BEGUN = re.compile(rb"[\x20-\x7e]*\r?")
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,16}(?:[ \t;].*|\r)?", re.DOTALL)
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class InvalidHost(ParseException):  # type: ignore[misc]
    """A request of HTTP/1.1 names no host, or one that cannot be."""


class InvalidChunk(ParseException):  # type: ignore[misc]
    """A chunked body is malformed."""


class BodyTooLarge(Exception):  # noqa: N818
    """A body is larger than the limit."""


class RefusedBody(io.RawIOBase):
    """The body of a request whose start was refused: reading it raises the reason."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self._reason = reason

    def read(self, size: int = -1) -> bytes:
        """Raise the reason, in the view that would read the picture: keys and rates come before."""
        raise self._reason

    def readinto(self, buffer: Any) -> int:
        """Likewise."""
        raise self._reason


class _Head(Unreader):  # type: ignore[misc]
    """The bytes of one head, for gunicorn's parser."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        self.unread(head)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Nothing follows."""
        return b""


class _LengthBody:
    """A body whose length the head states."""

    def __init__(self, length: int) -> None:
        self.data = io.BytesIO()
        self._left = length

    def receive(self, data: memoryview) -> int:
        """Take bytes that have just come, without a detour; returns how many belong to the body."""
        count = self.data.write(data[: self._left])
        self._left -= count
        return count

    def take(self, buffer: bytearray) -> bool:
        """Move what belongs to the body out of the buffer; whether it is whole."""
        self._left -= _move(buffer, self.data, self._left)
        return not self._left


class _ChunkedBody:
    """A body of chunks (RFC 9112, section 7.1), whose trailers are dropped."""

    def __init__(self, most: int) -> None:
        self.data = io.BytesIO()
        self._most = most
        self._left = 0
        self._chunks = 0
        self._trailers = 0
        self._expected: Literal["size", "data", "end of data", "trailers"] = "size"

    def take(self, buffer: bytearray) -> bool:
        """Move what belongs to the body out of the buffer; whether it is whole. Raises InvalidChunk, BodyTooLarge."""
        while True:
            if self._expected == "data":
                self._left -= _move(buffer, self.data, self._left)
                if self._left:
                    return False
                self._expected = "end of data"
            line = self._line(buffer)
            if line is None:
                return False
            if self._expected == "end of data":
                if line:
                    raise InvalidChunk("a chunk is longer than its size")
                self._expected = "size"
            elif self._expected == "size":
                self._begin(line)
            elif not line:
                return True
            elif not _TRAILER.fullmatch(line):
                raise InvalidChunk("a malformed trailer")

    def _line(self, buffer: bytearray) -> bytes | None:
        """The next line without its end, or None where it has not come yet."""
        most = {"size": MAX_SIZE_LINE, "end of data": 0}.get(self._expected, MAX_TRAILERS)
        end = buffer.find(b"\n")
        if (len(buffer) - 1 if end < 0 else end - 1) > most:
            raise InvalidChunk("a line between chunks is too long")
        if end < 0:
            if self._expected == "size" and not _SIZE_BEGUN.fullmatch(buffer):
                raise InvalidChunk("a chunk's size is no hexadecimal number")
            if self._expected == "end of data" and not b"\r".startswith(buffer[:1]):
                raise InvalidChunk("a chunk is longer than its size")
            return None
        if buffer[end - 1 : end] != b"\r":
            raise InvalidChunk("bare LF as line terminator")
        line = bytes(buffer[: end - 1])
        del buffer[: end + 1]
        if self._expected == "trailers":
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS:
                raise InvalidChunk("too many trailers")
        return line

    def _begin(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise InvalidChunk("a chunk's size is no hexadecimal number")
        self._left = int(match[1], 16)
        self._expected = "data" if self._left else "trailers"
        self._chunks += 1
        received = self.data.tell()
        if received + self._left > self._most:
            raise BodyTooLarge
        if self._chunks > SMALL_CHUNKS + received // MEAN_CHUNK:
            raise InvalidChunk("the chunks are too small")


class RequestReader:
    """Reads the requests of one connection, one after the other, in memory.

    most: bytes that a body may have. A request with more is handed out without its body, with a Content-Length that
    says so, for the application to refuse; nothing after it can be read.
    judge: looks at the start of a large body; what it refuses is handed out as a RefusedBody, likewise.
    """

    def __init__(self, config: Any, peer: Any, most: int, judge: Judge = lambda request, start: None) -> None:
        self._config = config
        self._judge = judge
        self._peer = peer
        self._most = most
        self._buffer = bytearray()
        self._searched = 0
        self._request: Any = None
        self._body: _LengthBody | _ChunkedBody | None = None
        self._judgements = 0

    @property
    def phase(self) -> Literal["idle", "head", "body"]:
        """What it is in the middle of."""
        if self._body is not None:
            return "body"
        return "head" if self._buffer else "idle"

    @property
    def body_size(self) -> int:
        """Bytes of the body that have come."""
        return self._body.data.tell() if self._body is not None else 0

    def feed(self, data: memoryview) -> None:
        """Take what has come."""
        if isinstance(self._body, _LengthBody) and not self._buffer:
            data = data[self._body.receive(data) :]
        self._buffer += data

    def next_request(self) -> Any:
        """The next request if it is whole, as gunicorn's Request with an io.BytesIO for its body; else None.

        Raises ParseException at the first byte that no sound request has.
        """
        if self._body is None:
            self._read_head()
        if self._body is None:
            return None
        try:
            whole = self._body.take(self._buffer)
        except BodyTooLarge:
            return self._done(io.BytesIO(), too_large=True)
        if reason := self._refusal(self._body.data):
            request = self._done(self._body.data)
            request.body = RefusedBody(reason)
            request.force_close()
            return request
        return self._done(self._body.data) if whole else None

    def _refusal(self, data: io.BytesIO) -> Exception | None:
        """Why the body is refused by its start, once enough of it has come."""
        if self._judgements == len(JUDGED_AT) or data.tell() < JUDGED_AT[self._judgements]:
            return None
        while self._judgements < len(JUDGED_AT) and data.tell() >= JUDGED_AT[self._judgements]:
            self._judgements += 1
        with data.getbuffer() as view:
            start = bytes(view[: JUDGED_AT[self._judgements - 1]])
        return self._judge(self._request, start)

    def take_expectation(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body; true once."""
        expected = self._request is not None and self._request._expected_100_continue
        if expected:
            self._request._expected_100_continue = False
        return expected

    def _done(self, body: io.BytesIO, too_large: bool = False) -> Any:
        """Hand the request out, its body in one piece: the application sees a length whatever the coding was."""
        request = self._request
        self._request = self._body = None
        self._judgements = 0
        size = body.tell()
        body.seek(0)
        request.body = body
        request._expected_100_continue = False
        if any(name == "TRANSFER-ENCODING" for name, _ in request.headers):
            request.headers = [pair for pair in request.headers if pair[0] not in ("TRANSFER-ENCODING", "TRAILER")]
            request.headers.append(("CONTENT-LENGTH", str(self._most + 1 if too_large else size)))
        if too_large:
            request.force_close()
        return request

    def _read_head(self) -> None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n") and not self._searched:  # RFC 9112, section 2.2: one empty line is ignored
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 or end > MAX_HEAD:
            self._check_begun()
            self._searched = len(buffer)
            return
        head = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._searched = 0
        request = Request(self._config, _Head(head), self._peer)
        codings = [value for name, value in request.headers if name == "TRANSFER-ENCODING"]
        if codings and [coding.lower() for coding in codings] != ["chunked"]:
            raise UnsupportedTransferCoding(", ".join(codings))
        hosts = [value for name, value in request.headers if name == "HOST"]
        if (request.version >= (1, 1) and not hosts) or not all(map(_HOST.fullmatch, hosts)):
            raise InvalidHost("no host, or one that cannot be")
        self._request = request
        if codings:
            self._body = _ChunkedBody(self._most)
            return
        length: int = request.body.reader.length
        self._body = _LengthBody(length)
        if length > self._most:
            self._body = _LengthBody(0)
            request.force_close()

    def _check_begun(self) -> None:
        """Raise ParseException where no sound head begins like this, instead of waiting for its end."""
        buffer = self._buffer
        line_end = buffer.find(b"\r\n")
        limit = self._config.limit_request_line
        if (len(buffer) if line_end < 0 else line_end) > limit:
            raise LimitRequestLine(len(buffer), limit)
        if len(buffer) > MAX_HEAD:
            raise LimitRequestHeaders("the head is too long")
        if _BARE_LF.search(buffer, max(0, self._searched - 1)):
            raise InvalidHeader("bare LF as line terminator")
        if not _LINE_BEGUN.fullmatch(buffer, 0, len(buffer) if line_end < 0 else line_end):
            raise InvalidRequestLine("control characters in the request line")


def _move(buffer: bytearray, target: io.BytesIO, most: int) -> int:
    """Move up to `most` bytes from the front of the buffer; returns how many."""
    count = min(most, len(buffer))
    with memoryview(buffer) as view:
        target.write(view[:count])
    del buffer[:count]
    return count
