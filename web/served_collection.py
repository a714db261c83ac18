"""The collection that is served: one searcher at a time, replaced when the collection changes."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from pathlib import Path

from indexer.uploads import add_picture, remove_images
from retrieval.collection import CollectionWriter, NoSuchImageError
from retrieval.collection.catalog import NAME as CATALOG
from retrieval.collection.manifest import NAME as MANIFEST
from retrieval.errors import RemoteIndexError, RetrievalError
from retrieval.large_pictures import LargePictures
from retrieval.search import Searcher, open_collection
from retrieval.sources.address import without_credentials

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""Seconds between two checks whether another process wrote to the collection."""
FLUSH_NICENESS = 10
"""Added to the niceness of the thread that builds indexes after writes."""

ADVICE = "make room and send the request again"
"""What to do where the disk is full."""


class ServedCollection:
    """A search sees one state from beginning to end; a write, by this server or another process, brings the next.

    The next state is made complete, its indexes changed by what was written, before it takes the place of the last: no
    search waits for it. Writes of another process are seen by `watch`, or without it by the first request after them.
    """

    def __init__(
        self, path: Path, max_pixels: int, large: LargePictures | None = None, engine: str | None = None
    ) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._searcher = open_collection(path, "throughput", max_pixels, large, engine)
        self._checked = time.monotonic()
        self._checking = threading.Lock()
        self._writing = threading.Lock()
        self._refreshing = threading.Lock()
        self._watched = False
        self._logged_fault: str | None = None
        self.ready = False

    @property
    def searcher(self) -> Searcher:
        """The current searcher. A request takes it once: `web.context.searcher`."""
        due = not self._watched and time.monotonic() - self._checked > CHECK_SECONDS
        if due and self._checking.acquire(blocking=False):
            try:
                self._checked = time.monotonic()
                if _stamp(self.path) != self._stamp:
                    self._refresh()
            finally:
                self._checking.release()
        return self._searcher

    def path_names(self) -> dict[Path, str]:
        """The names by which clients know the collection and its sources, whose paths are not shown."""
        opened = self._searcher.collection
        sources = {path: Path(without_credentials(str(path))).name for path, _ in opened.images.source_paths}
        return sources | {self.path: opened.manifest.name}

    def warm_up(self) -> bool:
        """Load every encoder and index, so that no first query pays for it; until then the server is not ready.

        Returns whether to try again: a vector engine may not be there yet.
        """
        try:
            loaded = None
            while loaded is not self._searcher:  # which a write may have replaced meanwhile
                loaded = self._searcher
                for definition in loaded.collection.spaces:
                    loaded.space(definition.name).warm_up()
                    if len(loaded.collection.ids(definition.name)):
                        loaded.index(definition.name)
        except RemoteIndexError as error:
            self._tell(str(error))
            return True
        except Exception:
            log.exception("the collection's encoders and indexes could not be loaded")
        else:
            self.ready = True
        return False

    def _tell(self, fault: str) -> None:
        """Log what is tried again and again, once as long as it stays the same."""
        if fault != self._logged_fault:
            self._logged_fault = fault
            log.error("%s", fault)

    def watch(self, stop: threading.Event) -> None:
        """Look every CHECK_SECONDS, until `stop`, whether another process wrote; for a thread of its own.

        A collection that cannot be read leaves the last state in place; the log says why, once for each reason.
        """
        self._watched = True
        reason = None
        while not stop.wait(CHECK_SECONDS):
            try:
                if _stamp(self.path) != self._stamp:
                    self._refresh()
                reason = None
            except (RetrievalError, OSError, sqlite3.Error) as error:
                if str(error) != reason:
                    reason = str(error)
                    log.error("the collection has changed and cannot be read: %s", reason)

    def flush_after_writes(self, stop: threading.Event) -> None:
        """Flush the indexes of the first state, and of each that a write brings, until `stop`; for a thread of its own.

        A flush builds only what is missing or a quarter of whose vectors has changed, so it gets rarer as a collection
        grows. One that the end of the server cuts off goes on from its last checkpoint with the next start.
        """
        os.setpriority(os.PRIO_PROCESS, 0, FLUSH_NICENESS)  # of this thread and those that it starts: searches go first
        flushed = None
        while not stop.wait(CHECK_SECONDS):
            current = self._searcher
            if current is not flushed and self.ready:
                try:
                    current.flush()
                except RemoteIndexError as error:  # what changed is compared here until it can be pushed
                    self._tell(f"changes are not pushed yet: {error}")
                    continue
                except (RetrievalError, OSError) as error:
                    log.error("an index could not be brought up to date: %s", error)
                flushed = current

    def add(self, data: bytes, class_name: str | None) -> tuple[int, bool]:
        """Store a picture; returns its id and whether it is new. Raises CollectionBusyError, a PictureError."""
        with self._writing:
            with self._writer() as writer:
                image_id, new = add_picture(writer, self._searcher, data, class_name)
            self._refresh()
            return image_id, new

    def remove(self, image_id: int) -> None:
        """Remove an image. Raises NoSuchImageError, CollectionBusyError."""
        with self._writing:
            with self._writer() as writer:
                removed = remove_images(writer, [image_id])
            self._refresh()
        if not removed:
            raise NoSuchImageError(f"the collection {self.path} has no image {image_id}")

    def _writer(self) -> CollectionWriter:
        return CollectionWriter(self.path, advice=ADVICE)

    def _refresh(self) -> None:
        with self._refreshing:  # a slow one must not restore the state before a write
            stamp = _stamp(self.path)
            last, later = self._searcher, self._searcher.refreshed()
            if self.ready and later is not last:
                _prepare(later, last)
            self._searcher, self._stamp = later, stamp


def _prepare(later: Searcher, last: Searcher) -> None:
    """Load what the next searcher does not take over from the last, and search each space once.

    Not taken over are new spaces, indexes of images that were read anew, and what the first search of a state computes
    for those after it, such as the images that FAISS may propose.
    """
    for definition in later.collection.spaces:
        try:
            if definition not in last.collection.spaces:
                later.space(definition.name).warm_up()
            if len(ids := later.collection.ids(definition.name)):
                later.search(int(ids[0]), 1, spaces=definition.name)
        except RetrievalError as error:  # a search of this space raises it again
            log.error("the space '%s' could not be loaded: %s", definition.name, error)


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes when the catalog or the manifest is written."""
    stats = [(path / name).stat() for name in (CATALOG, MANIFEST) if (path / name).exists()]
    return tuple(value for stat in stats for value in (stat.st_mtime_ns, stat.st_size, stat.st_ino))
