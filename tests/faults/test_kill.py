"""Kill -9 at any moment: the collection opens, holds all that was reported as done, and a second run completes it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.collection import Collection, NotACollectionError
from retrieval.collection.catalog import checksum

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="programs are forked from one that has loaded all")

PICTURES = 200

WORKER = """
    import os, sys, signal
    from pathlib import Path
    import numpy as np
    from indexer import embedding, pipeline
    from indexer.datasets import open_dataset
    from retrieval.collection import CollectionWriter, catalog, manifest, vectors, writing
    from retrieval.encoders import Recipe
    from retrieval.spaces.encoder import EncoderSpace

    embedding.BATCH = 16

    class MeanColours:
        '''An encoder as small as can be: the mean colours of a grid, of unit length.'''
        recipe = Recipe("mean colours", "none", 12, (8, 8), (0.5,) * 3, (0.5,) * 3, "bilinear", "squash", "none")
        def encode(self, batch):
            cells = batch.reshape(len(batch), 2, 4, 2, 4, 3).mean((2, 4)).reshape(len(batch), 12) + 1
            return (cells / np.linalg.norm(cells, axis=1, keepdims=True)).astype(np.float32)

    def die_at(step):
        '''Kill this process between two steps: at the step-th call of anything that writes.'''
        calls = [0]
        def counted(function, after):
            def call(*arguments, **options):
                if not after:
                    tick()
                result = function(*arguments, **options)
                if after:
                    tick()
                return result
            return call
        def tick():
            calls[0] += 1
            if calls[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
        for owner, name in ((vectors.VectorFile, "write"), (vectors.VectorFile, "sync"),
                            (catalog, "_begin"), (catalog, "_commit"), (writing, "insert_images"),
                            (manifest, "write_atomically"), (writing, "write_manifest"), (os, "fsync")):
            setattr(owner, name, counted(counted(getattr(owner, name), False), True))

    data, path, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    if step:
        die_at(step)
    with open_dataset(data) as dataset, CollectionWriter(path, name="t", create=True) as writer:
        for name in ("one", "two"):
            if name not in [space.name for space in writer.manifest.spaces]:
                writer.add_space(name, "encoder", 12, "cosine", MeanColours.recipe.to_dict() | {"spec": name})
        spaces = [EncoderSpace(path, d, "indexing", MeanColours()) for d in writer.manifest.spaces]
        pipeline.index_dataset(dataset, writer, spaces, on_progress=lambda o: print(o.done, flush=True))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., Image.Image]) -> Path:
    folder = tmp_path_factory.mktemp("kill") / "data"
    for number in range(PICTURES):
        (folder / f"class{number % 4}").mkdir(parents=True, exist_ok=True)
        draw(number, size=(24, 18)).save(folder / f"class{number % 4}" / f"{number}.png")
    return folder


class Run:
    """An indexing in a process of its own, which dies at a step where one is given, and prints how much it has done."""

    def __init__(self, fork: Callable[..., Any], data: Path, path: Path, step: int = 0) -> None:
        self.printed = path.with_name(f"{path.name}.out")
        self.printed.unlink(missing_ok=True)
        self.process = fork(WORKER, data, path, step, stdout=self.printed)

    def wait_for_the_first_line(self) -> None:
        while self.process.poll() is None and not (self.printed.exists() and self.printed.stat().st_size):
            time.sleep(0.002)

    def reported(self) -> int:
        """How many pictures it said were done before it ended."""
        self.process.wait(120)
        return max((int(line) for line in self.printed.read_text().split()), default=0)


@pytest.fixture
def work(fork: Callable[..., Any], data: Path) -> Callable[..., Run]:
    """(collection, step) -> an indexing of the pictures into it that has begun."""
    return lambda path, step=0: Run(fork, data, path, step)


def state(path: Path) -> dict[str, tuple[int, bytes, bytes]]:
    """file -> id and vectors, each vector compared with its checksum; SQLite's own check too."""
    connection = sqlite3.connect(path / "catalog.sqlite")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    collection = Collection.open(path)
    by_file: dict[str, list[bytes]] = {file: [] for file in collection.images.files}
    for space in collection.spaces:
        ids, vectors = collection.vectors(space.name)
        for image_id, vector in zip(ids.tolist(), np.asarray(vectors), strict=True):
            data = vector.tobytes()
            assert checksum(data) == collection.images.checksums[collection.position(image_id), space.number]
            by_file[collection.file_of(image_id)].append(data)
    return {
        file: (int(image_id), *vectors)  # type: ignore[misc]
        for image_id, (file, vectors) in zip(collection.images.ids, by_file.items(), strict=True)
    }


Whole = dict[str, tuple[int, bytes, bytes]]


@pytest.fixture(scope="module")
def undisturbed(fork: Callable[..., Any], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    path = tmp_path_factory.mktemp("whole") / "c"
    assert Run(fork, data, path).reported() == PICTURES
    whole = state(path)
    assert len(whole) == PICTURES
    assert all(len(entry) == 3 for entry in whole.values())
    return whole


def check_and_complete(work: Callable[..., Run], path: Path, done: int, whole: Whole) -> None:
    try:
        partial = state(path) if path.exists() else {}
    except (NotACollectionError, sqlite3.OperationalError):
        assert done == 0  # killed while the collection was being made: nothing was promised yet
        partial = {}
    assert len(partial) >= done
    assert all(whole[file] == entry for file, entry in partial.items())
    assert work(path).reported() == PICTURES
    assert state(path) == whole


# Early steps make the collection; each of 13 batches writes and syncs two files and commits, in 18 steps.
@pytest.mark.parametrize("step", [*range(1, 12), 20, 30, 40, *range(45, 64), 100, 200])
def test_killed_between_two_steps(step: int, work: Callable[..., Run], tmp_path: Path, undisturbed: Whole) -> None:
    path = tmp_path / "c"
    run = work(path, step)
    done = run.reported()
    assert run.process.poll() == -signal.SIGKILL
    check_and_complete(work, path, done, undisturbed)


def test_killed_again_and_again_at_any_moment(
    work: Callable[..., Run],
    tmp_path: Path,
    undisturbed: Whole,
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    seed, count = int.from_bytes(os.urandom(4)), rounds(8)
    tally(seed=seed)
    random = np.random.default_rng(seed)
    path = tmp_path / "c"
    done = 0
    for _ in range(count):
        run = work(path)
        run.wait_for_the_first_line()
        time.sleep(float(random.uniform(0, 0.08)))
        run.process.kill()
        done = max(done, run.reported())
        partial = state(path)
        assert len(partial) >= done
        assert all(undisturbed[file] == entry for file, entry in partial.items())
        if len(partial) == PICTURES:
            shutil.rmtree(path)
            done = 0
    check_and_complete(work, path, done, undisturbed)
    tally(kills=count)
