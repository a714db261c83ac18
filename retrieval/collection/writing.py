"""The one writer of a collection. What it has reported as done survives a stop at any moment.

The order is what makes it so: a space enters the manifest before its first vector, vectors reach the disk before the
catalog names them, and the catalog commits as a whole. Rows that a stop left unnamed are overwritten by the next run.
"""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from retrieval.collection import catalog, changes
from retrieval.collection.manifest import (
    NAME,
    SPACE_NAME,
    Manifest,
    NotACollectionError,
    SpaceDefinition,
    SpaceNameError,
    read_manifest,
    sync_directory,
    tower_folder,
    write_manifest,
)
from retrieval.collection.vectors import VectorFile
from retrieval.errors import CollectionError
from retrieval.names import nfc

LOCK = "writer.lock"

log = logging.getLogger(__name__)


class CollectionBusyError(CollectionError):
    """Another process is writing to the collection."""


class NotWritableError(CollectionError):
    """The collection's folder cannot be written."""


@dataclass(frozen=True, eq=False)
class NewImage:
    """An image to store: where its file is, what it is, and its vectors by space."""

    source: int
    file: str
    class_name: str | None
    width: int
    height: int
    file_size: int
    stamp: int
    sha256: bytes
    vectors: Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class KnownImage:
    """What the catalog knows of a file: enough to tell whether it changed and which vectors it lacks."""

    id: int
    file_size: int
    stamp: int
    sha256: bytes
    class_name: str | None
    spaces: frozenset[str]


class DiskFullError(CollectionError):
    """There is no room to write to the collection."""


class CollectionWriter:
    """Opens a collection for writing, making it where there is none.

    One that it made is taken away again where an error ends the `with` block before an image was stored.

    Raises CollectionBusyError where another writer is at work, NotACollectionError where the folder holds other things,
    NotWritableError, DiskFullError; the last one ends a `with` block as well where the disk is full within.
    """

    def __init__(self, path: Path | str, *, name: str | None = None, create: bool = False) -> None:
        self.path = Path(path).absolute()
        try:
            self._new = not (self.path / NAME).exists()
            if self._new and not create:
                read_manifest(self.path)
            if self._new:
                self._require_free_folder()
                self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / LOCK)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise CollectionBusyError(
                f"another process is writing to {self.path}; wait until it is done, or stop it, and try again"
            ) from None
        except OSError as error:
            self._tell_full_disk(error)
            raise self._not_writable(f"{error.strerror or error}: {error.filename or self.path}") from error
        try:
            if not (self.path / NAME).exists():
                now = datetime.now(UTC).isoformat(timespec="seconds")
                catalog.connect(self.path, create=True).close()
                write_manifest(self.path, Manifest(name=name or self.path.name, created=now))
            self.manifest = read_manifest(self.path)
            self._catalog = catalog.connect(self.path)
            with _transaction(self._catalog):  # a file for reading only is opened without complaint
                if not changes.has_log(self._catalog):
                    changes.create_log(self._catalog)
                    if not self._new:
                        log.warning(
                            "%s: catalog upgraded, it now logs its changes; older versions still read it", self.path
                        )
        except sqlite3.OperationalError as error:
            self._lock.release()
            self._tell_full_disk(error)
            raise self._not_writable(f"{catalog.NAME}: {error}") from error
        except BaseException as error:
            self._lock.release()
            self._tell_full_disk(error)
            raise
        self._files: dict[str, VectorFile] = {}

    def _not_writable(self, reason: str) -> NotWritableError:
        return NotWritableError(
            f"cannot write to the collection {self.path} ({reason}); its folder and all files in it must be writable "
            "for you: change their permissions, or write to a copy"
        )

    def _tell_full_disk(self, error: BaseException | None) -> None:
        """Raise DiskFullError where that is what an error means: SQLite's names no file, and neither any help."""
        cause = error.__cause__ if isinstance(error, catalog.DamagedCatalogError) else error
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            place = str(cause.filename2 or cause.filename or self.path)
        elif isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            place = str(self.path / catalog.NAME)
        else:
            return
        raise DiskFullError(
            f"{place}: no space left on the disk; make room and run the same command again: what was reported as done "
            "is kept, and it goes on from there"
        ) from error

    def _require_free_folder(self) -> None:
        """A folder that is not yet a collection may hold only what a stop while making one leaves."""
        if self.path.exists():
            if not self.path.is_dir():
                raise NotACollectionError(f"{self.path} is a file; give a folder for the collection")
            begun = {LOCK, catalog.NAME, catalog.NAME + "-journal", NAME + ".new"}
            others = sorted(entry.name for entry in self.path.iterdir() if entry.name not in begun)
            if others:
                raise NotACollectionError(
                    f"{self.path} is not a collection and not empty (it holds {', '.join(others[:3])}); "
                    "give an empty or new folder"
                )

    def __enter__(self) -> CollectionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self.discard_if_nothing_stored()
        finally:
            self.close()
        self._tell_full_disk(error)

    def close(self) -> None:
        """Close the files and let the next writer in."""
        self._close_files()
        self._lock.release()

    def discard_if_nothing_stored(self) -> None:
        """Take a collection away that this writer made and that never got an image; only `close` may follow."""
        if not self._new or self.counter("next image"):
            return
        self._close_files()
        for entry in self.path.iterdir():
            if entry.name != LOCK:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        with suppress(OSError):  # Windows keeps a file that is open; an empty folder may begin a collection anew
            (self.path / LOCK).unlink()
            self.path.rmdir()

    # Spaces

    def add_space(
        self,
        name: str,
        kind: str,
        dimension: int,
        metric: str,
        recipe: dict[str, Any],
        dtype: Literal["float32", "float64"] = "float32",
    ) -> SpaceDefinition:
        """Add a space; images get their vectors by `append` or `fill`. Raises SpaceNameError."""
        if not SPACE_NAME.fullmatch(name):
            raise SpaceNameError(f"'{name}' cannot name a space: use letters, digits, '.', '_' and '-'")
        if any(space.name == name for space in self.manifest.spaces):
            raise SpaceNameError(f"the collection has a space '{name}' already")
        space = SpaceDefinition(name, len(self.manifest.spaces), kind, dimension, dtype, metric, recipe)
        self._switch(replace(self.manifest, spaces=(*self.manifest.spaces, space)))
        return space

    def update_recipe(self, name: str, recipe: dict[str, Any]) -> None:
        """Replace what is recorded about how a space was made."""
        old = self.manifest.space(name)
        spaces = tuple(replace(space, recipe=recipe) if space is old else space for space in self.manifest.spaces)
        self._switch(replace(self.manifest, spaces=spaces))

    def _switch(self, manifest: Manifest) -> None:
        write_manifest(self.path, manifest)
        self.manifest = manifest

    # Images

    def source(self, path: Path, kind: str) -> int:
        """The number of a folder or zip that pictures lie in; one inside the collection is kept relative to it."""
        home = self.path.resolve()
        kept = str(path.relative_to(home) if path.is_relative_to(home) else path)
        self._catalog.execute("INSERT OR IGNORE INTO sources (path, kind) VALUES (?, ?)", (kept, kind))
        row = self._catalog.execute("SELECT id FROM sources WHERE path = ?", (kept,)).fetchone()
        return int(row[0])

    def known(self, source: int) -> dict[str, KnownImage]:
        """Everything stored from one source, by file."""
        rows = self._catalog.execute(
            "SELECT file, id, bytes, stamp, sha256, class, checksums FROM images WHERE source = ?", (source,)
        )
        return {
            file: KnownImage(image_id, size, stamp, sha256, class_name and nfc(class_name), self._spaces_in(checksums))
            for file, image_id, size, stamp, sha256, class_name, checksums in rows
        }

    def vectors_of_content(self, sha256: bytes) -> dict[str, NDArray[np.generic]]:
        """The vectors, by space, of an image of the same bytes; damaged ones are left out."""
        row = self._catalog.execute(
            "SELECT id, checksums FROM images WHERE sha256 = ? ORDER BY id LIMIT 1", (sha256,)
        ).fetchone()
        if row is None:
            return {}
        packed = np.frombuffer(row[1], "<u4")
        vectors = {name: self._file(name).read(row[0]) for name in self._spaces_in(row[1])}
        return {
            name: np.frombuffer(data, self.manifest.space(name).dtype)
            for name, data in vectors.items()
            if catalog.checksum(data) == packed[self.manifest.space(name).number]
        }

    def copies(self, since: int) -> list[tuple[int, int]]:
        """Images from an id on whose very bytes were stored before them: (id, id of the first that has these bytes)."""
        rows = self._catalog.execute(
            "SELECT new.id, MIN(old.id) FROM images new JOIN images old ON old.sha256 = new.sha256 AND old.id < new.id "
            "WHERE new.id >= ? GROUP BY new.id ORDER BY new.id",
            (since,),
        )
        return [(int(copy), int(original)) for copy, original in rows]

    def touch(self, image_id: int, file_size: int, stamp: int) -> None:
        """Note that a file's change mark is new though its bytes are the same."""
        self._catalog.execute("UPDATE images SET bytes = ?, stamp = ? WHERE id = ?", (file_size, stamp, image_id))

    def append(self, images: Sequence[NewImage]) -> list[int]:
        """Store images and return their ids; when this returns they are on disk.

        A file that is stored already is replaced under a new id: an id never changes its picture. An exact copy of a
        stored image joins its cluster.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        (first,) = self._catalog.execute("SELECT value FROM counters WHERE name = 'next image'").fetchone()
        ids = list(range(first, first + len(images)))
        checksums = [self._write(row, image.vectors, b"") for row, image in zip(ids, images, strict=True)]
        self._sync_files()
        with _transaction(self._catalog):
            for image_id, image, packed in zip(ids, images, checksums, strict=True):
                self._catalog.execute("DELETE FROM images WHERE source = ? AND file = ?", (image.source, image.file))
                twin = self._catalog.execute(
                    "SELECT cluster FROM images WHERE sha256 = ? ORDER BY id LIMIT 1", (image.sha256,)
                ).fetchone()
                self._catalog.execute(
                    "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        image_id,
                        image.source,
                        image.file,
                        image.class_name and nfc(image.class_name),
                        image.width,
                        image.height,
                        image.file_size,
                        image.stamp,
                        image.sha256,
                        twin[0] if twin else image_id,
                        now,
                        packed,
                    ),
                )
            self._catalog.execute("UPDATE counters SET value = ? WHERE name = 'next image'", (first + len(images),))
        return ids

    def fill(self, vectors: Mapping[int, Mapping[str, NDArray[np.generic]]]) -> None:
        """Give stored images vectors in spaces where they have none or a damaged one; on disk when this returns."""
        packed = {}
        for image_id, by_space in vectors.items():
            row = self._catalog.execute("SELECT checksums FROM images WHERE id = ?", (image_id,)).fetchone()
            packed[image_id] = self._write(image_id, by_space, row[0])
        self._sync_files()
        with _transaction(self._catalog):
            self._catalog.executemany(
                "UPDATE images SET checksums = ? WHERE id = ?", [(blob, image_id) for image_id, blob in packed.items()]
            )

    def remove(self, ids: Sequence[int]) -> int:
        """Remove images; other ids stay as they are and no removed id comes back. Returns how many there were."""
        with _transaction(self._catalog):
            return sum(self._catalog.execute("DELETE FROM images WHERE id = ?", (int(i),)).rowcount for i in ids)

    def set_clusters(self, clusters: Mapping[int, int], counter: str, value: int) -> None:
        """Give images (by id) other clusters, and a counter its value, both or neither."""
        with _transaction(self._catalog):
            self._catalog.executemany(
                "UPDATE images SET cluster = ? WHERE id = ?", [(cluster, i) for i, cluster in clusters.items()]
            )
            self._catalog.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (counter, value))

    def counter(self, name: str) -> int:
        """A counter of the catalog; 0 where it was never set."""
        row = self._catalog.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._catalog.close()

    def _spaces_in(self, checksums: bytes) -> frozenset[str]:
        present = np.flatnonzero(np.frombuffer(checksums, "<u4"))
        return frozenset(self.manifest.spaces[number].name for number in present)

    def _write(self, row: int, vectors: Mapping[str, NDArray[np.generic]], checksums: bytes) -> bytes:
        packed = np.zeros(len(self.manifest.spaces), "<u4")
        packed[: len(checksums) // 4] = np.frombuffer(checksums, "<u4")
        for name, vector in vectors.items():
            number = self.manifest.space(name).number
            packed[number] = catalog.checksum(self._file(name).put(row, vector))
        return packed.tobytes()

    def _file(self, space: str) -> VectorFile:
        if space not in self._files:
            self._files[space] = VectorFile(self.path, self.manifest.space(space))
            sync_directory(self.path / "vectors")
        return self._files[space]

    def _sync_files(self) -> None:
        for file in self._files.values():
            file.sync()

    # Encoders

    def adopt_tower(self, space: str, folder: Path) -> Path:
        """Move a converted encoder to its place in the collection, in one step; returns the place."""
        place = tower_folder(self.path, space)
        place.parent.mkdir(exist_ok=True)
        if place.exists():
            shutil.rmtree(place)
        folder.replace(place)
        sync_directory(place.parent)
        return place


class _transaction:  # noqa: N801  # reads as a statement
    """All or nothing; the lock is taken at once, so that a busy catalog is found before anything is written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                changes.trim_log(self._connection)
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # SQLite has rolled back already where the disk is full
                self._connection.execute("ROLLBACK")
