"""How many cores there are, and work done on all of them ahead of its use, in order and within bounds."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(work: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in order; at most `most` results are begun and not yet taken.

    An exception of `work` comes out where its result would. What has not begun when the caller stops is never done.
    """
    with ThreadPoolExecutor(available_cores(), "ahead") as pool:
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
