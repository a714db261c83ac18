"""gunicorn's worker: time limits on stalled clients, and problem documents for requests that never reach Flask."""

from __future__ import annotations

import errno
import json
import logging
import secrets
import socket
from typing import Any

from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.exceptions import RequestTimeout
from werkzeug.http import HTTP_STATUS_CODES

log = logging.getLogger(__name__)

STALLED = 20
"""Seconds after which a connection closes whose client neither sends the rest of its request nor reads its response."""
STALL = f"nothing came for {STALLED} seconds in the middle of the request: send it again"

REFUSED: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "the address is longer than 8190 bytes: say the rest in the body"),
    errors.LimitRequestHeaders: (431, "the headers are too long or too many"),
    errors.UnsupportedTransferCoding: (501, "of transfer codings only `chunked` is understood"),
    errors.ExpectationFailed: (417, "of expectations only `100-continue` is understood"),
    errors.InvalidResponseHeader: (500, ""),
    errors.InvalidResponseHeaderName: (500, ""),
    RequestTimeout: (408, STALL),
    errors.ParseException: (400, "the request is not HTTP as it should be"),
    Exception: (500, ""),
}
"""HTTP status and detail of each error of gunicorn; the first class that it is an instance of counts."""


class _Connection(socket.socket):
    """A client's connection that times out, since each connection that waits occupies a thread."""

    def setblocking(self, flag: bool) -> None:
        """Block for at most STALLED seconds, or not at all."""
        self.settimeout(STALLED if flag else 0)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive up to `size` bytes. Raises RequestTimeout, which Flask handles as well, after STALLED seconds."""
        try:
            return super().recv(size, flags)
        except TimeoutError:
            if self.gettimeout() != STALLED:  # a shorter timeout, which gunicorn itself set and handles
                raise
            raise RequestTimeout(STALL) from None

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything; each part of it that the client reads starts the timeout anew."""
        left = memoryview(data)
        try:
            while left:
                left = left[self.send(left, flags) :]
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "the client has stopped reading its response") from None


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker with these connections; a request that it rejects gets a problem document."""

    def enqueue_req(self, conn: Any) -> None:
        """Hand a readable connection to a thread."""
        if not isinstance(conn.sock, _Connection):
            conn.sock = _Connection(fileno=conn.sock.detach())
        super().enqueue_req(conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Respond to a request that could not be parsed or that failed outside Flask; the connection closes."""
        from web.problems import MEDIA_TYPE  # not above: gunicorn loads this module before the fork, the engine after

        status, detail = next(response for kind, response in REFUSED.items() if isinstance(exc, kind))
        request_id = secrets.token_hex(8)
        fields = {"request_id": request_id, "status": status, "client": addr[0] if addr else ""}
        if status == 500:
            detail = "The server's log has the details under this request id."
            log.error("a request failed outside the application", exc_info=exc, extra={"fields": fields})
        else:
            log.info("refused: %s", exc, extra={"fields": fields})
        title = HTTP_STATUS_CODES[status]
        document = {
            "type": f"urn:kvasir:{title.lower().replace(' ', '-')}",
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": request_id,
        }
        body = json.dumps(document)
        head = f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: {MEDIA_TYPE}\r\n"
        head += f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        try:
            client.sendall((head + body).encode("ascii"))
        except OSError:
            log.debug("the client of a refused request has gone")
