"""Folders on other machines and in object stores, by the file systems of fsspec: s3://, gs://, abfs://, sftp://."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from retrieval.sources.address import EXTRAS, REFUSED_ADDRESS, has_credentials, location_url
from retrieval.sources.source import (
    MAX_BYTES,
    Entry,
    FileMissingError,
    FileUnreadableError,
    SourceNotFoundError,
    SourceUnreadableError,
    metadata_reason,
    storable,
)

_STAMPS = (
    "ETag",
    "etag",
    "md5Hash",
    "md5",
    "content_md5",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
)
"""Fields of fsspec's listings that change with a file's content, the best first."""


def open_location(location: str) -> tuple[Any, str, bool]:
    """Fsspec's file system of a location, the path in it, and whether it is this machine's own.

    location: a local path or an address. Raises SourceUnreadableError, also for an address with a password.
    """
    if has_credentials(location):
        raise SourceUnreadableError(REFUSED_ADDRESS)
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    try:
        files, root = url_to_fs(location)
    except ImportError as error:
        scheme = location.partition(":")[0].lower()
        wanted = f"pip install {EXTRAS[scheme]}" if scheme in EXTRAS else str(error)
        raise SourceUnreadableError(f"{location}: {scheme}:// cannot be read here; {wanted}") from error
    except Exception as error:  # fsspec's file systems raise errors of their own
        raise SourceUnreadableError(f"{location}: {error}") from error
    return files, root.rstrip("/"), isinstance(files, LocalFileSystem)


class Remote:
    """A folder at an address as a source of files."""

    kind: Literal["remote"] = "remote"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files, self._root, _ = open_location(location_url(path) or str(path))
        try:
            self._files.invalidate_cache()  # fsspec shares file systems, and their listings, within a process
            if not self._files.isdir(self._root):
                raise SourceNotFoundError(f"{location_url(path)}: no such folder")
        except SourceNotFoundError:
            raise
        except Exception as error:
            raise SourceUnreadableError(f"{location_url(path)}: {error}") from error

    @cached_property
    def _listing(self) -> tuple[list[Entry], Counter[str]]:
        try:
            listed = self._files.find(self._root, detail=True)
        except Exception as error:
            raise SourceUnreadableError(f"{location_url(self.path)}: {error}") from error
        entries: list[Entry] = []
        ignored: Counter[str] = Counter()
        for name, facts in listed.items():
            file = name[len(self._root) :].lstrip("/")
            if reason := metadata_reason(file) or (None if storable(file) else "names that are not UTF-8"):
                ignored[reason] += 1
            else:
                entries.append(_entry(file, facts))
        return sorted(entries), ignored

    @property
    def entries(self) -> list[Entry]:
        """The files, sorted by path; the location is listed with the first access."""
        return self._listing[0]

    @property
    def ignored(self) -> Counter[str]:
        """Reason -> how many files were left out for it."""
        return self._listing[1]

    def entry(self, file: str) -> Entry:
        """One file's size and stamp."""
        try:
            return _entry(file, self._files.info(f"{self._root}/{file}"))
        except Exception as error:
            raise _unreadable(file, error) from error

    def read(self, file: str) -> bytes:
        """The content of a file."""
        data = self.head(file, MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise FileUnreadableError(f"{file}: more than the {MAX_BYTES} bytes that are read")
        return data

    def head(self, file: str, size: int) -> bytes:
        """The first `size` bytes of a file."""
        try:
            data: bytes = self._files.cat_file(f"{self._root}/{file}", start=0, end=size)
        except Exception as error:
            raise _unreadable(file, error) from error
        return data

    def close(self) -> None:
        """Nothing is open."""


def _entry(file: str, facts: dict[str, Any]) -> Entry:
    stamp = next((facts[name] for name in _STAMPS if facts.get(name)), "")
    digest = hashlib.sha256(str(stamp).encode()).digest()
    return Entry(file, int(facts.get("size") or 0), int.from_bytes(digest[:7]))


def _unreadable(file: str, error: Exception) -> FileUnreadableError:
    return (FileMissingError if isinstance(error, FileNotFoundError) else FileUnreadableError)(f"{file}: {error}")
