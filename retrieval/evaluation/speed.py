"""How fast a space answers: the whole query path and each stage of it."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from retrieval.errors import QueryError, RetrievalError
from retrieval.images import decode

if TYPE_CHECKING:
    from retrieval.search import Searcher

IMAGES = 24
"""Images that are timed unless told otherwise."""

_T = TypeVar("_T")


class NothingToTimeError(QueryError):
    """No picture of the collection can be read, so that a query cannot be timed."""


@dataclass(frozen=True)
class Speed:
    """Median seconds of one query from a picture file, one after another, the collection being warm.

    decode: file to picture at full size; embed: picture to vector; search: vector to ten hits; whole: file to hits,
    which may decode less than in full where only an encoder looks. cores: that the machine has. peak_memory: of this
    process so far, in bytes. index_size: of the space's vectors, in bytes.
    """

    space: str
    images: int
    decode: float
    embed: float
    search: float
    whole: float
    cores: int
    peak_memory: int
    index_size: int

    @property
    def frames_per_second(self) -> float:
        """Queries a second, one after another."""
        return 1 / self.whole

    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"{self.frames_per_second:.1f} frames per second from file to hits on {self.cores} cores; decode "
            f"{1 / self.decode:.0f}, embed {1 / self.embed:.0f}, search {1 / self.search:.0f} per second; peak memory "
            f"{self.peak_memory / 2**20:,.0f} MiB, vectors {self.index_size / 2**20:.1f} MiB"
        )


def measure_speed(searcher: Searcher, space: str, images: int = IMAGES) -> Speed:
    """Time queries by pictures of the collection itself, evenly spread over it. Raises NothingToTimeError."""
    collection = searcher.collection
    ids, vectors = collection.vectors(space)
    files = []
    for image in ids[np.unique(np.linspace(0, len(ids) - 1, images).astype(int))]:
        try:
            data = collection.read(int(image))
            decode(data)
        except (RetrievalError, OSError):
            continue
        files.append(data)
    if not files:
        raise NothingToTimeError(f"no picture of the space {space} can be read where it was indexed")
    searcher.search(files[0], 10, spaces=space)  # loads the encoder and the index
    decoded = [_timed(lambda data=data: decode(data)) for data in files]  # type: ignore[misc]
    embedded = [_timed(lambda one=one: searcher.vectors_of(one, [space])[space]) for one, _ in decoded]  # type: ignore[misc]
    searched = [_timed(lambda one=one: searcher.search(one, 10, spaces=space)) for one, _ in embedded]  # type: ignore[misc]
    whole = [_timed(lambda data=data: searcher.search(data, 10, spaces=space)) for data in files]  # type: ignore[misc]
    return Speed(
        space=space,
        images=len(files),
        decode=statistics.median(seconds for _, seconds in decoded),
        embed=statistics.median(seconds for _, seconds in embedded),
        search=statistics.median(seconds for _, seconds in searched),
        whole=statistics.median(seconds for _, seconds in whole),
        cores=os.cpu_count() or 1,
        peak_memory=_peak_memory(),
        index_size=int(vectors.nbytes),
    )


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    start = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - start


def _peak_memory() -> int:
    """Bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
