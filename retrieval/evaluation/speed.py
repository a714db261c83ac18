"""Query latency of a space or a fusion: the whole query path and each stage of it."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.errors import EvaluationError, RetrievalError
from retrieval.evaluation.options import Fusion
from retrieval.images import Picture, decode
from retrieval.index.storage import stored_size

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.hits import Hits
    from retrieval.search import Searcher

IMAGES = 24
"""Queries that are timed by default."""
HITS = 10
"""Hits of each timed query."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class NothingToTimeError(EvaluationError):
    """No picture of the collection can be read, so no query can be timed."""


@dataclass(frozen=True)
class Speed:
    """Median seconds of one query from a picture file, one query after another, encoders and indexes being loaded.

    decode: file to pictures, at the sizes that the spaces need; embed: pictures to vectors; search: vectors to ten
    hits; whole: file to hits, timed by itself. cores: that one query may use. peak_memory: of this process so far, in
    bytes. index_size: of the vectors and the index files, in bytes. For a fusion, each is of its spaces together.
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

    @property
    def stages(self) -> tuple[float, float, float]:
        """Frames per second of each stage alone: decode, embed, search."""
        return 1 / self.decode, 1 / self.embed, 1 / self.search

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def speed_sentence(speeds: Sequence[Speed]) -> str:
    """What a table of speeds shows, in words."""
    first, peak = speeds[0], max(speed.peak_memory for speed in speeds)
    return (
        f"Frames per second of queries one after another, {first.cores} cores, medians of {first.images}: from file to "
        f"hits, and of each stage alone. Peak memory of all together {peak / 2**20:,.0f} MiB."
    )


def speed_rows(speeds: Sequence[Speed]) -> list[list[str]]:
    """A table of speeds, its headings first."""
    headings = ["space", "file to hits", "decode", "embed", "search", "index, MiB"]
    rows = [
        [
            speed.space,
            f"{speed.frames_per_second:,.1f}",
            *[f"{stage:,.0f}" for stage in speed.stages],
            f"{speed.index_size / 2**20:,.1f}",
        ]
        for speed in speeds
    ]
    return [headings, *rows]


def measure_speed(searcher: Searcher, contender: Fusion, images: int = IMAGES, *, rerank: str | None = None) -> Speed:
    """Time queries in a fusion or, of one member, in a space; the pictures are the collection's, evenly spread over it.

    rerank: how the nearest images are ranked anew, which is part of the search. Raises NothingToTimeError.
    """
    names = searcher.space_names(contender.spaces)
    options: dict[str, Any] = {"weights": contender.weights, "fusion": contender.method, "rerank": rerank}
    files = _pictures(searcher.collection, names, images)

    def embedded(pictures: dict[str, Picture]) -> dict[str, NDArray[Any]]:
        return {space: searcher.vectors_of(picture, [space])[space] for space, picture in pictures.items()}

    def whole(data: bytes) -> Hits:
        return searcher.search(data, HITS, spaces=names, **options)

    whole(files[0])  # loads the encoders and the indexes
    pictures, decoding = _timed(lambda data: searcher.pictures(data, names), files)
    vectors, embedding = _timed(embedded, pictures)
    _, searching = _timed(lambda made: searcher.search_by_vectors(made, HITS, **options), vectors)
    _, from_file_to_hits = _timed(whole, files)
    return Speed(
        space=contender.name if rerank is None else f"{contender.name}, {rerank}",
        images=len(files),
        decode=decoding,
        embed=embedding,
        search=searching,
        whole=from_file_to_hits,
        cores=available_cores(),
        peak_memory=_peak_memory(),
        index_size=sum(_index_size(searcher.collection, space) for space in names),
    )


def _pictures(collection: Collection, spaces: Sequence[str], count: int) -> list[bytes]:
    """Files of images that have a vector in every space."""
    rows = np.arange(len(collection))
    for space in spaces:
        rows = np.intersect1d(rows, collection.positions(space))
    files = []
    for position in rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))] if len(rows) else []:
        try:
            data = collection.read(int(collection.images.ids[position]))
            decode(data)
        except (RetrievalError, OSError):
            continue
        files.append(data)
    if not files:
        raise NothingToTimeError(
            f"no picture of the space {'+'.join(spaces)} can be read where it was indexed, so no query can be timed"
        )
    return files


def _index_size(collection: Collection, space: str) -> int:
    return int(collection.vectors(space)[1].nbytes) + stored_size(collection.path, space)


def _timed(work: Callable[[_In], _Out], inputs: Sequence[_In]) -> tuple[list[_Out], float]:
    """The result of work for each input, and the median of its seconds."""
    results, seconds = [], []
    for value in inputs:
        start = time.perf_counter()
        results.append(work(value))
        seconds.append(time.perf_counter() - start)
    return results, statistics.median(seconds)


def _peak_memory() -> int:
    """Bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
