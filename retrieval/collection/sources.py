"""Pictures stay where they were indexed: in a folder or a zip, which is read in place."""

from __future__ import annotations

import threading
import zipfile
from collections import OrderedDict
from pathlib import Path

from retrieval.errors import CollectionError


class PictureGoneError(CollectionError):
    """A picture is no longer in the folder or zip that it was indexed in."""


_KEPT = 4
_open_zips: OrderedDict[tuple[Path, int], zipfile.ZipFile] = OrderedDict()
_lock = threading.Lock()


def read_member(source: Path, kind: str, file: str) -> bytes:
    """The bytes of one file of a source. `file` comes from the catalog, never from a client.

    Raises PictureGoneError.
    """
    try:
        if kind == "zip":
            return _read_zip(source, file)
        return (source / file).read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise PictureGoneError(
            f"{file} is no longer in {source} ({error}); put it back, or remove it from the collection"
        ) from error


def _read_zip(source: Path, file: str) -> bytes:
    key = (source, source.stat().st_mtime_ns)
    with _lock:  # a ZipFile reads its directory once; opening one for each picture would cost 30 ms
        archive = _open_zips.pop(key, None) or zipfile.ZipFile(source)
        _open_zips[key] = archive
        if len(_open_zips) > _KEPT:
            _open_zips.popitem(last=False)[1].close()
        return archive.read(file)
