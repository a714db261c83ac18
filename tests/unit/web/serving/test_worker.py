"""The event loop of the server's worker, where one connection is closed for another's sake."""

from __future__ import annotations

import selectors
import socket
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("gunicorn.http", reason="gunicorn does not run on Windows")

from gunicorn.config import Config
from werkzeug.exceptions import ServiceUnavailable

from web.serving.connection import Connection, Phase
from web.serving.request_reader import RequestReader
from web.serving.worker import RECEIVE_SIZE, Worker

CLIENT = ("127.0.0.1", 1)
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def worker() -> Iterator[Any]:
    """A worker before its loop, with what `run` sets up for its connections."""
    made: Any = Worker.__new__(Worker)
    with selectors.DefaultSelector() as made.poller:
        made._waiting, made._opened_by, made._open = defaultdict(dict), defaultdict(int), {}
        made._memory, made._draining = 0, deque()
        made._scratch = memoryview(bytearray(RECEIVE_SIZE))
        yield made


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the worker's."""
    client, server = socket.socketpair()
    with client, server:
        client.settimeout(20)
        yield client, server


@pytest.fixture
def connection(worker: Any, sockets: tuple[socket.socket, socket.socket]) -> Connection:
    """A connection that waits for a request."""
    made = Connection(sockets[1], CLIENT, ("127.0.0.1", 2), RequestReader(Config(), CLIENT, 10**7), 100.0)
    worker._open[made] = None
    worker._opened_by[CLIENT[0]] += 1
    worker._await(made, selectors.EVENT_READ, worker._read)
    return made


def test_a_connection_that_was_refused_runs_no_request_that_had_been_reported(
    worker: Any, connection: Connection, sockets: tuple[socket.socket, socket.socket]
) -> None:
    sockets[0].sendall(b"\r\n")
    ((key, _),) = worker.poller.select(20)
    worker._refuse(connection, ServiceUnavailable())  # by another connection of the same turn
    sockets[0].sendall(GET)
    key.data(key.fileobj)
    assert connection.phase is Phase.LINGERING
    assert connection.request is None
    answer = b"".join(iter(lambda: sockets[0].recv(65536), b""))
    assert answer.count(b"HTTP/1.1") == answer.count(b"HTTP/1.1 503") == 1


def test_the_memory_of_a_connection_that_was_closed_is_subtracted_once(
    worker: Any, connection: Connection, sockets: tuple[socket.socket, socket.socket]
) -> None:
    worker._stop_waiting(connection)
    connection.sock.sendall(bytes(8 * 2**20))  # more than the system takes
    worker._finish(connection, keep=True)
    assert connection.phase is Phase.WRITING
    assert worker._memory == connection.counted > 0
    sockets[0].recv(2**20)
    ((key, _),) = worker.poller.select(20)
    worker._close(connection)
    key.data(key.fileobj)
    assert worker._memory == 0
