"""Pictures stay where they were indexed: in a folder or a zip, which is read in place."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from retrieval.errors import CollectionError, SourceError
from retrieval.sources import FileUnreadableError, Source, open_source


class PictureGoneError(CollectionError):
    """A picture is no longer in the folder or zip that it was indexed in."""


_KEPT = 8
_sources: OrderedDict[tuple[Path, int], Source] = OrderedDict()
_lock = threading.Lock()


def read_picture(source: Path, file: str) -> bytes:
    """The bytes of one file of a source, from any thread. `file` comes from the catalog, never from a client.

    Raises PictureGoneError.
    """
    try:
        return _opened(source).read(file)
    except (SourceError, FileUnreadableError, OSError) as error:
        raise PictureGoneError(
            f"{file} is no longer in {source} ({error}); put it back, or remove it from the collection"
        ) from error


def _opened(source: Path) -> Source:
    """A source stays open, because listing a zip of 8,000 pictures takes 30 ms; a replaced zip is opened anew."""
    key = (source, source.stat().st_mtime_ns if source.is_file() else 0)
    with _lock:
        opened = _sources.pop(key, None) or open_source(source)
        _sources[key] = opened
        if len(_sources) > _KEPT:
            _sources.popitem(last=False)  # closed when the last reader lets go of it
        return opened
