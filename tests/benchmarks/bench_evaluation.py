"""Time and memory of an evaluation, compared with ranx and one matrix product, and as the collection grows.

All times are of the processor, summed over cores, so that other work on the machine does not count.

    python tests/benchmarks/bench_evaluation.py [--images 8000] [--ranx-queries 400] [--descriptors] [--growth]

ranx takes the same ranking as dicts and is timed on the first queries with their full lists, then scaled by the number
of queries (its work on a query does not depend on the others); what it computes on them must equal ours to 1e-9.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors import DESCRIPTORS
from retrieval.evaluation import FusedRetriever, MeasureOptions, Member, SpaceResult, SpaceRetriever, evaluate_retriever
from retrieval.index.cosine import Cosine

DIMENSION, CLASSES = 1280, 8
RANX = {
    **{f"precision@{k}": f"precision@{k}" for k in (1, 5, 10, 20)},
    **{f"recall@{k}": f"recall@{k}" for k in (1, 5, 10, 20)},
    **{f"hit@{k}": f"hit_rate@{k}" for k in (1, 5, 10, 20)},
    "mAP": "map",
    "R-precision": "r-precision",
}


def sample(n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    labels = np.arange(n) % CLASSES
    vectors = random.standard_normal((n, DIMENSION), np.float32)
    vectors += 0.1 * random.standard_normal((CLASSES, DIMENSION), np.float32)[labels]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, labels


def seconds(work: Callable[[], object], repeat: int = 3) -> float:
    taken = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def ours(vectors: NDArray[np.float32], labels: NDArray[np.int64], samples: int = MeasureOptions.samples) -> SpaceResult:
    return evaluate_retriever(
        SpaceRetriever(vectors, Cosine()),
        labels,
        [f"class {c}" for c in range(CLASSES)],
        options=MeasureOptions(samples=samples),
    )


def descriptor(name: str, n: int) -> SpaceResult:
    """A descriptor's space of random vectors, by its native distance."""
    metric, length = DESCRIPTORS[name].metric, DESCRIPTORS[name].length
    vectors = np.random.default_rng(0).integers(0, 4, (n, length)).astype(DESCRIPTORS[name].dtype)
    return evaluate_retriever(
        SpaceRetriever(vectors, metric), np.arange(n) % CLASSES, [f"class {c}" for c in range(CLASSES)]
    )


def fusion(n: int, names: tuple[str, ...] = ("EdgeHistogram", "AutoColorCorrelogram")) -> SpaceResult:
    """An embedding space fused with two descriptors', each as above."""
    labels = np.arange(n) % CLASSES
    rows = np.arange(n)
    members = [Member(sample(n)[0], rows, Cosine())]
    for name in names:
        vectors = np.random.default_rng(0).integers(0, 4, (n, DESCRIPTORS[name].length))
        members.append(Member(vectors.astype(DESCRIPTORS[name].dtype), rows, DESCRIPTORS[name].metric))
    return evaluate_retriever(FusedRetriever(members, rows), labels, [f"class {c}" for c in range(CLASSES)])


def memory_mib(field: str) -> float:
    """VmRSS, what the process holds, or VmHWM, the most it held since `forget_peak` (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def one_size(n: int) -> tuple[float, float, float, float]:
    """(seconds of X @ X.T, ours, peak memory before, peak after), in a process of its own."""
    vectors, labels = sample(n)
    ours(vectors[:256], labels[:256])  # compiled or loaded from disk
    forget_peak()
    before = memory_mib("VmRSS")
    evaluation = seconds(lambda: ours(vectors, labels))
    after = memory_mib("VmHWM")
    return seconds(lambda: vectors @ vectors.T), evaluation, before, after


def in_own_process(n: int) -> tuple[float, float, float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(one_size, (n,))


def compare_with_ranx(vectors: NDArray[np.float32], labels: NDArray[np.int64], queries: int) -> tuple[float, float]:
    """Seconds of processor time, ranx's for `queries` queries and ours for all, from arrays to figures.

    Processor time, because other work on the machine slows one and not the other; neither draws a bootstrap.
    Checks that the figures are equal.
    """
    import ranx

    n = len(vectors)
    names = [str(i) for i in range(n)]

    def measure(count: int) -> ranx.Run:
        similarity = vectors[:count].astype(np.float64) @ vectors.T.astype(np.float64)
        run, qrels = {}, {}
        for i in range(count):
            scores = dict(zip(names, similarity[i].tolist(), strict=True))
            del scores[names[i]]
            run[names[i]] = scores
            qrels[names[i]] = {names[j]: 1 for j in np.flatnonzero(labels == labels[i]) if j != i}
        as_run, as_qrels = ranx.Run(run), ranx.Qrels(qrels)
        ranx.evaluate(as_qrels, as_run, list(RANX.values()))
        return as_run

    measure(2)  # compile
    start = time.process_time()
    as_run = measure(queries)
    taken = time.process_time() - start
    start = time.process_time()
    result = ours(vectors, labels, samples=0)
    taken_by_us = time.process_time() - start
    for our_name, their_name in RANX.items():
        theirs = np.array([as_run.scores[their_name][name] for name in names[:queries]])
        worst = np.abs(result.measures[our_name][:queries] - theirs).max()
        if not worst <= 1e-9:
            raise SystemExit(f"{our_name} differs from ranx by {worst}")
    return taken, taken_by_us


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=8000)
    arguments.add_argument("--ranx-queries", type=int, default=400)
    arguments.add_argument("--growth", action="store_true", help="2,000 to 16,000 images")
    arguments.add_argument("--descriptors", action="store_true", help="the six of LIRE as well, and a fusion")
    options = arguments.parse_args()
    n = options.images
    print(f"{n:,} images, {DIMENSION:,} dimensions, {CLASSES} classes, {os.cpu_count()} cores; processor time")
    product, evaluation, before, after = in_own_process(n)
    print("all measures, 1,000 bootstrap samples")
    print(f"                      {evaluation:7.2f} s, {evaluation / product:.1f} times one X @ X.T ({product:.2f} s)")
    print(f"peak memory           {after:7.0f} MiB, of it {before:.0f} before it began")
    taken, taken_by_us = compare_with_ranx(*sample(n), options.ranx_queries)
    scaled = taken * n / options.ranx_queries
    print(
        f"ranx                  {scaled:7.1f} s of processor time for the measures that both have, scaled from "
        f"{options.ranx_queries} queries ({taken:.1f} s); ours {taken_by_us:.1f} s for all of ours without bootstrap: "
        f"{scaled / taken_by_us:.0f} times; equal to 1e-9"
    )
    if options.descriptors:
        for name in DESCRIPTORS:
            taken_by = seconds(lambda name=name: descriptor(name, n), repeat=1)
            print(
                f"{name:21s} {taken_by:7.2f} s, {taken_by / product:.1f} times one X @ X.T of {DIMENSION:,} dimensions"
            )
        taken_by = seconds(lambda: fusion(n), repeat=1)
        print(f"fusion of three       {taken_by:7.2f} s, {taken_by / product:.1f} times")
    if options.growth:
        for size in (2000, 4000, 8000, 16000):
            product, evaluation, before, after = in_own_process(size)
            pairs = (size / 1000) ** 2
            print(
                f"{size:6,} images         {evaluation:7.2f} s, {evaluation / pairs * 1000:.0f} ms per million pairs, "
                f"{evaluation / product:.1f} times X @ X.T, peak {after - before:.0f} MiB above what the vectors take"
            )


if __name__ == "__main__":
    main()
