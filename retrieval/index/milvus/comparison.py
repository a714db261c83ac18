"""An index in Milvus compared with the space that it was pushed from, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, SpaceDefinition
from retrieval.filters import among
from retrieval.index.engines import Deviation
from retrieval.index.milvus.client import Client
from retrieval.index.milvus.push import block_of
from retrieval.index.milvus.stamp import alias_of, class_keys, definition_of, stamp_of, state_of

_SECONDS = 120.0
_MOST = 10_000
"""Rows that are read at once where more are there than should be."""


def compare(client: Client, collection: Collection, space: SpaceDefinition, vectors: bool) -> Iterator[Deviation]:
    """What differs between a space and its index; see `Engine.compare`. Raises a RemoteIndexError."""
    where = client.address.name
    there = stamp_of(client, alias_of(collection, space.name))
    name, stamp = there or ("", None)
    if stamp is None:
        yield Deviation(space.name, f"{where} has no index of it")
        return
    if stamp.definition != definition_of(space):
        yield Deviation(space.name, f"its index in {where} is of vectors that were made otherwise")
        return
    if stamp.before is not None:
        yield Deviation(space.name, f"a push to {where} was stopped")
    elif stamp.state != state_of(collection, space):
        yield Deviation(space.name, f"its index in {where} is of another state of the collection")
    client.load(name)
    ids = collection.ids(space.name)
    missing: list[int] = []
    foreign: list[int] = []
    differing: list[int] = []
    step, last = block_of(space), -1
    for start in range(0, len(ids), step):
        block = ids[start : start + step]
        rows = _rows(client, name, last + 1, int(block[-1]), vectors)
        last = int(block[-1])
        found = np.array([row["id"] for row in rows], np.int64)
        missing += block[~among(block, np.unique(found))].tolist()
        foreign += found[~among(found, block)].tolist()
        present = [row for row, known in zip(rows, among(found, block).tolist(), strict=True) if known]
        differing += _differing(collection, space, present, vectors)
    foreign += [row["id"] for row in _rows(client, name, last + 1, None, False)]
    for many, what in (
        (missing, "are missing in {where}"),
        (foreign, "are in {where} and not in the collection"),
        (differing, "are others in {where}"),
    ):
        if many:
            listed = ", ".join(map(str, many[:10])) + (", …" if len(many) > 10 else "")
            yield Deviation(space.name, f"{len(many):,} images {what.format(where=where)}: {listed}", tuple(many))


def _rows(client: Client, name: str, first: int, last: int | None, vectors: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.call(
        "query",
        name,
        filter=f"id >= {first}" + ("" if last is None else f" and id <= {last}"),
        output_fields=["id", "class", "checksum", *(["vector"] if vectors else [])],
        limit=_MOST,
        consistency_level="Strong",
        timeout=_SECONDS,
    )
    return rows


def _differing(collection: Collection, space: SpaceDefinition, rows: list[dict[str, Any]], vectors: bool) -> list[int]:
    """Ids of rows whose checksum, class or vector is not the collection's."""
    if not rows:
        return []
    ids = np.array([row["id"] for row in rows], np.int64)
    images = collection.images
    positions = np.searchsorted(images.ids, ids)
    keys = class_keys(collection)[images.labels[positions]]
    checksums = images.checksums[positions, space.number]
    differs: NDArray[np.bool_] = np.array([row["class"] for row in rows], np.int64) != keys
    differs |= np.array([row["checksum"] for row in rows], np.int64) != checksums
    if vectors:
        there = np.array([row["vector"] for row in rows], np.float32)
        differs |= (there != collection.rows(space.name).take(ids)).any(axis=1)
    return [int(image) for image in ids[differs]]
