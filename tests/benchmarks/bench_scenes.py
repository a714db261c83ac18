"""Which scenes are found in real pictures, how many planted views of them, and what frames of one scene flatter.

    python tests/benchmarks/bench_scenes.py DATA [SHEET.jpg]

DATA is a folder or zip of class folders. Scenes found in it are listed, and every linked pair is drawn into SHEET, so
that a person can say which are true; P@1 and mAP are given by leave-cluster-out and leave-scene-out. Then other views
of 40 of its pictures, of the field of view alone, are planted and looked for.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from indexer.datasets import open_dataset
from indexer.run import run_dataset
from indexer.scenes import scenes, update_scenes
from indexer.scenes.geometry import INLIERS, agreement
from indexer.scenes.local_features import local_features
from retrieval.collection import Collection, CollectionWriter
from retrieval.encoders import EncoderOptions
from retrieval.evaluation import EvaluationOptions, MeasureOptions, evaluate_collection
from retrieval.field_of_view import crop_to_field
from retrieval.images import decode

PLANTED = 40
Random = np.random.Generator


def central(image: Image.Image, random: Random) -> Image.Image:
    """The middle 70 % of each length, moved by up to 10 %."""
    width, height = image.size
    left, top = (0.15 + random.uniform(-0.1, 0.1, 2)) * image.size
    return image.crop((round(left), round(top), round(left + 0.7 * width), round(top + 0.7 * height)))


def turned(image: Image.Image, random: Random) -> Image.Image:
    angle = float(random.choice([-1, 1]) * random.uniform(15, 40))
    return central(image.rotate(angle, Image.Resampling.BICUBIC), random)


def smaller(image: Image.Image, random: Random) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


def oblique(image: Image.Image, random: Random) -> Image.Image:
    """One side of the picture a quarter shorter, as a wall that is seen from the side."""
    (width, height), cut = image.size, 0.125
    corners = (0, 0, 0, height, width, height * (1 - cut), width, height * cut)
    return central(image.transform(image.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC), random)


def relit(image: Image.Image, random: Random) -> Image.Image:
    gain = random.uniform(0.7, 1.3) * random.uniform(0.9, 1.1, 3)
    return Image.fromarray((np.asarray(image) * gain).clip(0, 255).astype(np.uint8))


def every(image: Image.Image, random: Random) -> Image.Image:
    return relit(oblique(turned(image, random), random), random)


KINDS: dict[str, Callable[[Image.Image, Random], Image.Image]] = {
    "middle 70 %": central,
    "turned by 15 to 40 degrees, middle": turned,
    "half the size": smaller,
    "seen from the side, middle": oblique,
    "light and colour": relit,
    "turned, from the side, relit, middle": every,
}


def main() -> None:
    random = np.random.default_rng(0)
    with open_dataset(Path(sys.argv[1])) as dataset, tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "collection"
        with CollectionWriter(path, create=True) as writer:
            indexing = timed(lambda: run_dataset(dataset, writer, options=EncoderOptions(features="multi")))
            looking = timed(lambda: update_scenes(writer))
            peak = psutil.Process().memory_info().rss / 2**20
            print(f"{dataset.name}: {len(dataset.items)} pictures indexed in {indexing:.1f} s; scenes looked for in")
            print(f"{looking:.1f} s more (wall time), {peak:.0f} MiB resident then")
            collection = Collection.open(path)
            listed = scenes(collection)
            print(f"{len(listed)} scenes of {sum(len(scene.ids) for scene in listed)} pictures in the data itself:")
            for scene in listed:
                print("  " + "  ~  ".join(scene.files))
            if len(sys.argv) > 2 and listed:
                draw(collection, Path(sys.argv[2]))
            print_gap(collection)

            chosen = np.sort(random.choice(len(dataset.items), min(PLANTED, len(dataset.items)), replace=False))
            pictures = {int(at): dataset.read(dataset.items[at]) for at in chosen}
            print_planted(pictures, random)


def print_gap(collection: Collection) -> None:
    """P@1 and mAP over queries, by both protocols."""
    result = evaluate_collection(collection, "", EvaluationOptions(measures=MeasureOptions(samples=0)))
    for space, other in zip(result.spaces, result.leave_scene_out, strict=False):
        for name in ("precision@1", "mAP"):
            both = space.means(name), other.means(name)
            texts = [f"{means.micro:.4f} (mean of classes {means.macro:.4f})" for means in both]
            gap = both[1].micro - both[0].micro
            print(f"  {space.space} {name}: leave-cluster-out {texts[0]}, leave-scene-out {texts[1]}, gap {gap:+.4f}")


def print_planted(pictures: dict[int, bytes], random: Random) -> None:
    """The share of views that local features link with their picture, and how many with another one."""
    features = {at: local_features(data) for at, data in pictures.items()}
    print(f"{len(pictures) * len(KINDS)} views planted:")
    for kind, change in KINDS.items():
        views = {at: local_features(encoded(change(field(data), random))) for at, data in pictures.items()}
        found = np.mean([agreement(features[at], views[at]) >= INLIERS for at in pictures])
        others = [(at, other) for at in pictures for other in pictures if at != other]
        wrong = sum(agreement(features[other], views[at]) >= INLIERS for at, other in others)
        print(f"  {kind:38} {found:6.1%} found; {wrong} of {len(others)} pairs with another picture linked")


def field(data: bytes) -> Image.Image:
    return crop_to_field(decode(data).image)


def encoded(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def draw(collection: Collection, sheet: Path) -> None:
    """A row for each scene: its pictures, at most six."""
    rows = []
    for scene in scenes(collection):
        images = [Image.open(BytesIO(collection.read(one))).convert("RGB").resize((240, 192)) for one in scene.ids[:6]]
        row = Image.new("RGB", (6 * 240, 192))
        for at, image in enumerate(images):
            row.paste(image, (240 * at, 0))
        rows.append(row)
    page = Image.new("RGB", (6 * 240, 192 * len(rows)))
    for at, row in enumerate(rows):
        page.paste(row, (0, 192 * at))
    page.save(sheet)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
