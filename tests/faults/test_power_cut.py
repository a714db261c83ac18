"""A kill or a power cut at every point where something is published: the old state or the new one, never another.

The folder is copied before and after every sync, rename, deletion and commit, in three ways: as a kill leaves it; as a
power cut leaves it where renames outlive data (what was never synced is empty); and where neither a file's data nor its
name is on disk before its sync and that of its folder. SQLite's own files are copied as they are: it is trusted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from indexer.datasets import Item
from indexer.embedding import EmbeddedPicture, NewPicture, Task
from indexer.shards import Shard, ShardFolder
from indexer.vector_import import import_vectors, named_space
from indexer.vector_table import VectorTable
from retrieval.collection import Collection, CollectionWriter, catalog
from retrieval.collection.changes import log_position
from retrieval.collection.columns import NAME as COLUMNS
from retrieval.collection.columns import stored_position
from retrieval.collection.vectors import StoredRows
from retrieval.descriptors import DESCRIPTORS
from retrieval.errors import PictureError
from retrieval.index import building
from retrieval.index.building import Wanted
from retrieval.index.descriptor_ivf import DescriptorIVF
from retrieval.index.faiss_index import FaissIndex
from retrieval.index.rows import ArrayRows
from retrieval.learn import LearnOptions
from retrieval.learn.training import learn, refit
from retrieval.spaces import open_space

pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="descriptors of folders are synced on POSIX alone")

Model = Literal["kill", "names first", "nothing unsynced"]
MODELS: tuple[Model, ...] = ("kill", "names first", "nothing unsynced")


class Disk:
    """What is on disk of a folder: data by inode as of its last sync, names by folder as of its last sync."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._data: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {}
        self._open: list[int] = []  # so that no inode is used again
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            self._names[folder] = self._listed(folder)
        for file in root.rglob("*"):
            if file.is_file():
                self._keep(os.open(file, os.O_RDONLY))

    def sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not path.is_relative_to(self.root):
            return
        if path.is_dir():
            self._names[path] = self._listed(path)
        else:
            self._keep(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY))

    def _keep(self, descriptor: int) -> None:
        self._open.append(descriptor)
        status = os.fstat(descriptor)
        self._data[status.st_ino] = os.pread(descriptor, status.st_size, 0)

    @staticmethod
    def _listed(folder: Path) -> dict[str, int]:
        return {entry.name: entry.stat().st_ino for entry in folder.iterdir() if entry.is_file()}

    def left(self, model: Model, target: Path) -> None:
        """Write into `target` what a stop at this moment leaves."""
        shutil.rmtree(target, ignore_errors=True)
        for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
            place = target / folder.relative_to(self.root)
            place.mkdir(parents=True)
            names = self._listed(folder)
            if model == "nothing unsynced":
                trusted = {name: inode for name, inode in names.items() if "sqlite" in name}
                names = self._names.get(folder, {}) | trusted
            for name, inode in names.items():
                if model == "kill" or "sqlite" in name:
                    shutil.copyfile(folder / name, place / name)
                elif not name.endswith(".lock"):
                    (place / name).write_bytes(self._data.get(inode, b""))

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)


@contextmanager
def stopped_everywhere(root: Path, check: Callable[[Path, str], None], most: int) -> Iterator[dict[str, int]]:
    """Check what a stop leaves of a folder at each publication point of the block, `most` points evenly at most."""
    disk, counts, target = Disk(root), {"points": 0, "states": 0}, root.with_name(f"{root.name}-left")
    step = 1

    def stop(what: str) -> None:
        nonlocal step
        counts["points"] += 1
        if counts["states"] >= 3 * most:
            step *= 2
            counts["states"] //= 2
        if counts["points"] % step:
            return
        for model in MODELS:
            disk.left(model, target)
            check(target, f"{model}, at point {counts['points']}, {what}")
            counts["states"] += 1

    busy = False

    def around(function: Any, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal busy
            if busy:
                return function(*arguments, **options)
            busy = True  # what the check itself writes is no point
            try:
                stop(f"before {name} {arguments}")
                result = function(*arguments, **options)
                if name == "fsync":
                    disk.sync(arguments[0])
                stop(f"after {name} {arguments}")
            finally:
                busy = False
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (catalog, "_commit")):
            patch.setattr(owner, name, around(getattr(owner, name), name))
        try:
            yield counts
        finally:
            disk.close()


def unit(count: int, dimension: int, seed: int) -> Any:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def append(path: Path, vectors: Any, first: int, space: str = "a") -> None:
    with CollectionWriter(path, create=True) as writer:
        files = [str(first + number) for number in range(len(vectors))]
        classes = [f"class{number % 3}" for number in range(len(vectors))]
        import_vectors(writer, vectors, VectorTable.of(files, classes), named_space(space))


def state(path: Path) -> dict[str, dict[int, bytes]]:
    """space -> id -> vector, each compared with its checksum."""
    collection = Collection.open(path)
    made: dict[str, dict[int, bytes]] = {}
    for space in collection.spaces:
        ids, vectors = collection.vectors(space.name)
        made[space.name] = {i: np.asarray(v).tobytes() for i, v in zip(ids.tolist(), vectors, strict=True)}
        for image_id, data in made[space.name].items():
            checksum = collection.images.checksums[collection.position(image_id), space.number]
            assert catalog.checksum(data) == checksum
    return made


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    vectors = unit(60, 8, 0)
    vectors[:, :3] += 2 * np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    append(tmp_path / "c", vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0)
    return tmp_path / "c"


@pytest.mark.parametrize("columns", [False, True], ids=["small", "with columns"])
def test_vectors_that_are_appended(
    columns: bool,
    collection: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    if columns:  # as of a large collection; what a stop leaves is copied here, so that the catalog has another inode
        for module in ("reading", "writing"):
            monkeypatch.setattr(f"retrieval.collection.{module}.COLUMNS_FROM", 5)
        monkeypatch.setattr("retrieval.collection.changes.FEW", 3)
        monkeypatch.setattr("retrieval.collection.changed_images.COPIED_UP_TO", 4)
        monkeypatch.setattr(
            "retrieval.collection.reading.log_position",
            lambda connection, path: (found := log_position(connection, path)) and replace(found, inode=0),
        )
        monkeypatch.setattr("retrieval.collection.reading.StoredRows", lambda path, space, _: StoredRows(path, space))
    before = state(collection)
    assert (collection / COLUMNS).exists() == columns

    def check(left: Path, where: str) -> None:
        after = state(left)
        assert (left / COLUMNS).exists() == columns
        assert after["a"].items() >= before["a"].items(), where
        assert len(after["a"]) in (60, 100), where

    with stopped_everywhere(collection, check, rounds(40)) as counts:
        append(collection, unit(40, 8, 1), 60)
    assert stored_position(collection) == (Collection.open(collection).position_in_log if columns else None)
    assert len(state(collection)["a"]) == 100
    assert counts["points"] > 4
    tally(**counts)


def test_a_space_that_is_learned_and_fitted_again(
    collection: Path, rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    options = LearnOptions(dimension=4)
    steps = {"learn": lambda writer: learn(writer, "l", method="wccn", options=options), "refit": refit_learned}
    for step in steps.values():
        before, seen = state(collection), set()

        def check(left: Path, where: str, before: Any = before, seen: Any = seen) -> None:
            after = state(left)
            assert after["a"] == before["a"], where
            new = after.get("l")
            assert new is None or len(new) == 60, where
            assert all(open_space(left, space).fault() is None for space in Collection.open(left).spaces), where
            seen.add(None if new is None else tuple(sorted(new.items())))

        with CollectionWriter(collection) as writer, stopped_everywhere(collection, check, rounds(25)) as counts:
            step(writer)
        last = state(collection)["l"]
        old = before.get("l")
        assert seen <= {None if old is None else tuple(sorted(old.items())), tuple(sorted(last.items()))}
        tally(**counts)


def refit_learned(writer: CollectionWriter) -> None:
    refit(writer, "l")


@pytest.mark.parametrize("memory", [None, 1], ids=["graph", "inverted file"])
def test_an_index_that_is_built(
    memory: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    vectors = unit(640, 16, 2)
    monkeypatch.setattr(building, "_BLOCK", 200)
    monkeypatch.setattr(building, "_CHECKPOINT_SECONDS", -1.0)
    folder = tmp_path / "index"

    def index(count: int, place: Path) -> FaissIndex:
        return FaissIndex(ArrayRows(vectors), np.arange(count, dtype=np.int64), place, Wanted(memory=memory))

    index(320, folder).flush()
    nearest = np.argsort(-(vectors[:5] @ vectors.T), axis=1)[:, :1]

    def check(left: Path, where: str) -> None:
        opened = index(640, left)
        _, found = opened.search(vectors[:5], 1)
        assert np.array_equal(found, nearest), where

    with stopped_everywhere(folder, check, rounds(12)) as counts:
        index(640, folder).flush()
    assert index(640, folder).description != "exact"
    assert counts["points"] > 3
    tally(**counts)


def test_lists_of_descriptors_that_are_built(
    tmp_path: Path, rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    metric = DESCRIPTORS["PHOG"].metric
    vectors = np.random.default_rng(4).integers(0, metric.levels, (400, metric.length)).astype(np.float32)

    def index(place: Path) -> DescriptorIVF:
        return DescriptorIVF(metric, ArrayRows(vectors), np.arange(400), place, compare_up_to=10)

    built = []
    (tmp_path / "index").mkdir()

    def check(left: Path, where: str) -> None:
        opened = index(left)
        built.append(not opened.is_outdated)
        assert opened.search(vectors[:5], 1)[1].tolist() == [[0], [1], [2], [3], [4]], where

    with stopped_everywhere(tmp_path / "index", check, rounds(12)) as counts:
        index(tmp_path / "index").flush()
    assert set(built) == {False, True}
    tally(**counts)


def test_a_shard_that_a_worker_stores(tmp_path: Path, tally: Callable[..., None]) -> None:
    items = [Item(f"{number}.png", "c", 1, 1) for number in range(5)]
    shard = Shard("name", tuple(Task(item, False, None, frozenset("a"), frozenset("a")) for item in items))
    grey = NewPicture(4, 3, np.zeros((64, 64), np.uint8))
    vectors = unit(5, 8, 3)
    results: Any = [
        (task, EmbeddedPicture(bytes(32), grey, {"a": vector}, frozenset("a")) if at else PictureError("bad"))
        for at, (task, vector) in enumerate(zip(shard.tasks, vectors, strict=True))
    ]
    (tmp_path / "shards").mkdir()
    loaded = []

    def check(left: Path, where: str) -> None:
        made = ShardFolder(str(left)).load(shard)
        loaded.append(made is not None)
        if made is not None:
            (_, fault), *pictures = made
            assert str(fault) == "bad", where
            assert all(np.array_equal(result.vectors["a"], vectors[at]) for at, (_, result) in enumerate(pictures, 1))

    with stopped_everywhere(tmp_path / "shards", check, 100) as counts:
        ShardFolder(str(tmp_path / "shards")).store(shard, results)
    assert loaded[0] is False
    assert loaded[-1] is True
    tally(**counts)
