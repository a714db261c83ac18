"""gunicorn's worker: an event loop reads requests, and only a whole request takes a thread.

gunicorn's own threaded worker reads each head and body in the thread that answers it, so as many clients as it has
threads stop it by sending nothing. Its other workers either do the same (sync), patch the standard library under
PyTorch and FAISS (gevent), or speak ASGI. So the loop of the threaded worker is replaced here;
forking, signals, the parser of heads and the writing of responses stay gunicorn's.
"""

from __future__ import annotations

import errno
import json
import logging
import resource
import secrets
import selectors
import socket
import time
from collections import defaultdict, deque
from concurrent.futures import Future
from typing import Any

from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.exceptions import RequestTimeout, ServiceUnavailable
from werkzeug.http import HTTP_STATUS_CODES

from web.serving.client import network_of
from web.serving.connection import MAX_LINGER, Connection, Phase
from web.serving.precedence import MOST_WAIT, PAUSE, before_waiting, is_probe, is_search, least_wait
from web.serving.request_reader import InvalidHost, RequestReader

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 4096
MAX_OF_CLIENT = 256
"""Connections of all clients and of one address. Beyond, the one that has waited longest is closed for the new one."""
MAX_MEMORY = 256 * 2**20
"""Bytes of bodies and of responses that are read slowly, together. Beyond, the slowest client's connection closes."""
SPARE_FILES = 512
"""Files that are open besides connections."""
SEND_BUFFER = 128 * 1024
"""Bytes that the system takes of a response before the client reads; else up to 4 MiB, for as many further requests."""
RECEIVE_SIZE = 256 * 1024
DRAIN_SECONDS = 0.005
"""Between two pieces of what follows refused requests, of all clients together: 50 MB a second beside searches."""
DRAINED_AT_ONCE = 64
"""Connections that are looked at until one has sent a piece."""
CALM = 1.0
"""Seconds without a search after which such pieces are received as fast as they come."""
ACCEPTED_AT_ONCE = 64
TICK = 0.5
"""Seconds between two looks at the clock."""
WARNING_SECONDS = 60
"""Between two warnings that connections are closed for want of room."""
SETTLE = 0.5
"""Seconds after SIGTERM in which connections that had begun can still arrive: a round trip."""
LAST_IDLE = 2
"""Seconds after SIGTERM in which a request may still come on an open connection."""
UNUSED_GRACE = 2
"""Seconds of gunicorn's grace that are left for the process to end."""

REFUSED: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "the address is longer than 8190 bytes: say the rest in the body"),
    errors.LimitRequestHeaders: (431, "the headers are too long or too many"),
    errors.UnsupportedTransferCoding: (400, "of transfer codings only `chunked` is understood"),
    errors.ExpectationFailed: (417, "of expectations only `100-continue` is understood"),
    errors.InvalidResponseHeader: (500, ""),
    errors.InvalidResponseHeaderName: (500, ""),
    InvalidHost: (400, "HTTP/1.1 needs one header Host with the name of this server"),
    RequestTimeout: (408, "the rest of the request came too slowly or not at all: send it again"),
    ServiceUnavailable: (503, "the server stops or has too much to receive at once: send the request again"),
    errors.ParseException: (400, "the request is not HTTP as it should be"),
    Exception: (500, ""),
}
"""HTTP status and detail of each error; the first class that it is an instance of counts."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """The event loop. All but `handle` runs in the main thread."""

    def run(self) -> None:
        """Serve until a signal ends it, then drain."""
        settings = self.wsgi.extensions["kvasir"].settings
        self._most = self.wsgi.config["MAX_CONTENT_LENGTH"]
        self._max_pixels = settings.max_pixels
        self._room = room_for_connections()
        # Behind a proxy all connections come from its address.
        self._room_of_client = self._room if settings.proxies else min(MAX_OF_CLIENT, self._room)
        self._waiting: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._open: dict[Connection, None] = {}
        self._opened_by: defaultdict[str, int] = defaultdict(int)
        self._memory = 0
        self._searching: set[Connection] = set()
        self._beginning: set[Connection] = set()
        self._postponed: deque[tuple[float, Connection]] = deque()
        self._draining: deque[Connection] = deque()
        self._drained = self._searched = self._search_ended = 0.0
        self._scratch = memoryview(bytearray(RECEIVE_SIZE))
        self._looked = 0.0
        self._warned = -float(WARNING_SECONDS)
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        for listener in self.sockets:
            listener.setblocking(False)
            self.poller.register(listener, selectors.EVENT_READ, self.accept)
        while self.alive and self.is_parent_alive():
            self._turn()
        self._drain()

    def _turn(self) -> None:
        for key, _ in self.poller.select(self._patience()):
            key.data(key.fileobj)
        now = time.monotonic()
        self._begin_postponed(now)
        if self._draining and now - self._drained >= DRAIN_SECONDS:
            looked_at = range(min(len(self._draining), DRAINED_AT_ONCE))
            received = any(self._drop(self._draining.popleft()) for _ in looked_at)
            if not received or now - self._searched < CALM:
                self._drained = now
        if now - self._looked > TICK:
            self._looked = now
            self.notify()
            for connection in [each for waiting in self._waiting.values() for each in waiting]:
                if connection.is_overdue(now):
                    self._end_overdue(connection)

    def _patience(self) -> float:
        """Seconds to wait for a connection to become ready."""
        if self._draining:
            return max(0.0, self._drained + DRAIN_SECONDS - time.monotonic())
        if not self._postponed:
            return TICK
        if self._searching or self._beginning:
            return MOST_WAIT / 4
        return max(0.0, self._search_ended + PAUSE - time.monotonic())

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End at once, with the evaluation that runs."""
        if self.booted:
            self.wsgi.extensions["kvasir"].stop_jobs()
        super().handle_quit(sig, frame)

    def _drain(self) -> None:
        """Accept what has begun to connect, stop listening, and answer: nobody is reset.

        Where the server stops, its master lets no connection begin any more; where it reloads, others go on listening.
        """
        self.alive = False
        began = time.monotonic()
        self.wsgi.extensions["kvasir"].stop_jobs()
        while time.monotonic() - began < SETTLE:
            self._turn()
        for listener in self.sockets:
            self.accept(listener)
            self.poller.unregister(listener)
            listener.close()
        while self._open and time.monotonic() - began < self.cfg.graceful_timeout - UNUSED_GRACE:
            self._turn()
            if time.monotonic() - began > LAST_IDLE:
                for connection in list(self._open):
                    if connection.phase is Phase.READING and connection.reader.phase == "idle":
                        self._close(connection)
        for connection in list(self._open):
            if connection.phase is Phase.READING:
                self._refuse(connection, ServiceUnavailable())
        self.tpool.shutdown(wait=False)

    # Connections

    def accept(self, listener: socket.socket) -> None:
        """Accept connections, and read what has come on them already."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                client_socket, client = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._evict(None)
                elif error.errno != errno.ECONNABORTED:
                    raise
                return
            name = client_name(client)
            if self._opened_by[name] >= self._room_of_client:
                self._evict(name)
            if len(self._open) >= self._room:
                self._evict(None)
            now = time.monotonic()
            client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            reader = RequestReader(self.cfg, client, self._most, self._judge)
            connection = Connection(client_socket, client, listener.getsockname(), reader, now)
            self._open[connection] = None
            self._opened_by[name] += 1
            if self._opened_by[name] > self._room_of_client or len(self._open) > self._room:
                self._refuse(connection, ServiceUnavailable())  # all others wait for responses
            else:
                self._await(connection, selectors.EVENT_READ, self._read)
                self._read(connection)

    def _await(self, connection: Connection, event: int, callback: Any) -> None:
        self.poller.register(connection, event, callback)
        self._waiting[client_name(connection.client)][connection] = None

    def _stop_waiting(self, connection: Connection) -> None:
        waiting = self._waiting[client_name(connection.client)]
        if connection in waiting:
            if connection.phase is not Phase.LINGERING:
                self.poller.unregister(connection)
            del waiting[connection]

    def _evict(self, name: str | None) -> None:
        """Close the connection that has waited longest, of one client, or of the one with the most that wait."""
        if name is None:
            name = max(self._waiting, key=lambda each: len(self._waiting[each]), default="")
        if (now := time.monotonic()) - self._warned > WARNING_SECONDS:
            self._warned = now
            log.warning(
                "%d connections are open, %d of them of %s: those that have waited longest are closed for new ones",
                *(len(self._open), self._opened_by.get(name, 0), name),
            )
        if longest := next(iter(self._waiting.get(name, ())), None):
            self._close(longest)

    def _close(self, connection: Connection) -> None:
        if connection not in self._open:  # closed for another's sake after the poller had reported it
            return
        self._stop_waiting(connection)
        del self._open[connection]
        self._memory -= connection.counted
        name = client_name(connection.client)
        self._opened_by[name] -= 1
        if not self._opened_by[name]:
            del self._opened_by[name], self._waiting[name]
        connection.socket.close()

    def _end_overdue(self, connection: Connection) -> None:
        if connection.phase is Phase.READING and connection.part != "idle":
            self._refuse(connection, RequestTimeout())
        else:
            self._close(connection)

    # Requests

    def _received(self, connection: Connection) -> int | None:
        """Bytes that arrived, now in the scratch; 0 where the client has gone, None where there are none yet."""
        try:
            return connection.socket.recv_into(self._scratch)
        except BlockingIOError:
            return None
        except OSError:
            return 0

    def _read(self, connection: Connection) -> None:
        if connection.phase is not Phase.READING:  # refused for another's sake after the poller had reported it
            return
        count = self._received(connection)
        if count is None:
            return
        if not count:
            self._close(connection)
            return
        connection.reader.feed(self._scratch[:count])
        self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        """Run the connection's next request where it is whole."""
        try:
            request = connection.reader.next_request()
        except errors.ParseException as error:
            self._refuse(connection, error)
            return
        if request is not None:
            self._stop_waiting(connection)
            connection.enter(Phase.RUNNING, time.monotonic())
            connection.request = request
            self._count_memory(connection)
            connection.requests += 1
            self._begin(connection)
            return
        connection.note_progress(time.monotonic())
        if connection.reader.take_expectation():
            connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sock.flush()
        self._count_memory(connection)

    def _count_memory(self, connection: Connection) -> None:
        size = connection.size
        self._memory += size - connection.counted
        connection.counted = size
        if self._memory > MAX_MEMORY:
            waiting = [each for waiting in self._waiting.values() for each in waiting if each.size]
            now = time.monotonic()
            slowest = min(waiting, key=lambda each: each.speed(now), default=None)
            if slowest is None:
                return
            if slowest.phase is Phase.READING:
                self._refuse(slowest, ServiceUnavailable())
            else:
                self._close(slowest)

    def _refuse(self, connection: Connection, error: Exception) -> None:
        """Respond to what is not, or not yet, a request, and close."""
        self._stop_waiting(connection)
        self.handle_error(None, connection.sock, connection.client, error)
        self._finish(connection, keep=False)

    def _judge(self, request: Any, start: bytes) -> Exception | None:
        """Why a picture is refused whose start has come."""
        from web.serving.body_start import header, refusal  # not above: the engine is loaded after the fork

        return refusal(request.path, header(request, "CONTENT-TYPE"), start, self._max_pixels)

    def _begin(self, connection: Connection) -> None:
        """Run a request now, or after the searches."""
        if is_search(connection.request):
            self._searching.add(connection)
            self._searched = time.monotonic()
            self.enqueue_req(connection)
        elif is_probe(connection.request):
            self.enqueue_req(connection)
        else:
            now = time.monotonic()
            self._postponed.append((now, connection))
            self._begin_postponed(now)

    def _begin_postponed(self, now: float) -> None:
        """Run the requests whose turn it is."""
        while self._postponed:
            least = least_wait(bool(self._beginning), bool(self._searching), now - self._search_ended)
            if now - self._postponed[0][0] < least:
                return
            _, connection = self._postponed.popleft()
            self._beginning.add(connection)
            self.enqueue_req(connection)

    def _has_begun(self, connection: Connection) -> None:
        """Let the next request begin: this one waits, or has its response."""
        now = time.monotonic()
        if connection in self._searching:
            self._searching.remove(connection)
            self._search_ended = now
        self._beginning.discard(connection)
        self._begin_postponed(now)

    def handle(self, connection: Connection) -> bool:
        """Run the application, in a thread; whether the connection goes on."""
        request = connection.request
        if connection in self._beginning:
            before_waiting.set(lambda: self.method_queue.defer(self._has_begun, connection))
        else:
            before_waiting.set(lambda: None)
        try:
            keep = bool(self.handle_request(request, connection))
        except StopIteration:  # the application failed in the middle of its response
            keep = False
        except Exception as error:
            self.handle_error(request, connection.sock, connection.client, error)
            keep = False
        connection.sock.flush()
        return keep and not request.should_close()

    def finish_request(self, connection: Connection, future: Future[bool]) -> None:
        """Go on with a connection whose request has its response."""
        connection.request = None
        self._has_begun(connection)
        self._finish(connection, keep=future.exception() is None and future.result())

    def _finish(self, connection: Connection, keep: bool) -> None:
        """Wait until the client has read its response, then for its next request or for its end."""
        now = time.monotonic()
        self._memory -= connection.counted
        connection.counted = 0
        if not connection.sock.flush():
            connection.enter(Phase.WRITING, now)
            self._await(connection, selectors.EVENT_WRITE, lambda each: self._write(each, keep))
            self._count_memory(connection)
        elif connection.sock.broken:
            self._close(connection)
        elif keep:
            connection.enter(Phase.READING, now)
            self._await(connection, selectors.EVENT_READ, self._read)
            if connection.reader.phase != "idle":  # requests that came together
                self._advance(connection)
        else:
            connection.enter(Phase.LINGERING, now)
            try:
                connection.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self._close(connection)
                return
            self._waiting[client_name(connection.client)][connection] = None
            self._drop(connection)

    def _write(self, connection: Connection, keep: bool) -> None:
        if connection.phase is not Phase.WRITING or connection not in self._open:  # likewise, or closed
            return
        sent = connection.sock.sent
        done = connection.sock.flush()
        if connection.sock.sent > sent:
            connection.heard = time.monotonic()
        if done:
            self._stop_waiting(connection)
            self._finish(connection, keep)

    def _drop(self, connection: Connection) -> bool:
        """Receive a piece of what follows a request whose connection closes; whether there was one.

        Not as fast as it comes: receiving takes time from the searches, and nobody needs what is received here.
        """
        if connection not in self._open:
            return False
        count = self._received(connection)
        if count is not None:
            connection.received += count
            connection.heard = time.monotonic()
        if count == 0 or connection.received > MAX_LINGER:
            self._close(connection)
        else:
            self._draining.append(connection)
        return bool(count)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
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
        if status == 503:
            head += "Retry-After: 1\r\n"
        head += f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        client.sendall((head + body).encode("ascii"))


def client_name(client: Any) -> str:
    """Whom a connection counts for, by its address as the socket has it."""
    return network_of(str(client[0]))


def room_for_connections() -> int:
    """Raise the limit of open files as far as connections need it; returns how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(16, min(MAX_CONNECTIONS, soft - SPARE_FILES))
