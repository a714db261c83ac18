from __future__ import annotations

import threading
from itertools import count, islice

import pytest

from retrieval.cores import prefetch


def test_results_come_in_the_order_of_the_items_whatever_order_they_are_made_in() -> None:
    third_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            third_is_done.wait(10)
        if item == 1:
            third_is_done.set()
        return item * item

    assert list(prefetch(work, range(5), most=3)) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


def test_no_more_than_the_bound_is_begun_however_many_there_are() -> None:
    begun = []
    results = prefetch(begun.append, count(), most=4)
    assert [item for item, _ in islice(results, 3)] == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 3 + 4


def test_an_exception_comes_where_its_result_would() -> None:
    results = prefetch(lambda item: 1 // item, [1, 0, 2], most=2)
    assert next(results) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)
