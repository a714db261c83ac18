"""How long a reason takes: where a query and a hit agree, both pictures decoded and encoded.

    python tests/benchmarks/bench_reasons.py COLLECTION

Run `kvasir reasons COLLECTION` first. A reason reads two pictures; only the check that the test's outcome is
of its images grows with the collection.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import retrieval


def main() -> None:
    """Print the median and the 95th percentile of a reason by file and by id, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection")
    parser.add_argument("--space", help="the default one")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    engine = retrieval.open(arguments.collection)
    (name,) = engine.space_names(arguments.space)
    random = np.random.default_rng(0)
    pairs = random.choice(engine.collection.ids(name), (arguments.rounds, 2))
    pictures = [engine.collection.read(int(query)) for query, _ in pairs]
    told = engine.reasons(int(pairs[0][0]), int(pairs[0][1]), name)
    if name in told.unshown:
        raise SystemExit(f"{name}: {told.unshown[name]}")
    print(f"{len(engine):,} images, {name}: {told.agreements[name].test.way}")
    for what, queries in (("an image", [int(query) for query, _ in pairs]), ("a file", pictures)):
        times = []
        for query, (_, hit) in zip(queries, pairs, strict=True):
            start = time.perf_counter()
            engine.reasons(query, int(hit), name)
            times.append(1000 * (time.perf_counter() - start))
        print(f"by {what}: median {np.median(times):.0f} ms, 95 % within {np.percentile(times, 95):.0f} ms")


if __name__ == "__main__":
    main()
