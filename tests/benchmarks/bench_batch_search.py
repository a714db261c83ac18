"""Many stored queries in one call, beside one call for each: `engine.search([...])` and the index alone.

    python tests/benchmarks/bench_batch_search.py [COLLECTION]

Every one of 8,000 images queries all others for its 10 nearest, in one space of 1,280 dimensions. Vectors are mixtures
of two: of COLLECTION's first space, or else drawn ones. One query at a time runs on one core, a batch on all of them;
the processor time of both is printed as well, since a busy machine slows them unequally.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import store_vectors

import retrieval
from retrieval.collection import Collection
from retrieval.cores import available_cores

IMAGES, DIMENSION, K = 8_000, 1_280, 10
SINGLE = 1_000
"""Queries that are timed one by one."""


def mixtures(sources: np.ndarray) -> np.ndarray:
    """Mixtures of two vectors each, of unit length: (IMAGES, d) float32."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, len(sources), (2, IMAGES))
    share = random.random((IMAGES, 1)) / 2
    mixed = (1 - share) * sources[first] + share * sources[second]
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def drawn() -> np.ndarray:
    """Vectors around 50 centres, 924 in all; their variance falls with the dimension, as that of embeddings does."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((50, DIMENSION))
    vectors = centres[random.integers(0, 50, 924)] + 0.7 * random.standard_normal((924, DIMENSION))
    return vectors / np.arange(1, DIMENSION + 1) ** 0.7


def seconds(work: Callable[[], object], rounds: int = 3) -> tuple[float, float]:
    """Wall time and processor time of the fastest of some rounds."""
    taken = []
    for _ in range(rounds):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - wall, time.process_time() - processor))
    return min(wall for wall, _ in taken), min(processor for _, processor in taken)


def report(name: str, alone: Callable[[int], object], together: Callable[[], object]) -> None:
    """Print the time of one by one, of a batch, and their ratio."""
    alone(0)
    wall, processor = (IMAGES / SINGLE * part for part in seconds(lambda: [alone(at) for at in range(SINGLE)]))
    batch_wall, batch_processor = seconds(together)
    print(f"{name:22} {wall:8.2f} s {batch_wall:8.2f} s {wall / batch_wall:7.1f} (to reach: 5)", end="")
    print(f" {processor:12.2f} s {batch_processor:8.2f} s {processor / batch_processor:7.1f}")


def main() -> None:
    if len(sys.argv) > 1:
        source = Collection.open(sys.argv[1])
        vectors = mixtures(np.asarray(source.vectors(source.spaces[0].name)[1]))
    else:
        vectors = mixtures(drawn())
    with tempfile.TemporaryDirectory() as scratch:
        store_vectors(Path(scratch) / "c", {"mixtures": vectors})
        engine = retrieval.open(Path(scratch) / "c")
        index, own = engine.index("mixtures"), [np.array([at]) for at in range(IMAGES)]
        print(f"{IMAGES:,} queries, {IMAGES:,} images, {vectors.shape[1]} dimensions; {available_cores()} cores")
        print(
            f"{'':22} {'one by one':>10} {'batch':>10} {'ratio':>7} {'processor time:':>28} {'batch':>10} {'ratio':>7}"
        )
        report(
            "the index alone",
            lambda at: index.search(vectors[at : at + 1], K, None, own[at : at + 1]),
            lambda: index.search(vectors, K, None, own),
        )
        report(
            "engine.search",
            lambda at: engine.search(at, K),
            lambda: engine.search(list(range(IMAGES)), K),
        )


if __name__ == "__main__":
    main()
