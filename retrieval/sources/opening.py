"""Path -> source: a folder or a zip; and for what is stored, by the kind that the catalog names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from retrieval.sources.address import expanded, location_url, remote_reason
from retrieval.sources.folder import Folder
from retrieval.sources.source import (
    NotASourceError,
    Source,
    SourceNotFoundError,
    SourceUnreadableError,
)
from retrieval.sources.vectors import Vectors

WITHOUT_PICTURES: dict[str, Callable[[Path], Source]] = {Vectors.kind: Vectors}
"""Kinds of sources whose images have no pictures."""


def has_pictures(kind: str) -> bool:
    """Whether a source of this kind has pictures to read."""
    return kind not in WITHOUT_PICTURES


def open_stored(path: Path, kind: str) -> Source:
    """A source that the catalog names. Raises what `open_source` raises."""
    return WITHOUT_PICTURES[kind](path) if kind in WITHOUT_PICTURES else open_source(path)


def open_source(path: Path, zip_encoding: str | None = None) -> Source:
    """The files of a folder or zip, or of a folder at an address that fsspec reads.

    zip_encoding: of a zip's names whose encoding the zip does not state; guessed where it is None.

    Raises `SourceNotFoundError`, `NotASourceError`, `SourceUnreadableError`, and for a zip `DamagedZipError`,
    `EncryptedZipError` (retrieval.sources.archive) and `ZipEncodingError` (retrieval.sources.zip_names).
    """
    if location_url(path) is not None:
        from retrieval.sources.remote import Remote  # fsspec, which few collections need

        return Remote(path)
    if reason := remote_reason(path):
        raise NotASourceError(reason)
    try:
        path = expanded(path).resolve()
        if path.is_dir():
            return Folder(path)
        if path.is_file():
            from retrieval.sources.archive import Archive  # a search alone reads no zip

            return Archive(path, zip_encoding)
    except PermissionError as error:
        raise SourceUnreadableError(f"{path}: no permission to read {error.filename or 'it'}") from error
    if path.exists():
        raise NotASourceError(f"{path}: neither a folder nor a zip")
    raise SourceNotFoundError(f"{path}: no such folder or zip")
