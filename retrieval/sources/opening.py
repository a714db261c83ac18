"""Path -> source: a folder or a zip."""

from __future__ import annotations

from pathlib import Path

from retrieval.sources.address import remote_reason
from retrieval.sources.archive import Archive
from retrieval.sources.folder import Folder
from retrieval.sources.source import (
    NotASourceError,
    Source,
    SourceNotFoundError,
    SourceUnreadableError,
)


def open_source(path: Path, zip_encoding: str | None = None) -> Source:
    """The files of a folder or zip.

    zip_encoding: of a zip's names whose encoding the zip does not state; guessed where it is None.

    Raises `SourceNotFoundError`, `NotASourceError`, `SourceUnreadableError`, and for a zip `DamagedZipError`,
    `EncryptedZipError` (retrieval.sources.archive) and `ZipEncodingError` (retrieval.sources.zip_names).
    """
    if reason := remote_reason(path):
        raise NotASourceError(reason)
    try:
        path = path.expanduser().resolve()
        if path.is_dir():
            return Folder(path)
        if path.is_file():
            return Archive(path, zip_encoding)
    except PermissionError as error:
        raise SourceUnreadableError(f"{path}: no permission to read {error.filename or 'it'}") from error
    if path.exists():
        raise NotASourceError(f"{path}: neither a folder nor a zip")
    raise SourceNotFoundError(f"{path}: no such folder or zip")
