"""Compilation of numerical kernels by numba, with an on-disk cache."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import event

log = logging.getLogger(__name__)

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(kernel: Kernel) -> Kernel:
    """Compile a kernel at its first call, cache the machine code on disk, and release the GIL while it runs.

    Without a writable cache folder, as in some containers, each process compiles for itself.

    Never with `fastmath`: kernels must round as Java and Pillow do. numba notices a change of the kernel's own file
    only, so a kernel calls no compiled function of another file except the pieces that descriptors share, and takes
    tables as arguments instead of as globals.
    """
    try:
        return cast(Kernel, njit(nogil=True, cache=True)(kernel))
    except RuntimeError:  # numba can write neither next to the source nor in the home folder
        return cast(Kernel, njit(nogil=True)(kernel))


class _Announcement(event.Listener):  # type: ignore[misc]  # numba has no types
    """Logs once that kernels of this project are being compiled; cached kernels cause no event."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event: Any) -> None:
        ours = str(event.data["dispatcher"].py_func.__module__).startswith("retrieval.")
        if ours and not self._said:
            self._said = True
            log.warning("compiling, once after installation: up to half a minute …")

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Announcement())
