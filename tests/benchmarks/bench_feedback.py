"""Relevance feedback: how much simulated users gain by their marks, by which parameters, and how long a search takes.

    python tests/benchmarks/bench_feedback.py COLLECTION [--space NAME] [--queries 300]

The parameters are chosen by two folds over clusters: each fold's queries are measured with what is best for the other
one's. Printed beside it: the defaults. Then the time of a moved query, of one of several parts with signed weights and
of one of images and words, over 8,000 random unit vectors of Kvasir's eight classes, and over the collection, where
nothing is encoded anew; the slowest of the medians is held against 50 ms.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import store_vectors

import retrieval
from retrieval import Feedback, Part, Query, Searcher
from retrieval.evaluation.feedback import gain_of, simulate
from retrieval.feedback import Movement
from retrieval.spaces import metric_of

GRID = [
    Movement(relevant, relevant * share, strength, prior)
    for relevant, share, strength, prior in itertools.product((1.0, 3.0, 6.0), (0.25, 0.5), (0.3, 1.0), (0.5, 1.0))
]
CLASSES = (
    *("dyed-lifted-polyps", "dyed-resection-margins", "esophagitis", "normal-cecum"),
    *("normal-pylorus", "normal-z-line", "polyps", "ulcerative-colitis"),
)
LIMIT = 50.0
"""Milliseconds."""


def quality(engine: Searcher, space: str, count: int) -> None:
    """Print the gain by each movement of the grid, by cross-validation, and by the defaults."""
    opened = engine.collection
    positions, vectors = opened.positions(space), opened.vectors(space)[1]
    metric = metric_of(opened.manifest.space(space))
    labels, groups = opened.images.labels[positions], opened.images.clusters[positions]
    queries = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(labels >= 0))[:count])
    folds = np.random.default_rng(1).integers(0, 2, int(groups.max()) + 1)[groups[queries]]
    print(f"{space}: precision@20 on images not shown yet, {len(queries)} queries, 3 rounds of 5 marks, 10 % wrong")

    def run(movement: Movement, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        marked, unmarked, _ = simulate(vectors, metric, labels, groups, queries[chosen], movement=movement)
        return marked, unmarked

    tried = [run(movement, np.ones(len(queries), bool)) for movement in GRID]
    for movement, (marked, unmarked) in zip(GRID, tried, strict=True):
        gain = gain_of(marked[:, -1].mean(), unmarked[:, -1].mean())
        print(f"  {movement}: {' '.join(f'{value:.3f}' for value in marked.mean(axis=0))}, gain {gain:.2f}")
    held = np.zeros((2, len(queries)))
    for fold in (0, 1):
        others, own = folds != fold, folds == fold
        best = max(range(len(GRID)), key=lambda at: gain_of(*(each[others, -1].mean() for each in tried[at])))
        held[:, own] = [each[own, -1] for each in tried[best]]
        print(f"  fold {fold} by the other one's best: {GRID[best]}")
    with_marks, without_marks = held.mean(axis=1)
    gain = gain_of(with_marks, without_marks)
    print(f"  cross-validated: {with_marks:.3f} instead of {without_marks:.3f}, gain {gain:.2f}")
    marked, unmarked = run(Movement(), np.ones(len(queries), bool))
    means = " ".join(f"{value:.3f}" for value in marked.mean(axis=0))
    without = " ".join(f"{value:.3f}" for value in unmarked.mean(axis=0))
    gain = gain_of(marked[:, -1].mean(), unmarked[:, -1].mean())
    print(f"  defaults: {means}, without marks {without}, gain {gain:.2f}")


def milliseconds(call: Callable[[], object]) -> float:
    """The median of 21 calls after one that warms up."""
    call()
    times = []
    for _ in range(21):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def speed(engine: Searcher, spaces: list[list[str]]) -> float:
    """Print the time of moved and mixed queries in these spaces; returns the longest median."""
    ids = engine.collection.images.ids
    marks = np.random.default_rng(0).permutation(ids)[:16].tolist()
    feedback = Feedback(tuple(marks[:8]), tuple(marks[8:15]), tuple(ids[:60].tolist()))
    mixed = Query(tuple(Part(image_id=i, weight=-0.5 if at % 3 == 2 else 1) for at, i in enumerate(marks[:6])))
    words = Query((*mixed.parts[:3], Part(text="polyp"), Part(text="inflamed oesophagus", weight=-0.5)))
    longest = 0.0
    for names in spaces:
        moved = milliseconds(partial(engine.search, marks[15], 20, spaces=names, feedback=feedback))
        several = milliseconds(partial(engine.search, mixed, 20, spaces=names))
        worded = milliseconds(partial(engine.search, words, 20, spaces=names))
        print(
            f"  {' + '.join(names)}: {moved:.1f} ms moved by 15 marks, {several:.1f} ms of six signed parts, "
            f"{worded:.1f} ms of three images and two texts"
        )
        longest = max(longest, moved, several, worded)
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--space")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--speed-only", action="store_true")
    arguments = parser.parse_args()
    engine = retrieval.open(arguments.collection)
    names = [space.name for space in engine.collection.manifest.compared]
    if not arguments.speed_only:
        quality(engine, arguments.space or names[0], arguments.queries)
    print(f"{len(engine):,} images of the collection:")
    longest = speed(engine, [[name] for name in names] + [names])
    with tempfile.TemporaryDirectory() as folder:
        vectors = np.random.default_rng(0).standard_normal((8000, 1280)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        classes = [CLASSES[at % len(CLASSES)] for at in range(len(vectors))]
        crowd = retrieval.open(store_vectors(Path(folder) / "c", {"s": vectors}, classes))
        print("8,000 images of 1,280 numbers:")
        longest = max(longest, speed(crowd, [["s"]]))
    print(f"the longest median is {longest:.1f} ms, {'below' if longest < LIMIT else 'NOT below'} {LIMIT:g} ms")


if __name__ == "__main__":
    main()
