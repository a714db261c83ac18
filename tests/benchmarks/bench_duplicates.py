"""How many planted copies of real pictures are found, and which links are found among the pictures themselves.

    python tests/benchmarks/bench_duplicates.py DATA [SHEET.jpg]
    python tests/benchmarks/bench_duplicates.py DATA --among COLLECTION

DATA is a folder or zip of class folders. Every link found in it is listed, and drawn into SHEET, so that a person can
say which are true; then copies of 100 of its pictures are planted, 100 of each kind, and looked for.

--among takes the time at the size of a large COLLECTION of vectors without pictures, such as bench_scale.py makes: the
candidates of each of its images by its index, and as many alignments of real candidates, which are those of DATA.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.datasets import open_dataset
from indexer.near_duplicates import clusters, update_clusters
from indexer.near_duplicates.alignment import similarity
from indexer.near_duplicates.clusters import _PAIRS, _candidates
from indexer.near_duplicates.greys import stored_greys
from indexer.pipeline import index_dataset
from retrieval.collection import Collection, CollectionWriter
from retrieval.cores import available_cores
from retrieval.encoders import DEFAULT
from retrieval.images import decode
from retrieval.search import Searcher
from retrieval.spaces import open_space
from retrieval.spaces.encoder import create

COPIED = 100
Random = np.random.Generator


def crop(image: Image.Image, random: Random) -> Image.Image:
    """5 % of each length cut off at any place, or, every second time, 5 % at every side."""
    width, height = image.size
    x, y = 0.05 * width, 0.05 * height
    if random.random() < 0.5:
        return image.crop((round(x), round(y), round(width - x), round(height - y)))
    left, top = random.uniform(0, x), random.uniform(0, y)
    return image.crop((round(left), round(top), round(left + 0.95 * width), round(top + 0.95 * height)))


def black_out(image: Image.Image, random: Random) -> Image.Image:
    """The lower left, where Kvasir's frames have the picture of the scope's position."""
    image = image.copy()
    image.paste((0, 0, 0), (0, round(0.64 * image.height), round(0.35 * image.width), image.height))
    return image


def relight(image: Image.Image, random: Random) -> Image.Image:
    gain, offset = random.choice([0.7, 0.8, 1.2, 1.3]), random.uniform(-15, 15)
    return Image.fromarray(np.clip(np.asarray(image) * gain + offset, 0, 255).astype(np.uint8))


KINDS: dict[str, tuple[Callable[[Image.Image, Random], Image.Image], int]] = {
    "re-encoded, quality 40": (lambda image, random: image, 40),
    "resized to a half": (lambda image, random: image.resize((image.width // 2, image.height // 2)), 90),
    "cropped by 5 %": (crop, 92),
    "overlay blacked out": (black_out, 92),
    "brightness changed": (relight, 92),
    "all of these": (lambda image, random: relight(black_out(crop(image, random), random), random), 60),
}


def among(data: Path, path: Path) -> None:
    """Print how long the candidates of every image of a collection take, and their alignments."""
    with tempfile.TemporaryDirectory() as scratch, open_dataset(data) as dataset:
        small = Path(scratch) / "collection"
        with CollectionWriter(small, create=True) as writer:
            spaces = [open_space(small, create(writer, DEFAULT), "indexing")]
            index_dataset(dataset, writer, spaces)
        searcher = Searcher(Collection.open(small))
        count = len(searcher.collection)
        real = np.concatenate([pairs for pairs, _ in _candidates(searcher, spaces[0].definition, np.arange(count))])
        ids = searcher.collection.images.ids
        greys = stored_greys(small, ids.tolist())
        stack = np.stack([greys[image_id] for image_id in ids.tolist()])
    searcher = Searcher(Collection.open(path))
    space = searcher.collection.spaces[0]
    total, searching, aligning = 0, 0.0, 0.0
    start = time.perf_counter()
    with ThreadPoolExecutor(available_cores()) as pool:
        for pairs, _ in _candidates(searcher, space, np.arange(len(searcher.collection))):
            found = time.perf_counter()
            chosen = real[np.arange(total, total + len(pairs)) % len(real)]
            parts = [chosen[at : at + _PAIRS] for at in range(0, len(chosen), _PAIRS)]
            list(pool.map(lambda part: similarity(stack[part[:, 0]], stack[part[:, 1]]), parts))
            end = time.perf_counter()
            searching, aligning, total, start = (
                searching + found - start,
                aligning + end - found,
                total + len(pairs),
                end,
            )
    print(
        f"{len(searcher.collection):,} images: {total:,} candidates, {searching:.0f} s; aligned, {aligning:.0f} s; "
        f"together {searching + aligning:.0f} s"
    )


def main() -> None:
    if "--among" in sys.argv:
        among(Path(sys.argv[1]), Path(sys.argv[sys.argv.index("--among") + 1]))
        return
    random = np.random.default_rng(0)
    with open_dataset(Path(sys.argv[1])) as dataset, tempfile.TemporaryDirectory() as scratch:
        path, planted = Path(scratch) / "collection", Path(scratch) / "planted"
        planted.mkdir()
        with CollectionWriter(path, create=True) as writer:
            spaces = [open_space(path, create(writer, DEFAULT), "indexing")]
            spaces[0].warm_up()
            indexing = timed(lambda: index_dataset(dataset, writer, spaces))
            looking = timed(lambda: update_clusters(writer))
            print(f"{dataset.name}: {len(dataset.items)} pictures indexed in {indexing:.1f} s; near duplicates looked")
            print(f"for in {looking:.1f} s more, {looking / indexing:.1%} (wall time)")
            collection = Collection.open(path)
            own = [cluster for cluster in clusters(collection) if len(cluster.ids) > 1]
            print(f"{len(own)} clusters in the data itself:")
            for cluster in own:
                print("  " + "  =  ".join(cluster.files))
            if len(sys.argv) > 2 and own:
                draw([[collection.read(i) for i in cluster.ids] for cluster in own], Path(sys.argv[2]))

            chosen = random.choice(len(dataset.items), min(COPIED, len(dataset.items)), replace=False)
            for at in np.sort(chosen).tolist():
                image = decode(dataset.read(dataset.items[at])).image
                for number, (change, quality) in enumerate(KINDS.values()):
                    change(image, random).save(planted / f"{at} {number}.jpg", quality=quality)
            with open_dataset(planted) as copies:
                index_dataset(copies, writer, spaces)
            later = timed(lambda: update_clusters(writer))
        images = Collection.open(path).images
        cluster_of = {(images.sources[at], file): int(images.clusters[at]) for at, file in enumerate(images.files)}
        print(f"{len(chosen) * len(KINDS)} copies planted, looked for in {later:.1f} s:")
        for number, kind in enumerate(KINDS):
            found = [
                cluster_of[0, dataset.items[at].file] == cluster_of[1, f"{at} {number}.jpg"] for at in chosen.tolist()
            ]
            print(f"  {kind:24} {np.mean(found):7.1%} found")
        before = np.unique(collection.images.clusters).size
        merged = before - np.unique(images.clusters[: len(collection)]).size
        strays = sum(
            cluster_of[1, f"{at} {number}.jpg"] not in (cluster_of[0, dataset.items[at].file], own_id)
            for at in chosen.tolist()
            for number in range(len(KINDS))
            for own_id in [int(images.ids[images.files.index(f"{at} {number}.jpg")])]
            if cluster_of[1, f"{at} {number}.jpg"] < len(collection)
        )
        print(
            f"pictures of the data that copies joined to each other: {merged}; copies linked to a wrong one: {strays}"
        )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def draw(rows: list[list[bytes]], sheet: Path) -> None:
    size = (440, 350)
    canvas = Image.new("RGB", (size[0] * max(map(len, rows)), size[1] * len(rows)))
    for y, row in enumerate(rows):
        for x, data in enumerate(row):
            canvas.paste(Image.open(io.BytesIO(data)).convert("RGB").resize(size), (x * size[0], y * size[1]))
    canvas.save(sheet)


if __name__ == "__main__":
    main()
