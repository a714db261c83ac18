"""LIRE's descriptors in Python: time a picture, growth, memory, and time a query.

    python tests/benchmarks/bench_descriptors.py
    python tests/benchmarks/bench_descriptors.py --large    # galleries in which FAISS proposes: recall and time

LIRE cannot run here: its figures were measured elsewhere, one core, 720x576, median. The fixed NumPy task
printed beside them lets a reader scale ours. The pictures are endoscopy from ../shared where that
exists, else drawn ones. The peer of the distance scans is a flat FAISS index over the coordinates that come
nearest to the native distance; its answers are not LIRE's order.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # one core for FAISS and BLAS as well

import faiss
import numpy as np
from PIL import Image

from indexer.features import open_features
from retrieval.descriptors import DESCRIPTORS, extract_all, warm_up
from retrieval.index.descriptor_ivf import DescriptorIVF
from retrieval.index.descriptor_scan import DescriptorScan
from retrieval.index.rows import ArrayRows

LIRE_MS = {
    "JCD": 13.0,
    "Tamura": 120.0,
    "ColorLayout": 4.0,
    "EdgeHistogram": 2.5,
    "AutoColorCorrelogram": 112.0,
    "PHOG": 54.0,
}
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "kvasir-v2-subset"
PICTURES, ROUNDS = 8, 9
GALLERY = 8000
LARGE = (120_000, 300_000)


def main() -> None:
    if sys.argv[1:] == ["--large"]:
        large_galleries()
        return
    if sys.argv[1:]:
        print(peak_bytes_per_pixel(sys.argv[1]))
        return
    start = time.perf_counter()
    warm_up()
    print(f"loading the kernels of six descriptors and distances: {time.perf_counter() - start:.2f} s")
    numbers = np.random.default_rng(0).random(10**7)
    print(f"fixed task, np.sort of 10^7 seeded float64: {median_seconds(lambda: np.sort(numbers)):.3f} s")
    pictures = sample()
    a_picture(pictures)
    growth(pictures[0])
    a_query(pictures)


def a_picture(pictures: list[np.ndarray]) -> None:
    print("\none core, 720x576, median      ours      LIRE   LIRE/ours")
    for name, lire in LIRE_MS.items():
        ours = describing(pictures, (name,)) * 1000
        print(f"  {name:22} {ours:9.2f} ms {lire:6.1f} ms {lire / ours:7.1f}")
    ours = describing(pictures, tuple(DESCRIPTORS)) * 1000
    print(f"  {'all six':22} {ours:9.2f} ms {307:6.1f} ms {307 / ours:7.1f}   (to reach: 31 ms)")


def describing(pictures: list[np.ndarray], names: tuple[str, ...]) -> float:
    """Median over pictures of the median seconds for one."""
    return statistics.median(median_seconds(partial(extract_all, picture, names)) for picture in pictures)


def growth(picture: np.ndarray) -> None:
    sizes = [(360, 288), (720, 576), (1440, 1152), (2880, 2304)]
    print("\nnanoseconds a pixel, and peak bytes a pixel above the picture (to reach: under 12)")
    print(f"  {'':22}" + "".join(f"{f'{w}x{h}':>11}" for w, h in sizes) + f"{'bytes':>11}")
    scaled = [np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)) for size in sizes]
    for name in [*DESCRIPTORS, "all"]:
        names = tuple(DESCRIPTORS) if name == "all" else (name,)
        times = [describing([p], names) / (p.size / 3) * 1e9 for p in scaled]
        alone = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
        print(f"  {name:22}" + "".join(f"{t:11.1f}" for t in times) + f"{float(alone.stdout):11.2f}")


def peak_bytes_per_pixel(name: str) -> float:
    """Growth of the process's peak resident memory while one large picture is described; Linux only."""
    picture = np.random.default_rng(0).integers(0, 256, (2304, 2880, 3), dtype=np.uint8)
    names = tuple(DESCRIPTORS) if name == "all" else (name,)
    extract_all(np.ascontiguousarray(picture[:64, :64]), names)  # loads the kernels
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the present
    before = resident("VmHWM")
    extract_all(picture, names)
    return (resident("VmHWM") - before) / (picture.size / 3)


def resident(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return 1024 * int(line.split()[1])


def a_query(pictures: list[np.ndarray]) -> None:
    embeddings = np.random.default_rng(0).random((GALLERY, 1280), dtype=np.float32)
    product = median_seconds(lambda: embeddings @ embeddings.T, rounds=3)
    print(f"\n{GALLERY:,} vectors, one core; one X @ X.T of {GALLERY:,} x 1280 takes {product:.2f} s")
    print(f"  {'':22} a query, k=20    flat FAISS       all pairs  in X @ X.T (to reach: under 25)")
    described = [extract_all(p) for p in pictures]
    for name, descriptor in DESCRIPTORS.items():
        gallery = crosses(np.array([vectors[name] for vectors in described]), GALLERY, 0.3)
        metric = descriptor.metric
        index = DescriptorScan(metric, ArrayRows(gallery), np.arange(GALLERY))
        coordinates = metric.candidate_coordinates(gallery)
        by = faiss.METRIC_L1 if metric.proposes_by == "L1" else faiss.METRIC_L2
        flat = faiss.IndexFlat(coordinates.shape[1], by)
        flat.add(coordinates)
        query = median_seconds(partial(index.search, gallery[:1], 20)) * 1000
        peer = median_seconds(partial(flat.search, coordinates[:1], 20)) * 1000
        part = partial(metric.distances, gallery[: GALLERY // 16], gallery)
        pairs = 16 * median_seconds(part, rounds=3)
        print(f"  {name:22} {query:10.2f} ms {peer:10.2f} ms {pairs:14.2f} s {pairs / product:11.2f}")


def crosses(known: np.ndarray, count: int, share: float | np.ndarray) -> np.ndarray:
    """Synthetic vectors: each a known one with a share of its values from another."""
    random = np.random.default_rng(0)
    parents = random.integers(0, len(known), (count, 2))
    crossed = random.random((count, known.shape[1])) < share
    return np.where(crossed, known[parents[:, 1]], known[parents[:, 0]])


def large_galleries() -> None:
    """Crosses of the 924 shipped descriptors, 0 to 50 % of the values from a second one."""
    print("FAISS proposes, the native distance ranks again; one core, a query, k=20")
    archive = open_features(SHARED.with_name("kvasir-v2-subset-features"))
    shipped = [archive.read(*key) for key in archive.keys()]  # noqa: SIM118  # not a mapping
    for count in LARGE:
        print(f"\n{count:,} vectors          recall@20    proposed    every one  built in")
        for name, descriptor in DESCRIPTORS.items():
            share = np.random.default_rng(1).random((count, 1)) / 2
            gallery = crosses(np.array([vectors[name] for vectors in shipped]), count, share)
            start = time.perf_counter()
            index = DescriptorIVF(descriptor.metric, ArrayRows(gallery), np.arange(count))
            index.flush()
            built = time.perf_counter() - start
            every = DescriptorScan(descriptor.metric, ArrayRows(gallery), np.arange(count))
            ours, full = (
                statistics.median(median_seconds(partial(i.search, gallery[q : q + 1], 20), 3) for q in range(9)) * 1000
                for i in (index, every)
            )
            recall = index.recall_at(20)
            print(f"  {name:22} {recall:9.4f} {ours:8.2f} ms {full:9.2f} ms {built:7.1f} s  {index.description}")


def sample() -> list[np.ndarray]:
    """Pictures of 720x576."""
    files = sorted(SHARED.glob("*/*.jpg")) if SHARED.exists() else []
    chosen = []
    for file in files:
        with Image.open(file) as image:
            if image.size == (720, 576):
                chosen.append(np.array(image.convert("RGB")))
        if len(chosen) == PICTURES:
            return chosen
    print("drawn pictures, since ../shared is not here")
    random = np.random.default_rng(0)
    for _ in range(PICTURES):
        small = Image.fromarray(random.integers(40, 220, (18, 24, 3), dtype=np.uint8))
        large = np.array(small.resize((720, 576), Image.Resampling.BICUBIC)).astype(np.int64)
        chosen.append((large + random.integers(-6, 7, large.shape)).clip(0, 255).astype(np.uint8))
    return chosen


def median_seconds(task: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Processor time of one thread; everything here runs on one."""
    task()
    seconds = []
    for _ in range(rounds):
        start = time.thread_time()  # as the wall's on an idle machine, and the same on a busy one
        task()
        seconds.append(time.thread_time() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
