"""Bytes in memory under a limit: uploaded queries and drawn pictures."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from cachetools import LRUCache


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
