"""Pictures stay where they were indexed: in a folder or a zip, which is read in place."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from pathlib import Path

from retrieval.errors import CollectionError, SourceError
from retrieval.sources import FileMissingError, Source, open_stored
from retrieval.sources.address import location_url, without_credentials
from retrieval.sources.source import FileUnreadableError


class PictureGoneError(CollectionError):
    """A picture is no longer in the folder or zip that it was indexed in."""


class SourceGoneError(PictureGoneError):
    """The folder or zip that a picture was indexed in cannot be opened or is empty, so what it has is unknown."""


_KEPT = 8
_sources: OrderedDict[tuple[Path, int], Source] = OrderedDict()
_lock = threading.Lock()


def read_picture(source: Path, kind: str, file: str) -> bytes:
    """The bytes of one file of a source, from any thread. `file` comes from the catalog, never from a client.

    kind: of the source. Raises PictureGoneError, SourceGoneError, FileUnreadableError where it is there but cannot be
    read, and NoStoredPictureError.
    """
    place = location_url(source) or without_credentials(str(source))
    try:
        opened = _opened(source, kind)
    except (SourceError, OSError) as error:
        reason = getattr(error, "strerror", None) or _reason(source, error).removeprefix(f"{place}: ")
        raise SourceGoneError(f"{place} cannot be opened ({reason}); put it back") from error
    try:
        return opened.read(file)
    except FileMissingError as error:
        if opened.kind == "folder" and _is_empty(source):  # as a disk that is not mounted leaves it
            raise SourceGoneError(f"{source} is empty; put the pictures back, or mount their disk") from error
        raise PictureGoneError(
            f"{file} is no longer in {place} ({_reason(source, error)}); put it back, or remove it from the collection"
        ) from error
    except FileUnreadableError as error:
        if opened.kind != "remote":
            raise
        raise FileUnreadableError(f"{file}: {_reason(source, error).removeprefix(f'{file}: ')}") from error


def _reason(source: Path, error: Exception) -> str:
    """What an error says; of a remote file system's own error its class, since its text may have hosts and keys."""
    cause = error.__cause__
    if location_url(source) is None or cause is None or isinstance(cause, ImportError):
        return str(error)
    return type(cause).__name__


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _opened(source: Path, kind: str) -> Source:
    """A source stays open, because listing a zip of 8,000 pictures takes 30 ms; a replaced zip is opened anew."""
    changed = 0
    if kind != "remote" and not stat.S_ISDIR((status := source.stat()).st_mode):
        changed = status.st_mtime_ns
    key = (source, changed)
    with _lock:
        opened = _sources.pop(key, None) or open_stored(source, kind)
        _sources[key] = opened
        if len(_sources) > _KEPT:
            _sources.popitem(last=False)  # closed when the last reader lets go of it
        return opened
