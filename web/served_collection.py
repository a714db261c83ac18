"""The collection that is served: one searcher at a time, replaced when the collection changes."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from indexer.uploads import add_picture, remove_picture
from retrieval.collection import CollectionWriter
from retrieval.collection.catalog import NAME as CATALOG
from retrieval.collection.manifest import NAME as MANIFEST
from retrieval.encoders import Encoder
from retrieval.search import Searcher, open_collection
from retrieval.spaces.encoder import EncoderSpace

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""Seconds between two checks whether another process wrote to the collection."""


class ServedCollection:
    """A search sees one state from beginning to end; a write, by this server or another process, brings the next."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._searcher = open_collection(path, "throughput", max_pixels)
        self._checked = time.monotonic()
        self._checking = threading.Lock()
        self._writing = threading.Lock()
        self._refreshing = threading.Lock()
        self.ready = False

    @property
    def searcher(self) -> Searcher:
        """The current searcher. A request takes it once: `web.context.searcher`."""
        if time.monotonic() - self._checked > CHECK_SECONDS and self._checking.acquire(blocking=False):
            try:
                self._checked = time.monotonic()
                if _stamp(self.path) != self._stamp:
                    self._refresh()
            finally:
                self._checking.release()
        return self._searcher

    def path_names(self) -> dict[Path, str]:
        """The names by which clients know the collection and its sources; they are not told the paths."""
        opened = self._searcher.collection
        sources = {path: path.name for path, _ in opened.images.source_paths}
        return sources | {self.path: opened.manifest.name}

    def warm_up(self) -> None:
        """Load every encoder and index, so that no first query pays for it; until then the server is not ready."""
        searcher = self._searcher
        try:
            self._load(searcher)
        except Exception:
            log.exception("the collection's encoders and indexes could not be loaded")
        else:
            self.ready = True

    def _load(self, searcher: Searcher) -> None:
        for definition in searcher.collection.spaces:
            if len(searcher.collection):
                searcher.index(definition.name)
            searcher.space(definition.name).warm_up()

    def add(self, data: bytes, class_name: str | None) -> tuple[int, bool]:
        """Store a picture; returns its id and whether it is new. Raises CollectionBusyError, a PictureError."""
        with self._writing:
            searcher = self.searcher
            encoders: dict[str, Encoder] = {
                space.name: opened.encoder
                for space in searcher.collection.spaces
                if isinstance(opened := searcher.space(space.name), EncoderSpace)
            }
            with CollectionWriter(self.path) as writer:
                image_id, new = add_picture(writer, encoders, data, class_name)
            self._refresh()
            return image_id, new

    def remove(self, image_id: int) -> None:
        """Remove an image. Raises NoSuchImageError, CollectionBusyError."""
        with self._writing:
            collection = self.searcher.collection
            collection.position(image_id)
            with CollectionWriter(self.path) as writer:
                remove_picture(writer, collection, image_id)
            self._refresh()

    def _refresh(self) -> None:
        with self._refreshing:  # a slow one must not restore the state before a write
            stamp = _stamp(self.path)
            searcher = self._searcher.refreshed()
            self._searcher, self._stamp = searcher, stamp


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes when the catalog or the manifest is written."""
    stats = [(path / name).stat() for name in (CATALOG, MANIFEST) if (path / name).exists()]
    return tuple(value for stat in stats for value in (stat.st_mtime_ns, stat.st_size, stat.st_ino))
