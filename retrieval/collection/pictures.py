"""Pictures stay where they were indexed: in a folder or a zip, which is read in place."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from pathlib import Path

from retrieval.errors import CollectionError, SourceError
from retrieval.sources import FileMissingError, Source, open_stored


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
    try:
        opened = _opened(source, kind)
    except (SourceError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{source}: ")
        raise SourceGoneError(f"{source} cannot be opened ({reason}); put it back") from error
    try:
        return opened.read(file)
    except FileMissingError as error:
        if opened.kind == "folder" and _is_empty(source):  # as a disk that is not mounted leaves it
            raise SourceGoneError(f"{source} is empty; put the pictures back, or mount their disk") from error
        raise PictureGoneError(
            f"{file} is no longer in {source} ({error}); put it back, or remove it from the collection"
        ) from error


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
