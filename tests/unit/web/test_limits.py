from __future__ import annotations

import threading
import time

import pytest

from web.errors import BusyError
from web.limits import ByteCache, ConcurrencyLimit


def test_a_full_queue_refuses_and_the_others_run_in_order() -> None:
    limit = ConcurrencyLimit(slots=1, queue=3)
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
    limit = ConcurrencyLimit(slots=1, queue=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limit.slot():
            _ = 1 / 0
    assert limit.active == 0


def test_the_least_recently_used_go_first() -> None:
    cache = ByteCache(10)
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    assert cache.get("a") == b"1234"
    cache.put("c", b"1234")
    assert cache.get("b") is None
    assert cache.get("a") == b"1234"
    cache.put("a", b"1")
    cache.put("d", b"12345")
    assert [cache.get(name) for name in "acd"] == [b"1", b"1234", b"12345"]


def test_a_value_larger_than_the_cache_displaces_all_others() -> None:
    cache = ByteCache(10)
    cache.put("small", b"1")
    cache.put("large", bytes(50))
    assert cache.get("large") == bytes(50)
    assert cache.get("small") is None
    cache.put("next", b"1")
    assert cache.get("large") is None


def test_a_removed_value_is_gone_and_leaves_its_room() -> None:
    cache = ByteCache(4)
    cache.put("a", b"1234")
    cache.remove("a")
    cache.remove("never there")
    assert cache.get("a") is None
    cache.put("b", b"12")
    cache.put("c", b"12")
    assert cache.get("b") == b"12"


def test_threads_share_a_cache() -> None:
    cache = ByteCache(1000)

    def work(number: int) -> None:
        for turn in range(2000):
            key = f"{number}-{turn % 50}"
            cache.put(key, key.encode())
            assert cache.get(key) in (None, key.encode())
            cache.remove(f"{number}-{turn % 7}")

    faults: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
