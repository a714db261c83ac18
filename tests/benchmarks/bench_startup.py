"""How long a person waits: `kvasir search` from the shell, and opening a collection of 8,000 images.

    python tests/benchmarks/bench_startup.py COLLECTION PICTURE

The peer is what no search on FAISS and OpenVINO can do without: importing the two. Both are timed in turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from retrieval.collection import Collection, CollectionWriter, NewImage

ROUNDS = 9


def main() -> None:
    collection, picture = sys.argv[1], sys.argv[2]
    command = [Path(sys.executable).with_name("kvasir"), "search", picture, collection]
    ratios = []
    for _ in range(ROUNDS):
        search = timed(command)
        imports = timed([sys.executable, "-c", "import faiss, openvino"])
        ratios.append(search / imports)
        print(f"kvasir search {search:.3f} s   import faiss, openvino {imports:.3f} s   ratio {search / imports:.2f}")
    print(f"kvasir search / importing faiss and openvino: {statistics.median(ratios):.2f}  (to reach: 2.5)")
    with tempfile.TemporaryDirectory() as scratch:
        path = synthetic(Path(scratch) / "collection", 8000)
        seconds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            Collection.open(path)
            seconds.append(time.perf_counter() - start)
        print(f"opening 8,000 images in 7 spaces: {1000 * statistics.median(seconds):.1f} ms  (to reach: 100)")


def timed(command: list[object]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # type: ignore[arg-type]
    return time.perf_counter() - start


def synthetic(path: Path, count: int) -> Path:
    """A collection of random vectors: an embedding and the six descriptors' dimensions."""
    rng = np.random.default_rng(0)
    dimensions = {"embedding": 1280, "a": 168, "b": 18, "c": 33, "d": 80, "e": 256, "f": 630}
    with CollectionWriter(path, create=True) as writer:
        for name, dimension in dimensions.items():
            writer.add_space(name, "encoder", dimension, "cosine", {})
        source = writer.source(path / "pictures", "folder")
        for start in range(0, count, 1000):
            writer.append(
                [
                    NewImage(
                        source,
                        f"class {i % 8}/{i}.jpg",
                        f"class {i % 8}",
                        720,
                        576,
                        90_000,
                        i,
                        i.to_bytes(32),
                        {name: rng.normal(size=d).astype(np.float32) for name, d in dimensions.items()},
                    )
                    for i in range(start, start + 1000)
                ]
            )
    return path


if __name__ == "__main__":
    main()
