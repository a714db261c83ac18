"""A flipped bit anywhere in the catalog is told by opening or by `kvasir verify`, or it changes nothing that is read.

By hand `pytest tests/faults/test_flipped_bits.py --rounds 700` tries so many.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from indexer.verification import check
from retrieval.collection import Collection
from retrieval.collection.catalog import NAME
from retrieval.collection.table_digests import NAMES
from retrieval.errors import RetrievalError


def what_is_read(collection: Path) -> list[Any]:
    """All that searches and evaluations know of the images, hashes of pictures, and the small tables."""
    images = Collection.open(collection).images
    with contextlib.closing(sqlite3.connect(collection / NAME)) as connection:
        hashes = connection.execute("SELECT id, sha256 FROM images ORDER BY id").fetchall()
        tables = [connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in NAMES]
    names = [None if label < 0 else images.classes[label] for label in images.labels]
    arrays = (images.ids, images.clusters, images.sizes, images.checksums, images.sources)
    return [names, images.files, *(array.tolist() for array in arrays), hashes, tables]


def test_a_flipped_bit_is_told_or_changes_nothing(
    write_collection: Callable[..., Path],
    tmp_path: Path,
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    random = np.random.default_rng(8)
    vectors = {"s": random.standard_normal((300, 8)).astype(np.float32)}
    collection = write_collection(tmp_path / "c", vectors, ["discs", "rings", "bars"] * 100)
    sound, catalog = what_is_read(collection), collection / NAME
    data = catalog.read_bytes()
    ends: Counter[str] = Counter()
    for _ in range(rounds(150)):
        flipped = bytearray(data)
        flipped[random.integers(len(data))] ^= 1 << int(random.integers(8))
        catalog.write_bytes(flipped)
        try:
            read = what_is_read(collection)
        except (RetrievalError, sqlite3.Error):
            ends["told_by_opening"] += 1
            continue
        try:
            told = bool(check(collection, pictures=False))
        except RetrievalError:
            told = True
        assert told or read == sound
        ends["told_by_verify" if told else "nothing_changed"] += 1
    catalog.write_bytes(data)
    assert check(collection, pictures=False) == []
    tally(flips=ends.total(), silently_wrong=0, **ends)
