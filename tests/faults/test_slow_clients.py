"""Clients that are silent, slow, or do not read, beside one that goes on asking: it has every answer, and no 5xx.

By hand `pytest tests/faults/test_slow_clients.py --rounds 60` goes on for so many seconds in each attack. The counts
have the steady client's 95th percentile in milliseconds, idle and under attack.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

BEGUN = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
DOCUMENT = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@dataclass(frozen=True)
class Slow:
    """Connections, what each sends first, and what it adds now and again; none ever reads."""

    connections: int
    first: bytes
    then: bytes = b""


SILENT = Slow(2000, b"")
HEADS = Slow(200, BEGUN + b"X-Slow: ", b"a")
BODIES = Slow(200, POST + b"Content-Length: 90000\r\n\r\n", b"a")
ATTACKS = {
    "silent": (SILENT,),
    "kept alive": (Slow(500, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),),
    "heads that drip": (HEADS,),
    "bodies that drip": (BODIES,),
    "chunks that drip": (Slow(200, POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),),
    "responses that nobody reads": (Slow(40, DOCUMENT * 60),),
    "bodies that promise and end": (Slow(200, POST + b"Content-Length: 20000000\r\n\r\n" + bytes(1000)),),
    "silent and slow together": (SILENT, HEADS, BODIES),
}


class Attackers:
    """Connections of 20 addresses, so that none reaches its own limit; whoever is closed comes again."""

    def __init__(self, url: httpx.URL, kinds: tuple[Slow, ...]) -> None:
        self._url = url
        self._open: dict[int, tuple[Slow, socket.socket]] = {}
        self.opened = 0
        for kind in kinds:
            for _ in range(kind.connections):
                self._connect(len(self._open), kind)

    def _connect(self, number: int, kind: Slow) -> None:
        one = socket.create_connection((self._url.host, self._url.port), 30, (f"127.0.{1 + number % 20}.1", 0))
        one.setblocking(False)
        with contextlib.suppress(OSError):  # one that does not read cannot send for ever
            one.sendall(kind.first)
        self._open[number] = kind, one
        self.opened += 1

    def go_on(self) -> None:
        """Add to what was sent, and connect again where the server has closed."""
        for number, (kind, one) in list(self._open.items()):
            closed = False
            try:
                closed = one.recv(1, socket.MSG_PEEK) == b""
            except BlockingIOError:
                pass
            except OSError:
                closed = True
            with contextlib.suppress(OSError):
                one.sendall(kind.then)
            if closed:
                one.close()
                self._connect(number, kind)

    def close(self) -> None:
        for _, one in self._open.values():
            one.close()


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
    served: Any, attack: tuple[Slow, ...], rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    url, seconds = httpx.URL(served.url), rounds(1)
    with httpx.Client(base_url=url, timeout=30) as api:
        idle = [timed(api, number) for number in range(max(20, 10 * seconds))]
        with contextlib.closing(Attackers(url, attack)) as attackers:
            under: list[float] = []
            end, gone_on = time.monotonic() + seconds, time.monotonic()
            while time.monotonic() < end:
                under.append(timed(api, len(under)))
                if time.monotonic() - gone_on > min(2, seconds / 3):
                    gone_on = time.monotonic()
                    attackers.go_on()
    tally(
        connections=attackers.opened,
        answers=len(under),
        p95_idle=f"{1e3 * p95(idle):.1f}",
        p95_under_attack=f"{1e3 * p95(under):.1f}",
        ratio=f"{p95(under) / p95(idle):.2f}",
    )
    if rounds(0) >= 60:  # by hand alone: a ratio of times means nothing where other tests run
        assert p95(under) < 2 * p95(idle)
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
