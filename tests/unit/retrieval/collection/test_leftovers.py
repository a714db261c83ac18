"""Partial files of runs that were stopped are told, and removed by the next writer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from indexer.verification import check
from retrieval.collection import CollectionWriter


def test_a_partial_file_is_left_over_once_nobody_has_written_to_it_for_a_minute(
    write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    collection = write_collection(tmp_path / "c", {"s": np.eye(3, 4, dtype=np.float32)})
    (collection / "pictures").mkdir()
    (collection / "encoders" / ".new").mkdir(parents=True)
    old, young = collection / "pictures" / "a.jpg.new", collection / "manifest.json.new"
    view = collection / "learned" / "views" / "a.npz.new"
    view.parent.mkdir(parents=True)
    for path in (old, view, young):
        path.write_bytes(b"begun")
    for path in (old, view):
        os.utime(path, (time.time() - 100,) * 2)
    told = {finding.path: finding.repairable for finding in check(collection, pictures=False)}
    assert told == {old: True, view: True, collection / "encoders" / ".new": True}
    with CollectionWriter(collection):
        pass
    assert not old.exists()
    assert not view.exists()
    assert not (collection / "encoders" / ".new").exists()
    assert young.exists()
