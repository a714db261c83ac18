"""How many searches run and wait at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from retrieval.errors import RetrievalError


class BusyError(RetrievalError):
    """The server has as many searches running and waiting as it takes."""


class Gate:
    """Lets `running` callers through at a time, first come first served, and turns away whoever would wait too long.

    Fewer searches at once than clients keeps each one short: two cores gain nothing from thirty-two at a time.
    """

    def __init__(self, running: int, queue: int) -> None:
        self._free = running
        self._room = queue
        self._waiting: deque[threading.Event] = deque()
        self._inside = 0
        self._lock = threading.Lock()

    @property
    def inside(self) -> int:
        """Searches running and waiting."""
        return self._inside

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Wait for a turn. Raises BusyError at once where the queue is full."""
        turn = threading.Event()
        with self._lock:
            if self._inside >= self._room:
                raise BusyError(f"{self._inside} searches are running and waiting already; try again in a second")
            self._inside += 1
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
                self._inside -= 1
                if self._waiting:
                    self._waiting.popleft().set()
                else:
                    self._free += 1
