"""Search at sizes from 100,000 vectors on, beside FAISS Flat, FAISS's graph and hnswlib in the same run, on one thread.

    python tests/benchmarks/bench_scale.py COLLECTION [--sizes 50000x512] [--scratch DIR] [--memory BYTES] [--filters]
        [--peers] [--duplicates] [--build]

COLLECTION: where real embeddings come from, its first space; galleries are mixed from them (see mixed_vectors.py).
Vectors lie in DIR and are used again, indexes too, so that `--build` may come first and timings be made on a quiet
machine. Figures are medians of 200 single queries; recall is of the true 10 nearest, by Flat, of 1,000 queries: a graph
misses all neighbours of one query in a hundred or more, so that 200 tell too little. What is timed of ours is the whole
search of an index, and `engine.search` with its hits.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from mixed_vectors import Mixture
from numpy.typing import NDArray

import retrieval
from indexer.near_duplicates.alignment import SIDE
from indexer.near_duplicates.clusters import NEIGHBOURS, links
from indexer.near_duplicates.greys import GreyFile
from retrieval.collection import Collection, CollectionWriter, NewImage
from retrieval.filters import Filter, Selection
from retrieval.index.building import Wanted, reported_to, stored_tuning
from retrieval.index.faiss_index import FaissIndex
from retrieval.index.storage import index_folder
from retrieval.search import Searcher

SEARCHES = """
import sys, retrieval
engine = retrieval.open(sys.argv[1])
for at in range(200):
    engine.search(7 * at)
print(*(line for line in open("/proc/self/status") if line.startswith("Rss")), sep="")
"""
K = 10
QUERIES = 200
COMPARED = 1000
SELECTIVITIES = (0.5, 0.2, 0.05, 0.01, 0.001, 0.0001)
Array = NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--sizes", default="50000x512", help="such as 110000x1280,1000000x512")
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/bench-scale"))
    parser.add_argument("--filters", action="store_true", help="filters of every selectivity, random and disagreeing")
    parser.add_argument(
        "--peers", action="store_true", help="FAISS's own graph and hnswlib too, which take minutes to build"
    )
    parser.add_argument("--duplicates", action="store_true", help="near duplicates too, by small pictures of noise")
    parser.add_argument("--build", action="store_true", help="only make what later runs use: vectors and indexes")
    parser.add_argument("--memory", type=int, help="bytes that an index may take, as `kvasir tune` has it")
    options = parser.parse_args()
    opened = Collection.open(options.collection)
    embeddings = np.array(opened.vectors(opened.spaces[0].name)[1])
    labels = opened.images.labels[opened.positions(opened.spaces[0].name)]
    for size in options.sizes.split(","):
        count, dimension = map(int, size.split("x"))
        measure(Mixture(embeddings, labels, dimension), count, dimension, options)


def measure(mixture: Mixture, count: int, dimension: int, options: argparse.Namespace) -> None:
    print(f"\n{count:,} vectors of {dimension} numbers")
    path = options.scratch / f"{count}x{dimension}.collection"
    if not path.exists():
        print(f"  imported in {timed_once(lambda: make_collection(mixture, count, dimension, path)):.1f} s")
    opened = Collection.open(path)
    ids, vectors = opened.vectors("mixed")
    if not np.array_equal(mixture.block(min(16_384, count), 0)[0][0], vectors[0]):
        raise SystemExit(f"{path} was mixed from another collection; delete it, or give that one")
    folder = index_folder(path, "mixed")
    index = FaissIndex(opened.rows("mixed"), ids, folder, Wanted(memory=options.memory))
    build(index, folder)
    peers = []
    if options.peers:
        peers = [
            faiss_graph(vectors, path.with_suffix(".faiss")),
            hnswlib_index(np.asarray(vectors), path.with_suffix(".hnswlib")),
        ]
    if options.build:
        return
    compared, _ = mixture.block(COMPARED, 1 << 30)
    queries = compared[:QUERIES]
    opening(path)

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(dimension)
    flat.add(np.ascontiguousarray(vectors))
    flat_ms = median(lambda query: flat.search(query, K), queries[:15])
    true = ids[truth(flat, compared, K)]
    print(f"  FAISS Flat: {flat_ms:.2f} ms")
    tuning = stored_tuning(folder)
    assert tuning is not None
    print(f"  {tuning.name}: {(folder / 'proposer.faiss').stat().st_size / 1e6:,.0f} MB, {tuning.settings[0]}")
    state = index._state
    assert state.proposer is not None
    assert state.exact is not None
    setting = index._setting(state, K, None)
    settled()
    ours = median(lambda query: index.search(query, K), queries)
    found = np.concatenate([index.search(query, K)[1] for query in rows(compared)])
    print(f"  index.search: {ours:.3f} ms, recall {recall(found, true):.4f}, 1/{flat_ms / ours:.0f} of Flat")
    if setting is not None:
        from retrieval.index.int8_scan import padded_to, whole_query

        proposer = state.proposer
        coded = [padded_to(proposer.codes.d, whole_query(query)[0]) for query in queries]
        raw = median_of(lambda at: proposer.propose(coded[at], setting), len(queries))
        print(f"    of which FAISS: {raw:.3f} ms; ratio {ours / raw:.2f}")
    engine = retrieval.open(path)
    engine.search(queries[0], K)
    settled()
    first = median_of(lambda at: engine.search(queries[at], K), len(queries))
    whole = median_of(lambda at: engine.search(queries[at], K), len(queries))
    print(
        f"  engine.search with hits: {whole:.3f} ms, 1/{flat_ms / whole:.0f} of Flat; {first:.3f} ms when the vectors "
        "of the candidates are mapped for the first time"
    )
    if options.filters:
        filters(engine, index, flat, queries)
    memory(path)
    changes(path, queries)
    if options.duplicates:
        duplicates(path)
    for search in peers:
        peer(*search, compared, true, flat_ms, ours)


def make_collection(mixture: Mixture, count: int, dimension: int, path: Path) -> None:
    """A collection of mixtures; written block by block, as `kvasir index --vectors` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with CollectionWriter(path, create=True) as writer:
        writer.add_space("mixed", "imported", dimension, "cosine", {})
        source = writer.source(path.resolve() / "vectors", "vectors")
        for number, start in enumerate(range(0, count, 16_384)):
            vectors, labels = mixture.block(min(16_384, count - start), number)
            writer.append(
                [
                    NewImage(
                        source, f"{at:08d}.jpg", f"class {label}", 640, 480, 0, 0,
                        hashlib.sha256(b"%d" % at).digest(), {"mixed": vector},
                    )
                    for at, (vector, label) in enumerate(zip(vectors, labels.tolist(), strict=True), start)
                ]
            )  # fmt: skip


def opening(path: Path) -> None:
    """Time and memory of opening, once every module is imported."""
    before = rss()
    seconds = timed_once(lambda: globals().__setitem__("_opened", Collection.open(path)))
    print(f"  Collection.open: {seconds:.3f} s, {(rss() - before) / 2**20:.0f} MiB")


def filters(engine: Any, index: FaissIndex, flat: Any, queries: Array) -> None:
    images = engine.collection.images
    random = np.random.default_rng(3)
    print("  filters: matches, recall@10, ours and Flat with the same selector in ms")
    near = np.argsort(-(engine.collection.rows("mixed").take(images.ids) @ queries[0]), kind="stable")
    for share in SELECTIVITIES:
        size = max(K, round(share * len(images)))
        kinds = {
            "random": np.sort(random.choice(images.ids, size, replace=False)),
            "far": np.sort(images.ids[near[-size:]]),
            "near": np.sort(images.ids[near[:size]]),
        }
        for kind, chosen in kinds.items():
            selection = Selection(images.ids, chosen)
            passes = np.zeros(len(images), bool)
            passes[chosen] = True
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(passes, bitorder="little")))
            asked = queries[:20]
            true = np.concatenate([flat.search(query, K, params=parameters)[1] for query in rows(asked)])
            found = np.concatenate([index.search(query, K, selection)[1] for query in rows(asked)])
            ours = median(lambda query, selection=selection: index.search(query, K, selection), asked)
            theirs = median(lambda query, parameters=parameters: flat.search(query, K, params=parameters), asked[:7])
            print(
                f"    {100 * share:7.2f} % {kind:>6}: {recall(found, true):.4f} {ours:8.3f} {theirs:8.3f}  "
                f"ratio {ours / theirs:.2f}"
            )
    one = median_of(lambda at: engine.search(queries[at], K, filter=Filter(classes={"class 0"})), 20)
    print(f"    engine.search within one class: {one:.3f} ms")


def changes(path: Path, queries: Array) -> None:
    """Adding one image and removing it again, in turns: the write, what a running searcher does, its first search."""
    engine = retrieval.open(path)
    engine.search(queries[0], K)
    vector = queries[-1]
    steps: dict[str, list[list[float]]] = {"adding": [], "removing": []}
    with CollectionWriter(path) as writer:
        source = writer.source(path.resolve() / "vectors", "vectors")
        for _ in range(7):
            file = f"new-{time.time_ns()}.jpg"
            image = NewImage(
                source, file, "class 0", 640, 480, 0, 0, hashlib.sha256(file.encode()).digest(), {"mixed": vector}
            )
            new = 0
            for kind, each in steps.items():
                times = [time.perf_counter()]
                if kind == "adding":
                    (new,) = writer.append([image])
                else:
                    writer.remove([new])
                times.append(time.perf_counter())
                engine = engine.refreshed()
                times.append(time.perf_counter())
                assert (engine.search(vector, 1)[0].id == new) == (kind == "adding")
                times.append(time.perf_counter())
                each.append([1000 * (end - start) for start, end in pairwise(times)])
    for kind, each in steps.items():
        written, seen, searched = np.median(each, axis=0)
        print(f"  {kind} one: written in {written:.1f} ms, seen in {seen:.1f} ms, first search in {searched:.1f} ms")


def duplicates(path: Path) -> None:
    """Looking for near duplicates among all images: every neighbour is aligned, as if pictures had been decoded."""
    random = np.random.default_rng(5)
    searcher = Searcher(Collection.open(path))
    images = searcher.collection.images
    with GreyFile(path) as greys:
        for image_id in images.ids.tolist():
            if not greys.has(image_id):
                greys.put(image_id, random.integers(0, 256, (SIDE, SIDE), np.uint8))
    space = searcher.collection.manifest.space("mixed")
    start, cpu = time.perf_counter(), time.process_time()
    found = sum(1 for _ in links(searcher, space, np.arange(len(images))))
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"  near duplicates: {NEIGHBOURS} neighbours of each image aligned in {seconds:.0f} s "
        f"({used:.0f} s of processor time), {found} links; peak of the whole benchmark {peak:,.0f} MiB"
    )


def build(index: FaissIndex, folder: Path) -> None:
    """Build our index, where it is not stored yet."""
    began: dict[str, float] = {}
    if stored_tuning(folder) is None:
        with reported_to(lambda step, done, total: began.setdefault(step, time.perf_counter()) and None):
            seconds = timed_once(index.flush)
        ends = [*list(began.values())[1:], time.perf_counter()]
        steps = ", ".join(f"{name} {end - start:.0f}" for (name, start), end in zip(began.items(), ends, strict=True))
        print(f"  built in {seconds:.0f} s ({steps})", flush=True)


Peer = tuple[str, Callable[[int], object], Callable[[Array], Array]]
"""Name, what sets the nodes that a search expands, and a search for one query (1, d) that returns ids (1, k)."""


def faiss_graph(vectors: Array, file: Path) -> Peer:
    """FAISS's graph over codes of 8 bits of vectors (n, d), with the links that ours has; stored."""
    if not file.exists():
        built = faiss.index_factory(vectors.shape[1], "HNSW32,SQ8", faiss.METRIC_INNER_PRODUCT)
        built.hnsw.efConstruction = 80
        built.train(np.array(vectors[:: max(1, len(vectors) // 10_000)]))
        seconds = timed_once(lambda: built.add(np.ascontiguousarray(vectors)))
        print(f"  FAISS HNSW32,SQ8: built in {seconds:.0f} s", flush=True)
        faiss.write_index(built, str(file))
    index = faiss.read_index(str(file))

    def expand(ef: int) -> None:
        index.hnsw.efSearch = ef

    return "FAISS HNSW32,SQ8", expand, lambda query: index.search(query, K)[1]


def hnswlib_index(vectors: Array, file: Path) -> Peer:
    """hnswlib's index of vectors (n, d), stored now and then, so that a build that was ended goes on."""
    import hnswlib

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    if file.exists():
        index.load_index(str(file), max_elements=len(vectors))
    else:
        index.init_index(max_elements=len(vectors), ef_construction=80, M=32)
    start, stored = time.perf_counter(), index.get_current_count()
    for at in range(stored, len(vectors), 10_000):
        index.add_items(vectors[at : at + 10_000])
        if (count := index.get_current_count()) == len(vectors) or count >= stored + 50_000:
            index.save_index(str(file))
            print(f"  hnswlib: {count - stored:,} added in {time.perf_counter() - start:.0f} s", flush=True)
            start, stored = time.perf_counter(), count
    index.set_num_threads(1)
    return "hnswlib, M 32", index.set_ef, lambda query: index.knn_query(query, K)[0].astype(np.int64)


def peer(
    name: str,
    expand: Callable[[int], object],
    search: Callable[[Array], Array],
    queries: Array,
    true: Array,
    flat_ms: float,
    ours: float,
) -> None:
    """Times a peer at the fewest nodes with which it has a recall of 0.995."""
    for ef in (16, 32, 48, 64, 96, 128, 192, 256, 384, 512):
        expand(ef)
        found = np.concatenate([search(query) for query in rows(queries)])
        if ef == 512 or recall(found, true) >= 0.995:
            ms = median(search, queries[:QUERIES])
            print(
                f"  {name}, ef {ef}: {ms:.3f} ms, recall {recall(found, true):.4f}, 1/{flat_ms / ms:.0f} of Flat; "
                f"index.search takes {ours / ms:.2f} of it"
            )
            return


def memory(path: Path) -> None:
    """Memory of a process of its own that has searched: what is its own, and the mapped files that it has read of."""
    result = subprocess.run([sys.executable, "-c", SEARCHES, str(path)], check=True, capture_output=True, text=True)
    sizes = dict(line.split(":") for line in result.stdout.splitlines() if line)
    own, files = (int(sizes[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    print(f"  memory after 200 searches: {own:,.0f} MiB, and {files:,.0f} of mapped files and libraries")


def truth(flat: Any, queries: Array, k: int) -> Array:
    faiss.omp_set_num_threads(2)
    found = flat.search(queries, k)[1]
    faiss.omp_set_num_threads(1)
    return found


def rows(queries: Array) -> list[Array]:
    return [queries[at : at + 1] for at in range(len(queries))]


def recall(found: Array, true: Array) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), true.tolist(), strict=True)]))


def median(search: Callable[[Array], object], queries: Array) -> float:
    return median_of(lambda at: search(queries[at : at + 1]), len(queries))


def median_of(search: Callable[[int], object], count: int) -> float:
    """Milliseconds of one call, the median after a few that are not timed."""
    for at in range(min(3, count)):
        search(at)
    times = []
    for at in range(count):
        start = time.perf_counter()
        search(at)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def settled() -> None:
    """Wait until a loaded index lies in huge pages, which is done in the background within seconds."""
    for thread in threading.enumerate():
        if thread.name == "huge pages":
            thread.join()


def timed_once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
