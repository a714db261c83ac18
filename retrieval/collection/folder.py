"""The folder of a collection and its lock: one process at a time may write."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from retrieval.collection import catalog
from retrieval.collection.manifest import NAME, NotACollectionError, read_manifest
from retrieval.disk import PARTIAL
from retrieval.errors import CollectionError

LOCK = "writer.lock"
SHARDS = "shards"
"""Folder of what a Ray run has embedded and not yet stored."""
LEFT_SECONDS = 60.0
"""A partial file that nobody has written to for so long is of a run that was stopped."""


class CollectionBusyError(CollectionError):
    """Another process is writing to the collection."""


class NotWritableError(CollectionError):
    """The collection's folder cannot be written."""


def claim(path: Path, create: bool) -> FileLock:
    """The acquired lock of a collection's folder, which is made where there is none and `create` says so.

    Raises CollectionBusyError, NotACollectionError, FormatError, OSError.
    """
    if not (path / NAME).exists():
        if not create:
            read_manifest(path)
        _require_free(path)
        path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CollectionBusyError(
            f"another process is writing to {path}; wait until it is done, or stop it, and try again"
        ) from None
    return lock


def _require_free(path: Path) -> None:
    """A folder that is not yet a collection may hold only what a stop while making one leaves."""
    if not path.exists():
        return
    if not path.is_dir():
        raise NotACollectionError(f"{path} is a file; give a folder for the collection")
    begun = {LOCK, catalog.NAME, catalog.NAME + "-journal", NAME + PARTIAL}
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in begun)
    if others:
        raise NotACollectionError(
            f"{path} is not a collection and not empty (it holds {', '.join(others[:3])}); give an empty or new folder"
        )


def restoring_place(path: Path) -> Path:
    """Where a backup is unpacked before it takes the place of a collection."""
    return path.with_name(f".{path.name}.restoring")


def earlier_place(path: Path) -> Path:
    """Where a collection is moved that a backup takes the place of, until it is deleted."""
    return path.with_name(f".{path.name}.earlier")


def leftovers(path: Path) -> list[Path]:
    """Partial files that a run which was stopped has left; those of indexes and evaluations have writers of their own.

    Files that readers cache are written without the lock, so one that was written to just now is none.
    """
    now = time.time()
    patterns = "*", "[!ie]*/*", "learned/views/*"  # but index/, evaluations/, encoders/
    candidates = [file for pattern in patterns for file in path.glob(pattern + PARTIAL)]
    left = sorted(file for file in candidates if file.is_file() and now - file.stat().st_mtime > LEFT_SECONDS)
    folders = (restoring_place(path.resolve()), earlier_place(path.resolve()))
    return left + [place for place in folders if place.is_dir() and now - _last_written(place) > LEFT_SECONDS]


def _last_written(folder: Path) -> float:
    """When anything in a folder was written last; now where somebody deletes it meanwhile."""
    try:
        return max(entry.stat().st_mtime for entry in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return time.time()


def remove_leftovers(path: Path) -> None:
    """Remove what runs that were stopped have left; to be called by the one writer."""
    shutil.rmtree(path / "encoders" / PARTIAL, ignore_errors=True)
    for left in leftovers(path):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def delete_all(path: Path) -> None:
    """Delete a collection whose lock this process has acquired."""
    for entry in path.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    with suppress(OSError):  # a network folder may keep the open lock; an empty folder may begin a collection anew
        (path / LOCK).unlink()
        path.rmdir()


def not_writable(path: Path, reason: str) -> NotWritableError:
    """The error of a folder that may not be written."""
    return NotWritableError(
        f"cannot write to the collection {path} ({reason}); its folder and all files in it must be writable for you: "
        "change their permissions, or write to a copy"
    )
