"""How much the server takes on: searches at a time, requests of one client, bytes in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from cachetools import LRUCache
from flask import Flask
from flask_limiter import Limiter

from web.errors import BusyError
from web.serving.precedence import before_waiting

P = ParamSpec("P")
R = TypeVar("R")


class ConcurrencyLimit:
    """Admits `slots` callers at a time, first come first served, and refuses those beyond `queue`.

    Fewer searches at once than clients keeps each one short: two cores gain nothing from thirty-two at a time.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self._free = slots
        self._queue = queue
        self._waiting: deque[threading.Event] = deque()
        self._active = 0
        self._lock = threading.Lock()

    @property
    def active(self) -> int:
        """Callers that run or wait."""
        return self._active

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a turn. Raises BusyError at once where the queue is full."""
        before_waiting.get()()
        turn = threading.Event()
        with self._lock:
            if self._active >= self._queue:
                raise BusyError(f"{self._active} searches are running and waiting already; try again in a second")
            self._active += 1
            if self._free:
                self._free -= 1
                turn.set()
            else:
                self._waiting.append(turn)
        try:
            turn.wait()
            yield
        finally:
            with self._lock:
                self._active -= 1
                if self._waiting:
                    self._waiting.popleft().set()
                else:
                    self._free += 1


class ByteCache:
    """Bytes by key, at most `size` bytes in all; the least recently used go first. Safe to share between threads."""

    def __init__(self, size: int) -> None:
        # A value larger than the whole cache counts as all of it: it displaces the others, and a link to it works.
        self._values: LRUCache[Hashable, bytes] = LRUCache(size, getsizeof=lambda data: min(len(data), size))
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> bytes | None:
        """The bytes of a key, or None where they are not, or no longer, cached."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, data: bytes) -> None:
        """Cache bytes under a key, which may displace others."""
        with self._lock:
            self._values[key] = data

    def remove(self, key: Hashable) -> None:
        """Drop a key; one that is not cached is no error."""
        with self._lock:
            self._values.pop(key, None)


def rate_limited(view: Callable[P, R]) -> Callable[P, R]:
    """Mark a view that counts towards its client's rate; beyond it, the response is 429 with Retry-After."""
    return rate_limited_by(lambda: 1)(view)


def rate_limited_by(cost: Callable[[], int]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a view whose requests each count as several, of which there are `cost()`."""

    def mark(view: Callable[P, R]) -> Callable[P, R]:
        view.rate_cost = cost  # type: ignore[attr-defined]
        return view

    return mark


def register_rate(app: Flask, rate: str, client: Callable[[], str]) -> None:
    """Count every marked view by client, all together; an empty rate is no limit. Call it when all views are there."""
    if not rate:
        return
    limiter = Limiter(client, app=app, storage_uri="memory://", strategy="moving-window", headers_enabled=True)
    for endpoint, view in app.view_functions.items():
        if cost := getattr(view, "rate_cost", None):
            limit = limiter.shared_limit(rate, scope="searches and writes", cost=cost)
            app.view_functions[endpoint] = limit(view)  # type: ignore[assignment]
