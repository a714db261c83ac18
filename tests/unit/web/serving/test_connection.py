from __future__ import annotations

import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.config import Config

from web.download import paced
from web.serving.client import network_of
from web.serving.connection import KEPT_ALIVE, LEAST_SPEED, Connection, Output, Phase
from web.serving.request_reader import RequestReader
from web.serving.worker import client_name

ROOT = Path(__file__).parents[4]
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def connection(pair: tuple[socket.socket, socket.socket]) -> Connection:
    client = ("127.0.0.1", 1)
    return Connection(pair[0], client, ("127.0.0.1", 2), RequestReader(Config(), client, 10**7), 100.0)


def receive(connection: Connection, data: bytes, now: float) -> None:
    connection.reader.feed(memoryview(data))
    assert connection.reader.next_request() is None
    connection.note_progress(now)


def test_a_new_connection_may_be_silent_for_as_long_as_a_head_may_take(connection: Connection) -> None:
    assert not connection.is_overdue(120)
    assert connection.is_overdue(120.1)


def test_a_head_has_one_deadline_however_its_bytes_come(connection: Connection) -> None:
    for second in range(20):
        receive(connection, HEAD[second : second + 1], 100.0 + second)
    assert not connection.is_overdue(120)
    assert connection.is_overdue(120.1)


def test_a_body_that_drips_ends_and_one_of_an_honest_speed_goes_on(connection: Connection) -> None:
    receive(connection, HEAD, 110)
    for second in range(20):
        receive(connection, b"a", 110.0 + second)
    assert connection.is_overdue(130.1)
    receive(connection, b"a" * LEAST_SPEED * 5, 130.1)
    assert not connection.is_overdue(134.9)
    assert connection.is_overdue(135.1)


def test_a_body_that_stops_ends_though_much_of_it_has_come(connection: Connection) -> None:
    receive(connection, HEAD + b"a" * 900_000, 110)
    assert not connection.is_overdue(130)
    assert connection.is_overdue(130.1)


def test_a_connection_that_had_its_response_is_kept_for_longer(connection: Connection) -> None:
    connection.requests = 1
    connection.enter(Phase.READING, 200)
    assert not connection.is_overdue(200 + KEPT_ALIVE)
    assert connection.is_overdue(200 + KEPT_ALIVE + 1)
    receive(connection, b"GET", 270)
    assert not connection.is_overdue(290)
    assert connection.is_overdue(290.1)


def test_a_response_waits_for_a_client_that_reads_slowly_without_blocking(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    ours.setblocking(False)
    output, response = Output(ours), bytes(range(256)) * 20_000
    output.sendall(response)
    assert not output.flush()
    assert output.sent + len(output) == len(response)
    read = bytearray()
    while len(read) < len(response):
        read += theirs.recv(1 << 20)
        output.flush()
    assert read == response
    assert output.flush()


def test_a_long_response_is_made_as_fast_as_its_client_reads(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.setblocking(False)
    output, parts, most = Output(ours), 40, 300_000
    unsent: list[int] = []

    def made() -> Iterator[bytes]:
        for number in range(parts):
            unsent.append(len(output))
            yield bytes([number]) * 200_000

    def send() -> None:
        for part in paced(made(), output, most):
            output.sendall(part)
        while not output.flush():
            time.sleep(0.001)
        ours.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    read = bytearray()
    while data := theirs.recv(1 << 16):
        read += data
    sender.join()
    assert read == b"".join(bytes([number]) * 200_000 for number in range(parts))
    assert max(unsent) <= most


def test_a_long_response_ends_for_a_client_that_does_not_read(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = pair
    ours.setblocking(False)
    monkeypatch.setattr("web.serving.connection.STALLED", 0.1)
    output = Output(ours)
    made = 0
    for part in paced((bytes(200_000) for _ in range(100)), output, 300_000):
        output.sendall(part)
        made += 1
    assert made < 10
    assert output.broken


def test_a_response_to_a_client_that_has_gone_is_dropped(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    output = Output(ours)
    output.sendall(b"late")
    assert output.flush()
    assert output.broken


@pytest.mark.parametrize(("hard", "room"), [(100_000, 4096), (1024, 512)])
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(hard: int, room: int) -> None:
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, min({hard}, "
        "resource.getrlimit(resource.RLIMIT_NOFILE)[1])));"
        "from web.serving.worker import room_for_connections; print(room_for_connections())"
    )
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 5000:
        pytest.skip("this process may not open 5,000 files")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(run.stdout) == room


def test_a_client_is_an_address_or_a_network_of_ipv6() -> None:
    assert client_name(("10.0.0.1", 5)) == "10.0.0.1"
    assert client_name(("::ffff:10.0.0.1", 5, 0, 0)) == "::ffff:10.0.0.1"
    assert client_name(("2001:db8::1", 5, 0, 0)) == client_name(("2001:db8::abcd:2", 6, 0, 0))
    assert client_name(("2001:db8:0:1::1", 5, 0, 0)) != client_name(("2001:db8::1", 5, 0, 0))
    assert network_of("2001:db8::1") == network_of("2001:db8::2") != network_of("2001:db8:0:1::1")
    assert network_of("[::1]:80, unknown") == "[::1]:80, unknown"  # as a proxy may say
