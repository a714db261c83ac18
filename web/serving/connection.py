"""A client's connection: what it has sent, what is still to be sent to it, and how long it may take."""

from __future__ import annotations

import errno
import select
import socket
import time
from enum import Enum
from typing import Any

from web.serving.request_reader import RequestReader

HEAD_SECONDS = 20
"""Within which a head is whole, or a new connection says anything."""
BODY_SECONDS = 20
"""Within which a body is whole, and LEAST_SPEED for what has come; likewise a response that the client reads."""
LEAST_SPEED = 16 * 1024
"""Bytes a second."""
STALLED = 20
"""Seconds after which a connection closes whose client neither sends the rest of its request nor reads its response."""
KEPT_ALIVE = 75
"""Seconds between two requests: longer than clients keep a connection, so that theirs is the end that closes."""
LINGER_SILENCE = 2
LINGER_SECONDS = 60
MAX_LINGER = 64 * 2**20
"""Silence in seconds, time in seconds and bytes for which the end of a client's request is still received and dropped
after the response: closing at once would reset the connection, and with it the response that is on its way."""

SEND_SIZE = 256 * 1024
"""Bytes of a response that are collected before they are sent."""


class Phase(Enum):
    """What a connection waits for."""

    READING = "a request"
    RUNNING = "its response"
    WRITING = "the client to read its response"
    LINGERING = "the client to close it"


class Output:
    """The socket that gunicorn's Response writes to: it never blocks, and what the client does not read yet waits."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unsent = bytearray()
        self.sent = 0
        self.broken = False

    def __len__(self) -> int:
        return len(self._unsent)

    def sendall(self, data: bytes) -> None:
        """Add to the response."""
        self._unsent += data
        if len(self._unsent) >= SEND_SIZE:
            self.flush()

    def flush(self) -> bool:
        """Send what the client takes at once; whether nothing is left."""
        while self._unsent and not self.broken:
            try:
                with memoryview(self._unsent) as view:
                    count = self._socket.send(view)
            except BlockingIOError:
                return False
            except OSError:
                self.broken = True  # the client has gone
                break
            self.sent += count
            del self._unsent[:count]
        self._unsent.clear()
        return True

    def wait(self, most: int) -> bool:
        """Wait until all but `most` bytes are sent, in the thread that makes a long response; whether that was in time.

        Such a response is made piece by piece, so that memory has a few pieces of it and not the whole.
        """
        poller = select.poll()
        poller.register(self._socket, select.POLLOUT)
        began = heard = time.monotonic()
        before = last = self.sent
        while not self.flush() and len(self._unsent) > most:
            poller.poll(1000)
            now = time.monotonic()
            if self.sent > last:
                heard, last = now, self.sent
            if now - heard > STALLED or now - began > BODY_SECONDS + (self.sent - before) / LEAST_SPEED:
                self.broken = True
        return not self.broken

    def shutdown(self, how: int) -> None:
        """Part of a socket that gunicorn uses where an application fails in the middle of its response."""
        raise OSError(errno.ENOTCONN, "the connection closes once the response is sent")

    def close(self) -> None:
        """Likewise: nothing is to be done."""


class Connection:
    """The state of one connection. Times are those of time.monotonic()."""

    def __init__(self, sock: socket.socket, client: Any, server: Any, reader: RequestReader, now: float) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.client = client
        self.server = server
        self.reader = reader
        self.sock = Output(sock)  # under gunicorn's name
        self.phase = Phase.READING
        self.part: str = "idle"
        self.request: Any = None
        self.requests = 0
        self.received = 0
        """Bytes of the body being read, or dropped while lingering."""
        self.counted = 0
        """What the worker has counted of `size`."""
        self.began = self.heard = now
        """When this part of the exchange began, and when the client last took part in it."""

    def fileno(self) -> int:
        """For the poller."""
        return self.socket.fileno()

    def enter(self, phase: Phase, now: float) -> None:
        """Begin the next part of the exchange."""
        self.phase = phase
        self.began = self.heard = now
        self.received = self.sock.sent = 0
        self.part = "idle"

    def note_progress(self, now: float) -> None:
        """Take account of what the reader has; the clock of a head runs from its first byte, or from the connection."""
        self.heard = now
        part = self.reader.phase
        if part != self.part:
            self.part = part
            if self.requests or part == "body":
                self.began = now
        self.received = self.reader.body_size

    @property
    def size(self) -> int:
        """Bytes of memory that its body and its response take."""
        return self.body_size + len(self.sock)

    @property
    def body_size(self) -> int:
        """Bytes of its body that are in memory."""
        if self.request is None:
            return self.reader.body_size
        return self.request.body.getbuffer().nbytes if hasattr(self.request.body, "getbuffer") else 0

    def speed(self, now: float) -> float:
        """Bytes a second in this part of the exchange."""
        return (self.received + self.sock.sent) / (now - self.began + 1)

    def is_overdue(self, now: float) -> bool:
        """Whether the client takes longer than it may."""
        taken, silent = now - self.began, now - self.heard
        if self.phase is Phase.LINGERING:
            return silent > LINGER_SILENCE or taken > LINGER_SECONDS
        if self.phase is Phase.READING and self.part == "idle":
            return taken > (KEPT_ALIVE if self.requests else HEAD_SECONDS)
        if self.phase is Phase.READING and self.part == "head":
            return silent > STALLED or taken > HEAD_SECONDS
        return silent > STALLED or taken > BODY_SECONDS + (self.received + self.sock.sent) / LEAST_SPEED
