"""The number of processors, and an ordered parallel map with a bounded look-ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def prefetch(work: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[tuple[Item, Result]]:
    """Yield (item, work(item)) in order, computed in threads; at most `most` results are pending at any time.

    An exception of `work` is raised where its result would be yielded. Items that were not started when the caller
    stops are cancelled.
    """
    with ThreadPoolExecutor(available_cores(), "prefetch") as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) >= most:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
