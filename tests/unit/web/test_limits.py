from __future__ import annotations

import threading
import time

import pytest

from web.errors import BusyError
from web.limits import ConcurrencyLimit


def test_a_full_queue_refuses_and_the_others_run_in_order() -> None:
    limit = ConcurrencyLimit(running=1, queue=3)
    order: list[int] = []

    def enter(number: int) -> None:
        with limit.slot():
            order.append(number)

    with limit.slot():
        threads = []
        for number in (1, 2):
            threads.append(threading.Thread(target=enter, args=(number,)))
            threads[-1].start()
            while limit.active < number + 1:
                time.sleep(0.001)
        with pytest.raises(BusyError, match="3 searches"), limit.slot():
            pass
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == [1, 2]
    assert limit.active == 0
    with limit.slot():
        assert limit.active == 1


def test_a_search_that_fails_frees_its_slot() -> None:
    limit = ConcurrencyLimit(running=1, queue=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limit.slot():
            _ = 1 / 0
    assert limit.active == 0
