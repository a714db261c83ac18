"""Things that the server keeps in memory, within a number of bytes; what was used longest ago goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict


class Kept:
    """Bytes by name, at most `room` bytes in all."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._size = 0
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """What is kept under a name, or None where it is no longer."""
        with self._lock:
            if name not in self._held:
                return None
            self._held.move_to_end(name)
            return self._held[name]

    def put(self, name: str, data: bytes) -> None:
        """Keep something; the newest is kept whatever its size."""
        with self._lock:
            self._size += len(data) - len(self._held.pop(name, b""))
            self._held[name] = data
            while self._size > self._room and len(self._held) > 1:
                self._size -= len(self._held.popitem(last=False)[1])

    def discard(self, prefix: str) -> None:
        """Forget everything whose name begins so."""
        with self._lock:
            for name in [name for name in self._held if name.startswith(prefix)]:
                self._size -= len(self._held.pop(name))
