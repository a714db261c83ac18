"""A picture that is added over REST, and the query after it, beside the usual query.

    python tests/benchmarks/bench_write.py [--images 50000] [--writes 20]

The collection is made of random unit vectors of the default encoder's space, and of sixteen real pictures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from bench_serve import Server, drawn, filled_collection

from retrieval.collection import Collection, CollectionWriter
from web.keys import create_key


def milliseconds(client: httpx.Client, method: str, path: str, **more: object) -> float:
    """The time of one request that succeeds."""
    start = time.perf_counter()
    response = client.request(method, path, **more)  # type: ignore[arg-type]
    response.raise_for_status()
    return 1000 * (time.perf_counter() - start)


def written_elsewhere(client: httpx.Client, path: Path) -> None:
    """Remove an image by another process's means, and wait until the server has seen it."""
    last = int(Collection.open(path).images.ids[-1])
    with CollectionWriter(path) as writer:
        writer.remove([last])
    while client.get(f"/api/v1/images/{last}").status_code != 404:
        time.sleep(0.01)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--writes", type=int, default=20)
    arguments = parser.parse_args()
    jpeg = {"Content-Type": "image/jpeg"}
    with tempfile.TemporaryDirectory() as folder:
        path = filled_collection(Path(folder), arguments.images)
        _, key = create_key(path, "bench", "write")
        server = Server(path)
        random = np.random.default_rng(0)
        headers = {"Authorization": f"Bearer {key}"}
        try:
            with httpx.Client(base_url=server.url, headers=headers, timeout=120) as client:

                def query() -> float:
                    image_id = random.integers(16, arguments.images - 1000)
                    return milliseconds(client, "GET", f"/api/v1/images/{image_id}/similar")

                for _ in range(20):
                    query()
                usual, added, after_own, after_other = [], [], [], []
                for seed in range(arguments.writes):  # by turns, so that a busy machine slows all of them alike
                    picture = drawn(1000 + seed)
                    added.append(milliseconds(client, "POST", "/api/v1/images", content=picture, headers=jpeg))
                    after_own.append(query())
                    usual += [query() for _ in range(5)]
                    written_elsewhere(client, path)
                    after_other.append(query())
                    usual += [query() for _ in range(5)]
        finally:
            server.process.terminate()
            server.process.wait()
    median = statistics.median(usual)
    print(f"{arguments.images:,} images, medians of {arguments.writes} writes")
    print(f"a picture added: {statistics.median(added):.0f} ms (under 300), the first one {added[0]:.0f} ms")
    print(f"usual query: {median:.2f} ms")
    for name, times in (("own", after_own), ("another process's", after_other)):
        value = statistics.median(times)
        print(f"query after {name} write: {value:.2f} ms, {value / median:.2f} of the usual (at most 1.5)")


if __name__ == "__main__":
    main()
