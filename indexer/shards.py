"""Shards: the results of consecutive tasks as two files, vectors (NAME.npz) and a table (NAME.json).

A worker writes both beside their places and renames them, the table last: a shard whose table is there is finished.
They hold no pickles, because the folder may be on a location that others can write to.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.datasets import Item
from indexer.embedding import BATCH, Embedded, EmbeddedPicture, NewPicture, Result, Task
from indexer.errors import ClusterError
from retrieval.collection import SpaceDefinition
from retrieval.disk import PARTIAL, write_atomically
from retrieval.errors import RetrievalError
from retrieval.marks import Marks
from retrieval.sources.remote import open_location

log = logging.getLogger(__name__)

SHARD = 4 * BATCH
"""Pictures of a data set that make one shard, and that a dead worker loses at most: some seconds of work."""
_FORMAT = 1


class ShardError(ClusterError):
    """A shard cannot be written or read where it should be."""


@dataclass(frozen=True)
class Shard:
    """Tasks of consecutive pictures. name: changes with the tasks, and with how their spaces are made."""

    name: str
    tasks: tuple[Task, ...]


def cut(items: Sequence[Item], tasks: Sequence[Task], spaces: Sequence[SpaceDefinition], size: int) -> list[Shard]:
    """Shards of `size` pictures of a data set, by position, so that a second run cuts the pictures that are left alike.

    items: all of the data set, in order; tasks: some of them, in order.
    """
    position = {item.file: at for at, item in enumerate(items)}
    recipes = json.dumps([asdict(space) for space in spaces], sort_keys=True)
    shards = []
    for members in _grouped(tasks, position, size):
        digest = hashlib.sha256(recipes.encode())
        for task in members:
            known = None if task.known is None else (task.known.id, task.known.sha256.hex(), task.known.marked)
            digest.update(repr((task.item, known, sorted(task.wanted), sorted(task.missing))).encode())
        shards.append(Shard(digest.hexdigest()[:40], tuple(members)))
    return shards


def _grouped(tasks: Sequence[Task], position: Mapping[str, int], size: int) -> Iterator[list[Task]]:
    members: list[Task] = []
    for task in tasks:
        if members and position[task.item.file] // size != position[members[0].item.file] // size:
            yield members
            members = []
        members.append(task)
    if members:
        yield members


class ShardFolder:
    """The folder of finished shards: on this machine, or on any location that fsspec reads."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._files, self._root, self._local = open_location(location)

    def store(self, shard: Shard, results: Embedded) -> None:
        """Write the results of a shard's tasks. Raises ShardError, DiskFullError."""
        vectors, rows = _packed([result for _, result in results])
        table = {"format": _FORMAT, "vectors": hashlib.sha256(vectors).hexdigest(), "rows": rows}
        self._write(f"{shard.name}.npz", vectors)
        self._write(f"{shard.name}.json", json.dumps(table).encode())

    def finished(self) -> frozenset[str]:
        """The names of the shards whose tables are there. Raises ShardError."""
        try:
            self._files.invalidate_cache()
            listed = self._files.ls(self._root, detail=False)
        except FileNotFoundError:
            return frozenset()
        except Exception as error:  # fsspec's file systems raise errors of their own
            raise self._error(error) from error
        return frozenset(Path(file).stem for file in listed if file.endswith(".json"))

    def load(self, shard: Shard) -> Embedded | None:
        """A shard's tasks with their results; None where its files are missing or not what was written."""
        try:
            table = json.loads(self._files.cat_file(self._path(f"{shard.name}.json")))
            data = self._files.cat_file(self._path(f"{shard.name}.npz"))
            sound = table["format"] == _FORMAT and table["vectors"] == hashlib.sha256(data).hexdigest()
            if not sound or len(table["rows"]) != len(shard.tasks):
                return None
            return list(zip(shard.tasks, _unpacked(data, table["rows"]), strict=True))
        except Exception as error:  # fsspec's file systems raise errors of their own, and damage raises many
            log.info("%s: shard %s cannot be read: %r", self.location, shard.name, error)
            return None

    def delete(self, shard: Shard) -> None:
        """Delete a shard's files, the table first; what cannot be deleted is left, and logged."""
        with self._leaving():
            for ending in ("json", "npz"):
                path = self._path(f"{shard.name}.{ending}")
                if self._files.exists(path):
                    self._files.rm_file(path)

    def clear(self) -> None:
        """Delete the folder with what runs that were stopped have left in it; logged where that fails."""
        with self._leaving():
            if self._files.exists(self._root):
                self._files.rm(self._root, recursive=True)

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        """A failed clean-up ends no run whose vectors are stored."""
        try:
            yield
        except Exception as error:  # fsspec's file systems raise errors of their own
            log.warning("%s: shards cannot be deleted (%s); delete the folder by hand", self.location, error)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _write(self, name: str, data: bytes) -> None:
        try:
            if self._local:
                Path(self._root).mkdir(parents=True, exist_ok=True)
                write_atomically(Path(self._root) / name, data)
                return
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(self._path(name + PARTIAL), data)
            self._files.mv(self._path(name + PARTIAL), self._path(name))
        except RetrievalError:
            raise
        except Exception as error:  # fsspec's file systems raise errors of their own
            raise self._error(error) from error

    def _error(self, error: Exception) -> ShardError:
        return ShardError(f"shards cannot be stored in {self.location} ({error}); give another --shards LOCATION")


def _packed(results: Sequence[Result]) -> tuple[bytes, list[dict[str, Any]]]:
    """Arrays as an .npz file, and a row of the table for each result."""
    vectors: dict[str, dict[int, NDArray[Any]]] = {}
    greys: dict[int, NDArray[np.uint8]] = {}
    rows: list[dict[str, Any]] = []
    for at, result in enumerate(results):
        if isinstance(result, RetrievalError):
            rows.append({"error": str(result)})
            continue
        for name, vector in result.vectors.items():
            vectors.setdefault(name, {})[at] = vector
        row: dict[str, Any] = {"sha256": result.sha256.hex(), "computed": sorted(result.computed)}
        if result.new is not None:
            greys[at] = result.new.grey
            row["size"] = result.new.width, result.new.height
        if result.marks is not None:
            row["marks"] = result.marks.regions
        rows.append(row)
    arrays: dict[str, Any] = {}
    for name, by_row in (vectors | {"": greys}).items():  # the empty name is no space's
        if by_row:
            arrays[f"rows {name}"], arrays[f"values {name}"] = np.array(list(by_row)), np.stack(list(by_row.values()))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue(), rows


def _unpacked(data: bytes, rows: Sequence[Mapping[str, Any]]) -> list[Result]:
    by_row: list[dict[str, NDArray[Any]]] = [{} for _ in rows]
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for key in arrays.files:
            kind, _, name = key.partition(" ")
            if kind == "values":
                for at, value in zip(arrays[f"rows {name}"].tolist(), arrays[key], strict=True):
                    by_row[at][name] = value
    results: list[Result] = []
    for row, values in zip(rows, by_row, strict=True):
        if "error" in row:
            results.append(RetrievalError(row["error"]))
            continue
        grey = values.pop("", None)
        new = None if grey is None else NewPicture(row["size"][0], row["size"][1], grey)
        regions = row.get("marks")
        marks = None if regions is None else Marks({name: tuple(region) for name, region in regions.items()})
        results.append(EmbeddedPicture(bytes.fromhex(row["sha256"]), new, values, frozenset(row["computed"]), marks))
    return results
