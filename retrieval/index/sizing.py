"""What collections of other sizes take: computed from measured constants, and what was measured as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.index.costs import CATALOG_BYTES, COLUMN_BYTES, build_seconds, query_milliseconds
from retrieval.index.shape import LINK_BYTES, graph_of, lists_of


@dataclass(frozen=True)
class Estimate:
    """An engine at a size. memory: bytes of the index and of the catalog's columns. disk: bytes of vectors, catalog and
    stored index. build: seconds. query: milliseconds of one search on one thread. fits: within the memory that there
    is, None where none was given.
    """

    engine: str
    images: int
    dimension: int
    memory: float
    disk: float
    build: float
    query: float
    recall: str
    fits: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        fits = {None: "", True: "", False: "  does not fit"}[self.fits]
        return (
            f"{self.images:>11,} images  {self.engine:<26} memory {_size(self.memory):>8}  disk {_size(self.disk):>8}  "
            f"build {_time(self.build):>7}  query {self.query:>8,.2f} ms  recall {self.recall}{fits}"
        )


def estimates(images: Sequence[int], dimension: int, memory: int | None = None) -> list[Estimate]:
    """FAISS Flat, exact search over int8 codes, a graph, an inverted file and Milvus for each number of images.

    Milvus: its memory and disk with those of the collection, which stays the truth.
    """
    made = []
    for count in images:
        vectors = 4 * dimension * count + CATALOG_BYTES * count
        columns = COLUMN_BYTES * count
        linked = (4 * dimension + LINK_BYTES) * count
        graph, lists = graph_of(count, dimension), lists_of(count, dimension)
        engines = (
            ("exact, FAISS Flat", "flat", 4 * dimension * count, 0, "1"),
            ("exact, int8", "exact", count * (dimension + 8), 0, "1"),
            (graph.name, "graph", graph.bytes, graph.bytes, "0.995"),
            (lists.name, "lists", lists.bytes, lists.bytes, "0.995"),
            ("Milvus, HNSW", "milvus", linked, linked + 4 * dimension * count, "0.995"),
        )
        for name, kind, index, stored, recall in engines:
            made.append(
                Estimate(
                    name,
                    count,
                    dimension,
                    index + columns,
                    vectors + stored,
                    build_seconds(kind, count, dimension),  # type: ignore[arg-type]  # one of its kinds
                    query_milliseconds(kind, count, dimension),  # type: ignore[arg-type]  # one of its kinds
                    recall,
                    None if memory is None else index + columns <= memory,
                )
            )
    return made


MEASURED = (
    Estimate("exact, FAISS Flat", 110_000, 1280, 563e6 + 11e6, 563e6 + 35e6, 0, 22.1, "1"),
    Estimate("exact, int8", 110_000, 1280, 142e6 + 11e6, 563e6 + 35e6, 2, 7.6, "1"),
    Estimate("HNSW32", 110_000, 1280, 201e6 + 11e6, 563e6 + 201e6 + 35e6, 124, 0.39, "0.9976"),
    Estimate("exact, FAISS Flat", 1_000_000, 512, 2048e6 + 104e6, 2048e6 + 319e6, 0, 76.9, "1"),
    Estimate("HNSW32", 1_000_000, 512, 985e6 + 104e6, 2048e6 + 985e6 + 319e6, 1357, 0.54, "0.9990"),
)
"""As `tests/benchmarks/bench_scale.py` printed them, and as the files are: searches on a quiet machine, builds beside
other work. Memory with the catalog's columns."""


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def _time(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"
