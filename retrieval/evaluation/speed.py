"""How fast a space or a fusion answers: the whole query path and each stage of it."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.errors import QueryError, RetrievalError
from retrieval.images import Picture, decode

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.hits import Hits
    from retrieval.search import Searcher

IMAGES = 24
"""Images that are timed unless told otherwise."""
HITS = 10

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class NothingToTimeError(QueryError):
    """No picture of the collection can be read, so that a query cannot be timed."""


@dataclass(frozen=True)
class Speed:
    """Median seconds of one query from a picture file, one after another, the collection being warm.

    decode: file to pictures, at the sizes that the query path asks for; embed: pictures to vectors; search: vectors to
    ten hits; whole: file to hits, timed by itself. cores: that one query may use. peak_memory: of this process so far,
    in bytes. index_size: of the vectors, and of what is kept to search them, in bytes. Of a fusion all is of its spaces
    together.
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


def speed_sentence(speeds: Sequence[Speed]) -> str:
    """What a table of speeds shows."""
    first, peak = speeds[0], max(one.peak_memory for one in speeds)
    return (
        f"Frames per second of queries one after another, {first.cores} cores, medians of {first.images}: from file to "
        f"hits, and of each stage alone. Peak memory of all together {peak / 2**20:,.0f} MiB."
    )


def speed_rows(speeds: Sequence[Speed]) -> list[list[str]]:
    """A table of speeds, its headings first."""
    headings = ["space", "file to hits", "decode", "embed", "search", "index, MiB"]
    rows = [
        [
            one.space,
            f"{one.frames_per_second:,.1f}",
            *[f"{stage:,.0f}" for stage in one.stages],
            f"{one.index_size / 2**20:,.1f}",
        ]
        for one in speeds
    ]
    return [headings, *rows]


def measure_speed(
    searcher: Searcher,
    spaces: str | Sequence[str],
    weights: Sequence[float] | None = None,
    name: str = "",
    images: int = IMAGES,
) -> Speed:
    """Time queries in one space or several fused, by pictures of the collection itself, evenly spread over it.

    name: what reports show, the spaces' unless given. Raises NothingToTimeError.
    """
    names = searcher.space_names(spaces)
    files = _pictures(searcher.collection, names, images)

    def embedded(pictures: dict[str, Picture]) -> dict[str, NDArray[Any]]:
        return {space: searcher.vectors_of(picture, [space])[space] for space, picture in pictures.items()}

    def whole(data: bytes) -> Hits:
        return searcher.search(data, HITS, spaces=names, weights=weights)

    whole(files[0])  # loads the encoders and the indexes
    pictures, decoding = _timed(lambda data: searcher.pictures(data, names), files)
    vectors, embedding = _timed(embedded, pictures)
    _, searching = _timed(lambda one: searcher.search_by_vectors(one, HITS, weights=weights), vectors)
    _, from_file_to_hits = _timed(whole, files)
    return Speed(
        space=name or "+".join(names),
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
    kept = sum(file.stat().st_size for file in (collection.path / "index").glob(f"{space}.*"))
    return int(collection.vectors(space)[1].nbytes) + kept


def _timed(work: Callable[[_In], _Out], inputs: Sequence[_In]) -> tuple[list[_Out], float]:
    """What work gives for each input, and the median of its seconds."""
    answers, taken = [], []
    for one in inputs:
        start = time.perf_counter()
        answers.append(work(one))
        taken.append(time.perf_counter() - start)
    return answers, statistics.median(taken)


def _peak_memory() -> int:
    """Bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
