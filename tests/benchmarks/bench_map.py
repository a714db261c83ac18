"""How long a map of 10,000 images takes to be laid out, sent and drawn.

    python tests/benchmarks/bench_map.py [--images N] [--dimension D]

Vectors are drawn about 23 random directions. The frame is the time of one redraw of every point in Debian's chromium,
headless and without a GPU, by the page's own clock: the median of 60 frames while the map is dragged.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

FRAMES = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=256)
    options = parser.parse_args()

    from conftest import store_vectors

    from retrieval.collection import Collection
    from retrieval.space_map.store import make_map, store_map

    draw = np.random.default_rng(0)
    directions = draw.standard_normal((23, options.dimension))
    classes = draw.integers(0, 23, options.images)
    vectors = directions[classes] + 1.5 * draw.standard_normal((options.images, options.dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        path = store_vectors(Path(folder) / "c", {"mine": vectors.astype(np.float32)}, [f"class {c}" for c in classes])
        opened = Collection.open(path)
        began = time.perf_counter()
        made = make_map(opened, "mine")
        print(f"layout and trustworthiness of {options.images:,} images: {time.perf_counter() - began:.1f} s")
        print(f"trustworthiness: {made.facts.trustworthiness:.3f}")
        store_map(path, made)
        measure_page(path)


def measure_page(path: Path) -> None:
    """Serve the collection, and print how long its map takes to be sent and drawn."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    program = "from retrieval.command_line import main; main()"
    command = [sys.executable, "-c", program, "serve", str(path), "--port", str(port), "--rate", "off"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(address)
            began = time.perf_counter()
            with urllib.request.urlopen(f"{address}/api/v1/map") as response:
                size = len(response.read())
            print(f"the map over REST: {1000 * (time.perf_counter() - began):.0f} ms, {size / 1000:.0f} kB")
            with (
                sync_playwright() as playwright,
                playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"]) as browser,
            ):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                began = time.perf_counter()
                page.goto(f"{address}/map/")
                canvas = page.locator("canvas.map-canvas[data-drawn]")
                canvas.wait_for()
                print(f"page opened until drawn: {1000 * (time.perf_counter() - began):.0f} ms")
                box = canvas.bounding_box()
                assert box is not None
                page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
                page.mouse.down()
                frames = []
                for at in range(FRAMES):
                    page.mouse.move(box["x"] + box["width"] / 2 + at % 20, box["y"] + box["height"] / 2 + at % 7)
                    frames.append(float(canvas.get_attribute("data-milliseconds") or "nan"))
                page.mouse.up()
                print(f"a frame: median {statistics.median(frames):.1f} ms, longest {max(frames):.1f} ms")
        finally:
            server.terminate()


def wait_for(address: str) -> None:
    """Return once the server is ready."""
    for _ in range(600):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz") as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(address)


if __name__ == "__main__":
    main()
