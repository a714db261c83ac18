"""Pushing spaces to Milvus: changes in place where they are known, else a new Milvus collection beside the last one.

A new one is searched once its alias is switched to it, and the last one is dropped then. A change in place is announced
in the stamp before the first row is written. So a stop at any moment leaves the index before or after, and the next
push goes on: all that it writes it may write twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionBusyError, SpaceDefinition
from retrieval.errors import RemoteAnswerError, RemoteTimeoutError
from retrieval.filters import among
from retrieval.index.building import wanted_of
from retrieval.index.engines import Pushed, Report
from retrieval.index.milvus.client import Client
from retrieval.index.milvus.index import MilvusIndex
from retrieval.index.milvus.kinds import EXACT_KIND, build_parameters, default_kind, settings
from retrieval.index.milvus.stamp import (
    PROPERTY,
    Stamp,
    alias_of,
    class_keys,
    definition_of,
    prefix_of,
    stamp_of,
    state_of,
)
from retrieval.index.storage import FOLDER, PUSH_LOCK, index_folder

ROWS = 5_000
_BYTES = 4_000_000
"""Rows and bytes that are written or read at once; Milvus takes 64 MB."""
_SECONDS = 120.0
"""Seconds that writing or deleting a block may take."""
_BUILD_SECONDS = 24 * 3600.0


def push_space(
    client: Client,
    collection: Collection,
    space: SpaceDefinition,
    kind: str | None = None,
    report: Report = lambda step, done, total: None,
    rebuild: bool = False,
) -> Pushed:
    """Bring the index of a space in Milvus to the state of a collection; see `Engine.push`.

    Raises CollectionBusyError where another process pushes, a RemoteIndexError.
    """
    with _locked(collection):
        _drop_unknown_spaces(client, collection)
        push = _Push(client, collection, space, report)
        there = stamp_of(client, push.alias)
        stamp = None if there is None else there[1]
        if there is not None and stamp is not None and not rebuild and push.follows(stamp, kind):
            changed = push.changed_since(stamp)
            if changed is not None and 2 * len(changed) <= max(len(push.ids), ROWS):
                pushed = push.mirror(there[0], stamp, changed)
                if pushed is not None:
                    push.drop_others(there[0])
                    return pushed
        if kind is None:
            suited = EXACT_KIND if push.wanted.is_exact else default_kind(len(push.ids))
            kind = suited if stamp is None else stamp.kind
        return push.fill(kind, None if there is None else there[0])


def block_of(space: SpaceDefinition) -> int:
    """Images of a space that are written or read at once."""
    return max(1, min(ROWS, _BYTES // (4 * space.dimension + 64)))


class _Push:
    """One push of a space."""

    def __init__(self, client: Client, collection: Collection, space: SpaceDefinition, report: Report) -> None:
        self.client, self.collection, self.space, self.report = client, collection, space, report
        self.alias = alias_of(collection, space.name)
        self.definition = definition_of(space)
        self.ids, self.rows = collection.ids(space.name), collection.rows(space.name)
        self.block = block_of(space)
        self.wanted = wanted_of(index_folder(collection.path, space.name))

    def follows(self, stamp: Stamp, kind: str | None) -> bool:
        """Whether an index can be brought to the state of the collection by changing some of its rows."""
        return stamp.complete and stamp.definition == self.definition and kind in (None, stamp.kind)

    def changed_since(self, stamp: Stamp) -> NDArray[np.int64] | None:
        """Images that may be others there, ascending; None where that is not known."""
        if stamp.before is None and stamp.state == state_of(self.collection, self.space):
            return np.empty(0, np.int64)
        own = self.collection.position_in_log
        if own is None or not stamp.positions or any(one.sequence > own.sequence for one in stamp.positions):
            return None
        return self.collection.changed_between(stamp.positions)

    def mirror(self, name: str, stamp: Stamp, changed: NDArray[np.int64]) -> Pushed | None:
        """Change rows in place; None where the index turns out to be another than its stamp says."""
        later = self._stamp(stamp)
        if not len(changed):
            if (later.position, later.before) != (stamp.position, stamp.before):
                later.write(self.client, name)
            return Pushed(self.space.name, 0, 0, len(self.ids), self._description())
        self.client.load(name, _SECONDS)
        replace(later, before=stamp.before or stamp.position).write(self.client, name)
        written, removed = self._write_changed(name, changed)
        if self._count(name) != len(self.ids):
            return None
        later.write(self.client, name)
        return Pushed(self.space.name, written, removed, len(self.ids), self._description())

    def fill(self, kind: str, last: str | None) -> Pushed:
        """Write a new Milvus collection, going on with one that was left unfinished, and have it searched."""
        name, changed = self._unfinished(kind, last) or self._created(kind)
        written = removed = 0
        for start in range(0, len(self.ids), self.block):
            block = self.ids[start : start + self.block]
            if changed is not None:
                block = without(block, self._ids_between(name, int(block[0]), int(block[-1])))
            self._write(name, block)
            written += len(block)
            self.report("writing", start + len(block), len(self.ids))
        if changed is not None:
            more, removed = self._write_changed(name, changed)
            written += more
        count = self._count(name)
        if count != len(self.ids):
            where = self.client.address.name
            raise RemoteAnswerError(f"{where} has {count:,} of {len(self.ids):,} images that were written; push again")
        self._wait_for_index(name)
        stamp = replace(self._stamp(None, kind), complete=True)
        stamp.write(self.client, name)
        tuned = self._tuned(name, stamp)
        tuned.write(self.client, name)
        switch = "create_alias" if last is None else "alter_alias"
        self.client.call(switch, name, self.alias, timeout=_SECONDS)
        self.drop_others(name)
        return Pushed(self.space.name, written, removed, len(self.ids), self._description())

    def drop_others(self, name: str) -> None:
        """Drop Milvus collections of this space that are searched no more, or were never finished."""
        for other in self.client.call("list_collections"):
            if other.startswith(f"{self.alias}_") and other != name:
                self.client.call("drop_collection", other, timeout=_SECONDS)

    # Steps

    def _stamp(self, last: Stamp | None, kind: str = "") -> Stamp:
        state, position = state_of(self.collection, self.space), self.collection.position_in_log
        if last is not None:
            return replace(last, images=len(self.ids), state=state, position=position, before=None)
        return Stamp(self.space.name, self.definition, kind, len(self.ids), state, position)

    def _created(self, kind: str) -> tuple[str, None]:
        name = f"{self.alias}_{secrets.token_hex(4)}"
        from pymilvus import DataType, MilvusClient

        schema = self.client.schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.space.dimension)
        schema.add_field("class", DataType.INT64)
        schema.add_field("checksum", DataType.INT64)
        index = MilvusClient.prepare_index_params()
        parameters = build_parameters(kind, len(self.ids))
        index.add_index("vector", index_type=kind, metric_type="IP", params=parameters)
        self.client.call(
            "create_collection",
            name,
            schema=schema,
            index_params=index,
            consistency_level="Bounded",
            properties={PROPERTY: self._stamp(None, kind).to_text()},
            timeout=_SECONDS,
        )
        return name, None

    def _unfinished(self, kind: str, last: str | None) -> tuple[str, NDArray[np.int64]] | None:
        """A Milvus collection that a stopped push has begun, and the images that have changed since."""
        for name in self.client.call("list_collections"):
            if not name.startswith(f"{self.alias}_") or name == last:
                continue
            there = stamp_of(self.client, name)
            stamp = None if there is None else there[1]
            if stamp is not None and (stamp.definition, stamp.kind) == (self.definition, kind):
                changed = self.changed_since(stamp)
                if changed is not None:
                    self.client.load(name, _SECONDS)
                    return name, changed
        return None

    def _write_changed(self, name: str, changed: NDArray[np.int64]) -> tuple[int, int]:
        """Write and remove images that have changed; returns how many of both."""
        there = among(changed, self.ids)
        gone, present = changed[~there], changed[there]
        for start in range(0, len(gone), ROWS):
            self.client.call("delete", name, ids=gone[start : start + ROWS].tolist(), timeout=_SECONDS)
        for start in range(0, len(present), self.block):
            self._write(name, present[start : start + self.block])
            self.report("writing", min(start + self.block, len(present)), len(present))
        return len(present), len(gone)

    def _write(self, name: str, ids: NDArray[np.int64]) -> None:
        if not len(ids):
            return
        images, number = self.collection.images, self.space.number
        positions = np.searchsorted(images.ids, ids)
        keys = class_keys(self.collection)[images.labels[positions]].tolist()
        checksums = images.checksums[positions, number].tolist()
        rows = [
            {"id": image, "vector": vector, "class": key, "checksum": checksum}
            for image, vector, key, checksum in zip(ids.tolist(), self.rows.take(ids), keys, checksums, strict=True)
        ]
        self.client.call("upsert", name, rows, timeout=_SECONDS)

    def _ids_between(self, name: str, first: int, last: int) -> NDArray[np.int64]:
        rows = self.client.call(
            "query",
            name,
            filter=f"id >= {first} and id <= {last}",
            output_fields=["id"],
            consistency_level="Strong",
            timeout=_SECONDS,
        )
        return np.unique(np.array([row["id"] for row in rows], np.int64))

    def _count(self, name: str) -> int:
        (row,) = self.client.call(
            "query", name, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=_SECONDS
        )
        return int(row["count(*)"])

    def _wait_for_index(self, name: str) -> None:
        """Have what was written indexed, and the index loaded."""
        self.client.call("flush", name, timeout=_SECONDS)
        end, wait = time.monotonic() + _BUILD_SECONDS, 0.05
        while True:
            described = self.client.call("describe_index", name, "vector") or {}
            left = int(described.get("pending_index_rows", 0) or 0)
            if not left:
                break
            if time.monotonic() > end:
                raise RemoteTimeoutError(f"{self.client.address.name} has not built the index of '{self.space.name}'")
            self.report("indexing", len(self.ids) - left, len(self.ids))
            time.sleep(wait)
            wait = min(2 * wait, 5.0)
        # Loaded again, since milvus-lite compares what it has loaded before it was indexed.
        self.client.call("release_collection", name, timeout=_SECONDS)
        self.client.load(name, _SECONDS)

    def _tuned(self, name: str, stamp: Stamp) -> Stamp:
        """The fastest setting that reaches the wanted recall on vectors of the collection itself, else the last."""
        if stamp.kind == EXACT_KIND or not len(self.ids):
            return stamp
        made = stamp
        for search in settings(stamp.kind, len(self.ids)):
            made = replace(stamp, search=search)
            index = MilvusIndex(self.client, self.collection, self.space, pinned=(name, made))
            made = replace(made, recall=index.recall_at(10))
            if made.recall is not None and made.recall >= self.wanted.recall:
                break
        return made

    def _description(self) -> str:
        return MilvusIndex(self.client, self.collection, self.space).description


def without(ids: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ids that are not among others, ascending."""
    return ids[~among(ids, others)]


def _drop_unknown_spaces(client: Client, collection: Collection) -> None:
    """Drop the indexes of spaces that the collection no longer has."""
    known = {alias_of(collection, space.name) for space in collection.spaces}
    for name in client.call("list_collections"):
        if name.startswith(prefix_of(collection)) and name.rpartition("_")[0] not in known:
            for alias in client.call("list_aliases", name).get("aliases", []):
                client.call("drop_alias", alias)
            client.call("drop_collection", name, timeout=_SECONDS)


@contextmanager
def _locked(collection: Collection) -> Iterator[None]:
    """Only one process pushes a collection; one in a read-only folder has no lock."""
    folder = collection.path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / PUSH_LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise CollectionBusyError(f"another process pushes {collection.path}; try again when it has ended") from None
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()
