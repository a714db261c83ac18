"""A collection as one file, taken while a writer works, and put back under a running server.

The file is a tar without compression: the catalog by SQLite's own backup, vectors up to the ids that this catalog has
given, all other files but indexes, and at its end `backup.json` with the SHA-256 of each. Pictures of data sets, which
lie outside of the collection, are not in it.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from retrieval.collection import Collection, catalog
from retrieval.collection.changes import renew_log
from retrieval.collection.folder import SHARDS, claim, earlier_place, restoring_place
from retrieval.collection.manifest import NAME as MANIFEST
from retrieval.collection.manifest import read_manifest
from retrieval.collection.table_digests import follow_table_changes, has_sums
from retrieval.collection.vectors import vectors_path
from retrieval.disk import PARTIAL, new_path, raising_full_disk
from retrieval.errors import CollectionError

NAME = "backup.json"
_KIND = "kvasir backup"
_FORMAT = 1
_ATTEMPTS = 5
_BLOCK = 1 << 20
_MAX_FACTS = 1 << 28
"""Bytes of `backup.json`, which has 110 for each file."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""fcntl.h and linux/fs.h of Linux."""
_OMITTED = (".lock", PARTIAL, "-journal", "-wal", "-shm")
"""Ends of names of files that are no part of a collection's state."""
_ADVICE = "make room and run the same command again"


class BackupError(CollectionError):
    """A backup cannot be made, or a file is no sound backup."""


class RestorePlaceError(CollectionError):
    """The place of a restored collection has something else in it."""


@dataclass(frozen=True)
class Backup:
    """What is in a backup: files, bytes of them, and images."""

    files: int
    size: int
    images: int


class ChangedMeanwhileError(BackupError):
    """Spaces or files were added or removed while the collection was copied."""


def write_backup(collection: Path, file: Path) -> Backup:
    """Write a collection into one file, whole or not at all; writers and readers go on meanwhile.

    Raises NotACollectionError, FormatError, DamagedCatalogError, BackupError, DiskFullError.
    """
    read_manifest(collection)
    if file.is_dir() or file.resolve().is_relative_to(collection.resolve()):
        raise BackupError(f"{file} is a folder or lies in the collection; name a file outside of it")
    with raising_full_disk(file, _ADVICE):
        for _ in range(_ATTEMPTS):
            try:
                with new_path(file) as partial:
                    return _write(collection, partial)
            except ChangedMeanwhileError:
                continue
    raise BackupError(f"{collection} got or lost spaces or files while it was copied, {_ATTEMPTS} times; try again")


def restore_backup(file: Path, collection: Path, *, replace: bool = False) -> Backup:
    """Put a backup in the place of a collection, in one step, after every checksum of it was compared.

    A server that runs on the collection goes on in its earlier state and then sees the restored one. replace: whether a
    collection that is there is deleted. Raises BackupError, RestorePlaceError, CollectionBusyError, DiskFullError.
    """
    collection = collection.resolve()
    exists = collection.exists() and (not collection.is_dir() or any(collection.iterdir()))
    if exists and not (collection / MANIFEST).exists():
        raise RestorePlaceError(f"{collection} is not a collection and not empty; give another folder")
    if exists and not replace:
        raise RestorePlaceError(
            f"{collection} is a collection already; add --replace to delete it, or give a new folder"
        )
    new, earlier = restoring_place(collection), earlier_place(collection)
    if not exists and (earlier / MANIFEST).exists():  # a stop between two renames
        earlier.rename(collection)
        return restore_backup(file, collection, replace=replace)
    shutil.rmtree(new, ignore_errors=True)
    collection.parent.mkdir(parents=True, exist_ok=True)
    try:
        with raising_full_disk(collection, _ADVICE):
            summary = _extract(file, new)
            # A server's state must never be taken for the restored one: both may have logged changes under one number.
            with closing(catalog.connect(new)) as connection:
                if has_sums(connection):
                    follow_table_changes(connection)
                with catalog.transaction(connection):
                    renew_log(connection)
        Collection.open(new)
        if not exists:
            if collection.exists():
                collection.rmdir()
            new.rename(collection)
            return summary
        lock = claim(collection, create=False)
        try:
            shutil.rmtree(earlier, ignore_errors=True)
            if not _exchange(new, collection):
                collection.rename(earlier)
                try:
                    new.rename(collection)
                except OSError:
                    earlier.rename(collection)
                    raise
        finally:
            lock.release()
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return summary


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step, so that no stop leaves a place empty; whether the system can."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)


def _write(collection: Path, out: Path) -> Backup:
    manifest = (collection / MANIFEST).read_bytes()
    digests: dict[str, str] = {}
    with _scratch_file(out) as copy, tarfile.open(out, "w") as tar:
        next_image, images = _copy_catalog(collection, copy)
        spaces = read_manifest(collection).spaces
        lengths = {
            vectors_path(collection, space): next_image * space.dimension * np.dtype(space.dtype).itemsize
            for space in spaces
        }
        digests[catalog.NAME] = _add(tar, catalog.NAME, copy)
        for path in _files(collection):
            name = path.relative_to(collection).as_posix()
            try:
                digests[name] = _add(tar, name, path, lengths.get(path))
            except FileNotFoundError:
                raise ChangedMeanwhileError(f"{path} is gone") from None
        if (collection / MANIFEST).read_bytes() != manifest:
            raise ChangedMeanwhileError(f"{collection / MANIFEST} was replaced")
        size = sum(member.size for member in tar.getmembers())
        facts = {"kind": _KIND, "format": _FORMAT, "images": images, "sha256": digests}
        data = json.dumps(facts, indent=1).encode()
        _add_stream(tar, NAME, io.BytesIO(data), len(data))
    return Backup(len(digests), size, images)


@contextmanager
def _scratch_file(out: Path) -> Iterator[Path]:
    """A place for the catalog's copy; one name for each backup, so that the next run removes what a stop left."""
    copy = out.with_name(f"{out.name}.{catalog.NAME}")
    files = [copy.with_name(copy.name + end) for end in ("", "-journal")]
    for file in files:
        file.unlink(missing_ok=True)
    try:
        yield copy
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _copy_catalog(collection: Path, copy: Path) -> tuple[int, int]:
    """Write one state of the catalog; returns the next image's id in it, and how many images it has."""
    with closing(catalog.connect(collection)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        (next_image,) = target.execute("SELECT value FROM counters WHERE name = 'next image'").fetchone()
        (images,) = target.execute("SELECT COUNT(*) FROM images").fetchone()
    return int(next_image), int(images)


def _files(collection: Path) -> Iterator[Path]:
    """All files of a collection's state but the catalog; indexes and shards are made again."""
    for path in sorted(collection.rglob("*")):
        parts = path.relative_to(collection).parts
        omitted = (
            parts[0] in ("index", SHARDS) or any(part.endswith(_OMITTED) for part in parts) or parts == (catalog.NAME,)
        )
        if not omitted and path.is_file():
            yield path


def _add(tar: tarfile.TarFile, name: str, path: Path, most: int | None = None) -> str:
    """Add a file, or its first `most` bytes; returns the SHA-256."""
    with path.open("rb") as stream:
        size = path.stat().st_size
        return _add_stream(tar, name, stream, size if most is None else min(size, most))


def _add_stream(tar: tarfile.TarFile, name: str, stream: BinaryIO, size: int) -> str:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    hashed = _Hashed(stream)
    try:
        tar.addfile(member, hashed)
    except OSError as error:
        if error.errno is None:  # tarfile's own: the file has become shorter
            raise ChangedMeanwhileError(f"{name} has become shorter") from error
        raise
    return hashed.digest.hexdigest()


class _Hashed:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._stream.read(size)
        self.digest.update(data)
        return data


def _extract(file: Path, folder: Path) -> Backup:
    """Write a backup's files into a new folder, and compare their SHA-256. Raises BackupError."""
    digests: dict[str, str] = {}
    facts = None
    size = 0
    folder.mkdir()
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                if facts is not None or not _is_plain(member) or member.name in digests:
                    raise BackupError(f"{file} is not a backup of a collection, or is damaged at '{member.name[:80]}'")
                stream = tar.extractfile(member)
                assert stream is not None
                if member.name == NAME:
                    facts = _Facts.parse(stream.read(_MAX_FACTS))
                    continue
                place = folder / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                hashed = _Hashed(stream)  # type: ignore[arg-type]
                opener = _private if place.name.startswith("keys.") else None
                with open(place, "xb", opener=opener) as target:  # Path.open takes no opener
                    shutil.copyfileobj(hashed, target, _BLOCK)
                digests[member.name] = hashed.digest.hexdigest()
                size += member.size
    except FileNotFoundError as error:
        raise BackupError(f"{file}: there is no such file") from error
    # A name below that of a file; a number that is none.
    except (tarfile.TarError, EOFError, ValueError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise BackupError(f"{file} is not a backup of a collection, or is damaged ({error})") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise BackupError(f"{file} is not a backup of a collection: a name in it is too long") from error
    if facts is None:
        raise BackupError(f"{file} is not a backup of a collection, or is cut short: its end is missing")
    if facts.format != _FORMAT:
        raise BackupError(f"{file} has format {facts.format!r}; this version reads {_FORMAT}")
    if different := sorted(digests.items() ^ facts.digests.items()):
        raise BackupError(f"{file} is damaged: the SHA-256 of {different[0][0]} differs")
    return Backup(len(digests), size, facts.images)


@dataclass(frozen=True)
class _Facts:
    """What the last member says. digests: SHA-256 of every other one, by name."""

    format: object
    images: int
    digests: dict[str, str]

    @staticmethod
    def parse(data: bytes) -> _Facts | None:
        """The facts; None where they are of something else. Raises ValueError."""
        try:
            fields = json.loads(data)
            if not isinstance(fields, dict) or fields.get("kind") != _KIND:
                return None
            digests = {str(name): str(digest) for name, digest in fields["sha256"].items()}
            return _Facts(fields.get("format"), int(fields["images"]), digests)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{NAME} says {error!r}") from error


def _private(path: str, flags: int) -> int:
    """Open a file that nobody but its owner may read, at any moment."""
    return os.open(path, flags, 0o600)


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Whether a member is a file with a plain path below the folder; a sparse one has more bytes than the backup."""
    path = PurePosixPath(member.name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in member.name
    return inside and member.isfile() and not member.issparse()
