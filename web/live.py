"""The collection that is served: one searcher at a time, replaced as a whole when the collection changes."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from pathlib import Path

import numpy as np

from indexer.uploads import add_picture, remove_picture
from retrieval.collection import CollectionWriter
from retrieval.collection.catalog import NAME as CATALOG
from retrieval.collection.manifest import NAME as MANIFEST
from retrieval.encoders import Encoder
from retrieval.search import Searcher, open_collection

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at whether another process wrote to the collection."""


class LiveCollection:
    """Searches see one state from beginning to end; a write, by this server or another process, brings the next."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._searcher = open_collection(path, "throughput", max_pixels)
        self._looked = time.monotonic()
        self._looking = threading.Lock()
        self._writing = threading.Lock()
        self._renewing = threading.Lock()
        self.ready = False

    @property
    def searcher(self) -> Searcher:
        """The searcher of now. Keep it for the whole of one request."""
        if time.monotonic() - self._looked > LOOK_EVERY and self._looking.acquire(blocking=False):
            try:
                self._looked = time.monotonic()
                if _stamp(self.path) != self._stamp:
                    self._renew()
            finally:
                self._looking.release()
        return self._searcher

    @property
    def version(self) -> str:
        """Names this collection among all that may be served at one address; an id's picture never changes in it."""
        manifest = self._searcher.collection.manifest
        return hashlib.sha256(f"{manifest.name} {manifest.created}".encode()).hexdigest()[:12]

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
        if any(space.kind == "descriptor" for space in searcher.collection.spaces):
            from retrieval.descriptors import warm_up

            warm_up()
        for space in searcher.collection.spaces:
            if len(searcher.collection):
                searcher.index(space.name)
            if space.kind == "encoder":
                width, height = searcher.encoder(space.name).recipe.size
                searcher.vectors_of(np.zeros((2 * height, 2 * width, 3), np.uint8), [space.name])

    def add(self, data: bytes, class_name: str | None) -> tuple[int, bool]:
        """Store a picture; returns its id and whether it is new. Raises CollectionBusyError, a PictureError."""
        with self._writing:
            searcher = self.searcher
            encoders: dict[str, Encoder] = {
                space.name: searcher.encoder(space.name)
                for space in searcher.collection.spaces
                if space.kind == "encoder"
            }
            with CollectionWriter(self.path) as writer:
                image_id, new = add_picture(writer, encoders, data, class_name)
            self._renew()
            return image_id, new

    def remove(self, image_id: int) -> None:
        """Remove an image. Raises NoSuchImageError, CollectionBusyError."""
        with self._writing:
            collection = self.searcher.collection
            collection.position(image_id)
            with CollectionWriter(self.path) as writer:
                remove_picture(writer, collection, image_id)
            self._renew()

    def _renew(self) -> None:
        with self._renewing:  # a slow one must not put back what it saw before a write
            stamp = _stamp(self.path)
            searcher = self._searcher.reopened()
            self._searcher, self._stamp = searcher, stamp


def _stamp(path: Path) -> tuple[int, ...]:
    stats = [(path / name).stat() for name in (CATALOG, MANIFEST) if (path / name).exists()]
    return tuple(value for stat in stats for value in (stat.st_mtime_ns, stat.st_size, stat.st_ino))
