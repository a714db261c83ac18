"""Finished shards: what is damaged is made again, what cannot be deleted is left."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from typing import Any

import fsspec
import numpy as np
import pytest

from indexer.datasets import Item
from indexer.embedding import EmbeddedPicture, Task
from indexer.shards import Shard, ShardFolder

SHARD = Shard("one", (Task(Item("a.jpg", None, 1, 1), False, None, frozenset("s"), frozenset("s")),))


@pytest.fixture
def folder() -> Iterator[ShardFolder]:
    folder = ShardFolder("memory://shards")
    vector = np.arange(4, dtype=np.float32)
    folder.store(SHARD, [(SHARD.tasks[0], EmbeddedPicture(b"x" * 32, None, {"s": vector}, frozenset("s"), None))])
    yield folder
    folder.clear()


def write_table(vectors: bytes, rows: Any) -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file("/shards/one.npz", vectors)
    table = {"format": 1, "vectors": hashlib.sha256(vectors).hexdigest(), "rows": rows}
    files.pipe_file("/shards/one.json", json.dumps(table).encode())


def test_a_shard_is_loaded_as_it_was_stored_and_deleted(folder: ShardFolder) -> None:
    assert folder.finished() == {"one"}
    loaded = folder.load(SHARD)
    assert loaded is not None
    [(task, result)] = loaded
    assert task == SHARD.tasks[0]
    assert isinstance(result, EmbeddedPicture)
    assert result.vectors["s"].tolist() == [0, 1, 2, 3]
    folder.delete(SHARD)
    assert folder.load(SHARD) is None


def test_any_damage_is_a_shard_to_be_made_again(folder: ShardFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    np.savez(packed, **{"rows s": np.array([7]), "values s": np.ones((1, 4))})  # a row that there is not
    for rows in ([{"sha256": "00", "computed": []}], ["text"], 5):
        write_table(packed.getvalue(), rows)
        assert folder.load(SHARD) is None
    for error in (zlib.error("bits"), EOFError(), RuntimeError("of a file system")):

        def failing(path: str, *, error: Exception = error) -> bytes:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(folder._files, "cat_file", failing)
            assert folder.load(SHARD) is None


def test_a_clean_up_that_fails_ends_no_run(
    folder: ShardFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: Any, **options: Any) -> None:
        raise PermissionError("not yours")

    with monkeypatch.context() as patch:
        patch.setattr(folder._files, "rm_file", failing)
        patch.setattr(folder._files, "rm", failing)
        folder.delete(SHARD)
        folder.clear()
    assert caplog.text.count("cannot be deleted (not yours)") == 2
