"""How long a reason takes: where a query and a hit agree, by the size of the collection.

    python tests/benchmarks/bench_reasons.py COLLECTION [--images 8000]

COLLECTION has passed the test of `kvasir reasons COLLECTION`. It is measured as it is, and as a copy whose images are
entered again, with their vectors, until there are as many as `--images` says. Of a first pair both pictures are read,
decoded and encoded, of a further hit the hit alone, and of pairs that were seen before none. No picture is drawn twice.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

import numpy as np

import retrieval
from retrieval.collection import Collection, CollectionWriter, NewImage

LIMIT = 150.0
"""Milliseconds that a reason may take."""


def main() -> None:
    """Print medians and 95th percentiles in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--space", help="the default one")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    longest = measure(arguments.collection, arguments.space, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(copytree(arguments.collection, Path(folder) / "c"))
        repeat_images(path, arguments.images)
        longest = max(longest, measure(path, arguments.space, arguments.rounds))
    print(f"the longest median is {longest:.0f} ms, {'below' if longest < LIMIT else 'NOT below'} {LIMIT:g} ms")


def repeat_images(path: Path, count: int) -> None:
    """Enter the images of a collection again, under other names of the same files, until there are so many."""
    opened = Collection.open(path)
    stored, spaces = opened.images, [space.name for space in opened.spaces]
    with CollectionWriter(path) as writer:
        images = []
        for at in range(count - len(stored)):
            turn, position = divmod(at, len(stored))
            image_id = int(stored.ids[position])
            vectors = {name: opened.vector(name, image_id) for name in spaces}
            folder, kind = stored.source_paths[int(stored.sources[position])]
            images.append(
                NewImage(
                    writer.source(folder, kind), f"{'./' * (turn + 1)}{stored.files[position]}",
                    opened.class_of(image_id), 720, 576, 1, 0, bytes(stored.contents[position]),
                    {name: vector for name, vector in vectors.items() if vector is not None},
                )
            )  # fmt: skip
        writer.append(images)


def measure(path: Path, space: str | None, rounds: int) -> float:
    """Print how long reasons take; returns the longest median."""
    engine = retrieval.open(path)
    (name,) = engine.space_names(space)
    images = engine.collection.images
    random = np.random.default_rng(0)
    order = random.permutation(len(images))
    _, distinct = np.unique(images.contents[order], axis=0, return_index=True)
    first, second, *ids = map(int, images.ids[order[random.permutation(distinct)]])
    told = engine.reasons(first, second, name)
    if name in told.unshown:
        raise SystemExit(f"{name}: {told.unshown[name]}")
    rounds = min(rounds, len(ids) // 5)
    print(f"{len(engine):,} images, {name}: {told.agreements[name].test.way}")
    one, two, three, four, five = (ids[at * rounds : (at + 1) * rounds] for at in range(5))
    files = [engine.collection.read(image_id) for image_id in three]
    return max(
        report(engine, name, "an image and a hit", one, two),
        report(engine, name, "the same once more", one, two),
        report(engine, name, "a file and a hit", files, four),
        report(engine, name, "further hits of a file", files[:1] * rounds, five),
    )


def report(
    engine: retrieval.Engine, name: str, what: str, queries: Sequence[int | bytes], hits: Sequence[int]
) -> float:
    """Print the median and the 95th percentile of the reasons of pairs; returns the median."""
    times = []
    for query, hit in zip(queries, hits, strict=False):
        start = time.perf_counter()
        engine.reasons(query, hit, name)
        times.append(1000 * (time.perf_counter() - start))
    median = float(np.median(times))
    print(f"  {what}: median {median:.0f} ms, 95 % within {np.percentile(times, 95):.0f} ms")
    return median


if __name__ == "__main__":
    main()
