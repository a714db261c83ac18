"""How `kvasir serve` holds up: each answer beside the time of its parts alone, many clients, memory.

    python tests/benchmarks/bench_serve.py [COLLECTION PICTURE] [--seconds 60] [--beside COLLECTION,COLLECTION]

Without arguments it draws its own pictures and fills a collection up to 8,000 images with random
unit vectors, which have no pictures. With --beside only the uploads a second of 8 clients are timed,
of each collection in turns, such as those that bench_index.py leaves by precision.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import random_vectors, store_vectors

from indexer.datasets import open_dataset
from indexer.run import run_dataset
from retrieval.collection import CollectionWriter
from retrieval.encoders.resizing import resize
from retrieval.images import decode
from retrieval.search import open_collection

IMAGES = 8000
ROOT = Path(__file__).parents[2]


def drawn(seed: int, size: tuple[int, int] = (720, 576)) -> bytes:
    """A JPEG with the detail of a frame: smooth noise of several scales."""
    random = np.random.default_rng(seed)
    image = np.zeros((size[1], size[0], 3))
    for scale in (8, 32, 128):
        noise = Image.fromarray(random.integers(0, 256, (scale, scale, 3), dtype=np.uint8))
        image += np.asarray(noise.resize(size, Image.Resampling.BICUBIC), float)
    out = io.BytesIO()
    Image.fromarray((image / 3).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()


def filled_collection(folder: Path, images: int = IMAGES) -> Path:
    """A collection of the default encoder, of whose images sixteen are real files."""
    for seed in range(16):
        place = folder / "data" / f"class {seed % 8}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{seed}.jpg").write_bytes(drawn(seed))
    path = folder / "bench.collection"
    with open_dataset(folder / "data") as dataset, CollectionWriter(path, create=True) as writer:
        run_dataset(dataset, writer)
        space = writer.manifest.spaces[0]
    classes = [f"class {n % 8}" for n in range(images - 16)]
    return store_vectors(path, {space.name: random_vectors(images - 16, space.dimension)}, classes, first=16)


class Server:
    """A running `kvasir serve`."""

    def __init__(self, collection: Path, *flags: str) -> None:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            port = trial.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        program = "from retrieval.command_line import main; main()"
        command = [
            sys.executable,
            "-c",
            program,
            "serve",
            str(collection),
            "--port",
            str(port),
            "--rate",
            "off",
            *flags,
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
        while True:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)

    def memory(self) -> float:
        """Resident memory of the worker in MiB."""
        (worker,) = psutil.Process(self.process.pid).children()
        return float(worker.memory_info().rss / 2**20)


class Client:
    """Asks over one connection that stays open, with as little work of its own as Python can."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)

    def get(self, path: str) -> int:
        """The answer's status."""
        return self._ask("GET", path, None, {})

    def upload(self, picture: bytes) -> int:
        """Search by a picture in a form, as a browser does; the answer's status."""
        head = b'--part\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        form = {"Content-Type": "multipart/form-data; boundary=part"}
        return self._ask("POST", "/api/v1/search", head + picture + b"\r\n--part--\r\n", form)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> int:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def median_ms(work: Callable[[], object], times: int) -> float:
    """Median time of one call in milliseconds."""
    work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


def answered(status: int) -> None:
    """Raise unless a search was answered: a refusal is quicker, but no search."""
    if status != 200:
        raise RuntimeError(f"the server answered {status}")


def one_client(server: Server, collection: Path, picture: bytes) -> None:
    """One query at a time, beside its parts in this process."""
    engine = open_collection(collection, "throughput")
    space = engine.collection.spaces[0].name
    encoder = engine.space(space).encoder
    index = engine.index(space)
    prepared = encoder.recipe.prepare(decode(picture, draft=encoder.recipe.draft))[None]
    vector = encoder.encode(prepared)
    an_id = int(engine.collection.images.ids[5])
    client = Client(server)
    decoding, encoding, searching, upload, by_id = [], [], [], [], []
    for _ in range(5):  # by turns, so that a busy machine slows all of them alike
        decoding.append(
            median_ms(lambda: encoder.recipe.prepare(decode(picture, draft=encoder.recipe.draft), resize), 20)
        )
        encoding.append(median_ms(lambda: encoder.encode(prepared), 20))
        searching.append(median_ms(lambda: index.search(vector, 10), 20))
        upload.append(median_ms(lambda: answered(client.upload(picture)), 20))
        by_id.append(median_ms(lambda: answered(client.get(f"/api/v1/images/{an_id}/similar")), 40))
    parts = [statistics.median(times) for times in (decoding, encoding, searching)]
    whole = statistics.median(upload)
    print(f"parts alone: decode {parts[0]:.2f} ms, encoder {parts[1]:.2f} ms, search {parts[2]:.2f} ms")
    print(f"query by upload {whole:.2f} ms, {whole / sum(parts):.2f} of its parts' sum (at most 1.35)")
    short = statistics.median(by_id)
    print(
        f"query by image id {short:.2f} ms at {len(engine.collection):,} images (under 5), "
        f"{short - parts[2]:.2f} ms more than its search alone"
    )


def encoder_alone(collection: Path, seconds: float) -> float:
    """Pictures per second of the encoder alone on prepared pictures in memory, all cores."""
    engine = open_collection(collection, "throughput")
    encoder = engine.space(engine.collection.spaces[0].name).encoder
    width, height = encoder.recipe.size
    batch = np.random.default_rng(0).integers(0, 256, (64, height, width, 3), dtype=np.uint8)
    encoder.encode(batch)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        encoder.encode(batch)
        count += len(batch)
    return count / (time.perf_counter() - start)


def many_clients(server: Server, picture: bytes, clients: int, seconds: float) -> tuple[list[float], Counter[int]]:
    """Times in seconds and statuses of `clients` that ask without pause, from a process of their own."""
    times: list[float] = []
    statuses: Counter[int] = Counter()
    lock = threading.Lock()
    end = time.perf_counter() + seconds

    def ask() -> None:
        client = Client(server)
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                status = client.upload(picture)
            except (OSError, http.client.HTTPException):
                client, status = Client(server), 0
            with lock:
                times.append(time.perf_counter() - start)
                statuses[status] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, statuses


def uploads_beside(collections: Sequence[Path], picture: bytes, rounds: int = 3) -> None:
    """Uploads a second that each collection's server answers, in turns."""
    servers = [Server(collection) for collection in collections]
    rates: list[list[float]] = [[] for _ in servers]
    try:
        for _ in range(rounds):
            for server, each in zip(servers, rates, strict=True):
                many_clients(server, picture, 8, 2)
                times, statuses = many_clients(server, picture, 8, 8)
                for status in statuses:
                    answered(status)
                each.append(len(times) / 8)
    finally:
        for server in servers:
            server.process.terminate()
            server.process.wait()
    for collection, each in zip(collections, rates, strict=True):
        ratio = statistics.median(rate / first for rate, first in zip(each, rates[0], strict=True))
        print(f"{collection}: {statistics.median(each):.1f} uploads a second, {ratio:.2f} of {collections[0]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("collection", nargs="?", type=Path)
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--beside", help="paths of collections, with commas between")
    args = parser.parse_args()
    if args.beside is not None:
        uploads_beside([args.collection, *map(Path, args.beside.split(","))], args.picture.read_bytes())
        return
    with tempfile.TemporaryDirectory() as folder:
        collection = args.collection or filled_collection(Path(folder))
        picture = args.picture.read_bytes() if args.picture else drawn(99)
        server = Server(collection)
        try:
            one_client(server, collection, picture)
            before = encoder_alone(collection, 5)
            times, statuses = many_clients(server, picture, 8, 10)
            for status in statuses:
                answered(status)
            alone = (before + encoder_alone(collection, 5)) / 2
            rate = len(times) / 10
            print(f"8 clients: {rate:.1f}/s, {rate / alone:.2f} of the encoder alone, {alone:.1f}/s (at least 0.9)")
            many_clients(server, picture, 32, args.seconds / 4)
            warm = server.memory()
            times, statuses = many_clients(server, picture, 32, args.seconds)
            p50, p95 = np.percentile(times, [50, 95])
            print(f"32 clients, {args.seconds:.0f} s: {dict(statuses)}, {len(times) / args.seconds:.1f}/s")
            print(f"  p50 {1000 * p50:.0f} ms, p95 {1000 * p95:.0f} ms, ratio {p95 / p50:.2f} (below 4)")
            print(f"  memory {warm:.0f} MiB after warming up, {server.memory():.0f} MiB at the end")
        finally:
            server.process.terminate()
            server.process.wait()
        small = Server(collection, "--queue", "4")
        try:
            times, statuses = many_clients(small, picture, 32, 3)
            print(f"queue of 4, 32 clients: {statuses[200]} answered, {statuses[503]} told 503, {statuses[0]} errors")
        finally:
            small.process.terminate()
            small.process.wait()


if __name__ == "__main__":
    main()
