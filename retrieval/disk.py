"""Files that are written as a whole or not at all, a full disk as one error, and locks between processes."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from retrieval.errors import RetrievalError

PARTIAL = ".new"
"""Ends the name of a file that is still being written."""


class DiskFullError(RetrievalError):
    """There is no room on the disk for what is to be written."""


def full_disk(error: BaseException, place: Path, advice: str = "make room and try again") -> DiskFullError | None:
    """The error that tells of a full disk, where that is what an OSError or SQLite's error means; else None.

    place: what is named where the error names no file.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            place = Path(str(cause.filename2 or cause.filename or place))
            break
        if isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            break
        cause = cause.__cause__
    else:
        return None
    return DiskFullError(f"{place}: no space left on the disk; {advice}")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends, in one step that survives a stop.

    Where the block or the disk fails, what was there before stays, and nothing else. Raises DiskFullError.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        sync_directory(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if (full := full_disk(error, path)) is not None:
            raise full from error
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all, see `new_file`. Raises DiskFullError."""
    with new_file(path) as stream:
        stream.write(data)


def sync_directory(path: Path) -> None:
    """Force a folder's own entries to disk, so that a rename or a new file survives a power cut."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, busy: RetrievalError) -> Iterator[None]:
    """Lock a file against other processes that lock it too, by `NAME.lock`, which is deleted at the end.

    Raises `busy` where another process has locked it.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        with FileLock(lock).acquire(timeout=0):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout:
        raise busy from None
