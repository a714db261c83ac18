"""Files that are written as a whole or not at all, a full disk as one error, and locks between processes."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar
from zipfile import BadZipFile

from filelock import FileLock, Timeout

from retrieval.errors import OutputError, RetrievalError

Value = TypeVar("Value")
PARTIAL = ".new"
"""Ends the name of a file that is still being written."""
DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,  # a flipped bit of an .npz file makes it encrypted or of another zip version, NotImplementedError
    BadZipFile,
    zlib.error,
)
"""What reading a damaged .npz or JSON file raises."""
_NO_SPACE = os.strerror(errno.ENOSPC)
"""What an error says that a library made of the system's."""
_NO_ROOM = 1 << 20
"""Free bytes below which a library's failure to write is taken for a full disk."""

log = logging.getLogger(__name__)


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
def raising_full_disk(place: Path, advice: str) -> Iterator[None]:
    """Raise DiskFullError for an OSError of the block that means a full disk, see `full_disk`."""
    try:
        yield
    except OSError as error:
        if (full := full_disk(error, place, advice)) is not None:
            raise full from error
        raise


def library_full_disk(error: BaseException, place: Path) -> DiskFullError | None:
    """The same for an error of a library that wrote to `place`.

    FAISS and OpenVINO raise RuntimeError for all, NumPy's tofile an OSError without a number, and safetensors an error
    of its own.
    """
    full = full_disk(error, place)
    if full is not None or not isinstance(error, Exception) or isinstance(error, RetrievalError):
        return full
    vague = isinstance(error, RuntimeError) or (isinstance(error, OSError) and error.errno is None)
    folder = next(folder for folder in place.absolute().parents if folder.exists())
    if _NO_SPACE in str(error) or (vague and shutil.disk_usage(folder).free < _NO_ROOM):
        full = DiskFullError(f"{place}: no space left on the disk; make room and try again")
    return full


@contextmanager
def new_path(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """The name of a file to write that takes the place of `path` when the block ends, in one step.

    Where the block or the disk fails, what was there before stays, and nothing else. sync: whether the file must
    survive a power cut, for what a second run does not make again. Raises DiskFullError.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        if sync:
            _sync(partial)
        partial.replace(path)
        if sync:
            sync_directory(path.parent)
    except BaseException as error:
        full = library_full_disk(error, path)
        partial.unlink(missing_ok=True)
        if full is not None:
            raise full from error
        raise


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """An open file that takes the place of `path` when the block ends, see `new_path`. Raises DiskFullError."""
    with new_path(path, sync=sync) as partial, partial.open("wb") as stream:
        yield stream


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file as a whole or not at all, see `new_path`. Raises DiskFullError."""
    with new_file(path, sync=sync) as stream:
        stream.write(data)


def require_writable(collection: Path) -> None:
    """Raise OutputError where a collection's folder is not writable, before long work whose outcome goes there."""
    if not os.access(collection, os.W_OK | os.X_OK, effective_ids=True):
        raise OutputError(
            f"{collection} cannot be written to, where the outcome would be stored; change its permissions, or work on "
            "a copy"
        )


def sync_directory(path: Path) -> None:
    """Force a folder's own entries to disk, so that a rename or a new file survives a power cut."""
    _sync(path)


def _sync(path: Path) -> None:
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


def read_sound(path: Path, read: Callable[[Path], Value], command: str) -> Value | None:
    """What `read` makes of a file; None where there is none, or a damaged one, which is logged.

    command: of `kvasir`, which makes the file anew.
    """
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        log.warning("%s is damaged and not used (%r); `kvasir %s` makes it anew", path, error, command)
        return None


def damaged_files(paths: Iterable[Path], read: Callable[[Path], object], command: str) -> Iterator[tuple[Path, str]]:
    """(file, what is wrong) of each file that is there and damaged; see `read_sound`."""
    for path in paths:
        try:
            read(path)
        except FileNotFoundError:
            continue
        except DAMAGE as error:
            yield path, f"is damaged ({error}); `kvasir {command}` makes it anew"
