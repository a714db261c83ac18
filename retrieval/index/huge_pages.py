"""Index memory in huge pages: a search jumps through its codes, and in pages of 4 KB nearly every jump misses the TLB.

The kernel is only advised. Without transparent huge pages searches take a third longer.
"""

from __future__ import annotations

import ctypes
from threading import Thread
from typing import Any

_SIZE = 2 << 20
_HUGEPAGE, _COLLAPSE = 14, 25
"""Linux's MADV_HUGEPAGE and, from 6.1 on, MADV_COLLAPSE, which does at once what the kernel would do in time."""
_FROM = 32 << 20
"""Bytes from which it pays."""


def advise_huge_pages(owner: Any, *vectors: Any) -> None:
    """Advise huge pages for vectors of numbers inside a FAISS index, `owner`.

    In the background: it takes a second for some hundred MB, in which searches go on.
    """
    large = [vector for vector in vectors if vector.byte_size() >= _FROM]
    if large:
        ranges = [(int(vector.data()), vector.byte_size()) for vector in large]
        Thread(target=_advise, args=(owner, ranges), name="huge pages", daemon=True).start()


def _advise(owner: Any, ranges: list[tuple[int, int]]) -> None:
    """Advise ranges of (address, bytes); owner: alive for so long."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for address, size in ranges:
        start, end = -(-address // _SIZE) * _SIZE, (address + size) // _SIZE * _SIZE
        for advice in (_HUGEPAGE, _COLLAPSE):  # an older kernel refuses the second, and changes nothing
            madvise(start, end - start, advice)
