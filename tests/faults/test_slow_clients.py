"""Clients that are silent, slow, or do not read, beside one that goes on asking: it has every answer, and no 5xx.

By hand `pytest tests/faults/test_slow_clients.py --rounds 60` goes on for so many seconds in each attack. The counts
have the steady client's 95th percentile in milliseconds, idle and under attack.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="clients take several addresses of 127.0.0.0/8")

BEGUN = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
DOCUMENT = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
REQUESTS_IDLE = 60


@dataclass(frozen=True)
class Attack:
    """Connections, what each sends first, and what it adds now and again; none ever reads."""

    connections: int
    first: bytes
    then: bytes = b""


ATTACKS = {
    "silent": Attack(2000, b""),
    "kept alive": Attack(500, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    "heads that drip": Attack(200, BEGUN + b"X-Slow: ", b"a"),
    "bodies that drip": Attack(200, POST + b"Content-Length: 90000\r\n\r\n", b"a"),
    "chunks that drip": Attack(200, POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "responses that nobody reads": Attack(40, DOCUMENT * 60),
    "bodies that promise and end": Attack(200, POST + b"Content-Length: 20000000\r\n\r\n" + bytes(1000)),
}


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("this process may not open 3,000 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def p95(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 95))


def timed(api: httpx.Client, number: int) -> float:
    """Seconds of one request of the steady client, which has to succeed."""
    begun = time.perf_counter()
    response = api.get("/healthz") if number % 10 == 0 else api.get("/api/v1/images/3/similar?k=5")
    assert response.status_code == 200, response.text
    return time.perf_counter() - begun


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_others_are_answered_meanwhile(
    served: Any, attack: Attack, rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    url = httpx.URL(served.url)
    with contextlib.ExitStack() as clients, httpx.Client(base_url=url, timeout=30) as api:
        idle = [timed(api, number) for number in range(REQUESTS_IDLE)]
        attackers = []
        for number in range(attack.connections):
            source = (f"127.0.{1 + number % 20}.1", 0)  # so that no address reaches its own limit
            one = clients.enter_context(socket.create_connection((url.host, url.port), 30, source))
            one.settimeout(0.01)
            with contextlib.suppress(OSError):  # one that does not read cannot send for ever
                one.sendall(attack.first)
            attackers.append(one)
        under: list[float] = []
        end, dripped = time.monotonic() + rounds(2), time.monotonic()
        while time.monotonic() < end:
            under.append(timed(api, len(under)))
            if attack.then and time.monotonic() - dripped > 2:
                dripped = time.monotonic()
                for one in attackers:
                    with contextlib.suppress(OSError):  # those whose time is over are closed
                        one.sendall(attack.then)
    tally(
        connections=len(attackers), answers=len(under), p95_idle=f"{1e3 * p95(idle):.1f}", p95=f"{1e3 * p95(under):.1f}"
    )
    said = served.log.read_text()
    assert '"level": "error"' not in said
    assert "Traceback" not in said


def test_one_address_with_thousands_of_connections_closes_its_own(served: Any, tally: Callable[..., None]) -> None:
    url = httpx.URL(served.url)
    with contextlib.ExitStack() as clients:
        silent = [clients.enter_context(socket.create_connection((url.host, url.port), 30)) for _ in range(1000)]
        assert httpx.get(f"{served.url}/healthz", timeout=30).status_code == 200
        closed = 0
        for one in silent:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                closed += one.recv(1) == b""
    tally(connections=len(silent), closed=closed)
    assert closed >= 1000 - 256
