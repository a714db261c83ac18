"""The files below a folder."""

from __future__ import annotations

import os
from collections import Counter, deque
from functools import cached_property
from pathlib import Path
from typing import Literal

from retrieval.sources.source import MAX_BYTES, Entry, FileMissingError, FileUnreadableError, metadata_reason, storable

COLLECTION_FILES = frozenset({"manifest.json", "catalog.sqlite"})
"""Files of a collection's folder; one that lies among the pictures is left out."""


class Folder:
    """A folder as a source of files, links followed, each folder once."""

    kind: Literal["folder"] = "folder"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _listing(self) -> tuple[list[Entry], Counter[str]]:
        return _walk(self.path)

    @property
    def entries(self) -> list[Entry]:
        """The files, sorted by path; the folder is walked with the first access."""
        return self._listing[0]

    @property
    def ignored(self) -> Counter[str]:
        """Reason -> how many files were left out for it."""
        return self._listing[1]

    def entry(self, file: str) -> Entry:
        """One file's size and stamp."""
        try:
            status = (self.path / file).stat()
        except OSError as error:
            raise _unreadable(file, error) from error
        return Entry(file, status.st_size, status.st_mtime_ns)

    def read(self, file: str) -> bytes:
        """The content of a file."""
        return self.head(file, MAX_BYTES)

    def head(self, file: str, size: int) -> bytes:
        """The first `size` bytes of a file."""
        try:
            with (self.path / file).open("rb") as stream:
                length = os.fstat(stream.fileno()).st_size
                if length > MAX_BYTES:
                    raise FileUnreadableError(f"{file}: {length} bytes, more than the {MAX_BYTES} that are read")
                return stream.read(min(size, length + 1))  # a buffer of MAX_BYTES would be cleared for every file
        except OSError as error:
            raise _unreadable(file, error) from error

    def close(self) -> None:
        """Nothing is open."""


def _unreadable(file: str, error: OSError) -> FileUnreadableError:
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    return (FileMissingError if missing else FileUnreadableError)(f"{file}: {error.strerror or error}")


def _walk(top: Path) -> tuple[list[Entry], Counter[str]]:
    """All regular files below `top`, sorted, and what was left out.

    Links to folders wait until the real folders are through, and a folder that was seen is not entered
    again: so loops end, and a link to a class folder does not double it.
    """
    entries: list[Entry] = []
    ignored: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    folders: deque[str] = deque([""])
    links: deque[str] = deque()
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        try:
            status = (top / folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                ignored["links to folders that are read already"] += 1
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(top / folder) as scan:
                listing = sorted(scan, key=lambda entry: entry.name)
        except OSError:
            if not folder:
                raise
            ignored["folders that may not be read"] += 1
            continue
        if folder and COLLECTION_FILES.issubset(item.name for item in listing):
            ignored["folders that are collections"] += 1
            continue
        for item in listing:
            file = f"{folder}/{item.name}" if folder else item.name
            if reason := metadata_reason(item.name):
                ignored[reason] += 1
            elif not storable(file):
                ignored["names that are not UTF-8"] += 1
            elif _is_folder(item):
                (links if item.is_symlink() else folders).append(file)
            elif entry := _entry(file, item):
                entries.append(entry)
            else:
                ignored["broken links and special files"] += 1
    return sorted(entries), ignored


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link to itself
        return False


def _entry(file: str, item: os.DirEntry[str]) -> Entry | None:
    try:
        if not item.is_file():
            return None
        status = item.stat()
    except OSError:
        return None
    return Entry(file, status.st_size, status.st_mtime_ns)
