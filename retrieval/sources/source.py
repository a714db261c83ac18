"""What a folder and a zip have in common as sources of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from retrieval.errors import PictureError, SourceError

MAX_BYTES = 1 << 30
"""No file larger than this is read into memory; the largest endoscopy still is a thousand times smaller."""

SourceKind = Literal["folder", "zip", "remote", "vectors"]

METADATA = {
    "__macosx": "macOS metadata",
    "@eadir": "NAS thumbnails",
    "thumbs.db": "Windows metadata",
    "desktop.ini": "Windows metadata",
}
"""Lower-case names of files and folders that systems leave behind -> what they are."""


class SourceNotFoundError(SourceError):
    """The path of a data set does not exist."""


class NotASourceError(SourceError):
    """The path of a data set is neither a folder nor a zip."""


class SourceUnreadableError(SourceError):
    """The folder or zip may not be read by this user."""


class FileUnreadableError(PictureError):
    """A file that was listed cannot be read any more, or is damaged inside its zip."""


class FileMissingError(FileUnreadableError):
    """A file is not in the folder or zip, which can be read."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A file of a source: posix path inside it, size in bytes, and a stamp that changes with the content.

    The stamp is the modification time in nanoseconds for a file, the CRC-32 for a zip's member.
    """

    file: str
    bytes: int
    stamp: int


class Source(Protocol):
    """Where files come from; `read` and `head` may be called from several threads at once."""

    path: Path

    @property
    def ignored(self) -> Counter[str]:
        """Reason -> how many files were left out for it."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about how the files were listed, as sentences."""
        ...

    @property
    def kind(self) -> SourceKind:
        """What the path is."""
        ...

    @property
    def entries(self) -> Sequence[Entry]:
        """The files, sorted by path."""
        ...

    def entry(self, file: str) -> Entry:
        """One file, without listing the others. Raises `FileUnreadableError`, `FileMissingError`."""
        ...

    def read(self, file: str) -> bytes:
        """The content of an entry. Raises `FileUnreadableError`, `FileMissingError`."""
        ...

    def head(self, file: str, size: int) -> bytes:
        """The first `size` bytes of an entry. Raises `FileUnreadableError`, `FileMissingError`."""
        ...

    def close(self) -> None:
        """Close open files."""
        ...


def metadata_reason(file: str) -> str | None:
    """Why a path is no part of a data set: hidden, or left behind by a system; None where it is one."""
    for part in file.split("/"):
        if part.lower() in METADATA:
            return METADATA[part.lower()]
        if part.startswith("."):
            return "hidden files"
    return None


def storable(file: str) -> bool:
    """Whether a name is text; a name that is not UTF-8 could not be stored in a catalog."""
    try:
        file.encode()
    except UnicodeEncodeError:
        return False
    return True
