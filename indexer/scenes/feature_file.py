"""Local features of many pictures in a temporary file of the collection, so that memory stays flat."""

from __future__ import annotations

import os
import tempfile
import threading
from typing import Self

import numpy as np

from indexer.scenes.local_features import LocalFeatures, local_features
from retrieval.errors import RetrievalError
from retrieval.images import MAX_PIXELS
from retrieval.search import Searcher

_ROW = np.dtype([("place", "<f4", 4), ("descriptor", "u1", 128)])


class FeatureFile:
    """The features of pictures by image id, each computed once; from any thread.

    At most 58 KB a picture. The file has no name, where the platform allows that, so nothing is left after a stop.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._file = tempfile.TemporaryFile(dir=searcher.collection.path)  # noqa: SIM115  # closed by `__exit__`
        self._rows: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._lock = threading.Lock()

    def complete(self, image_id: int) -> None:
        """Detect and store an image's features, unless they are there; none where its picture cannot be read."""
        if image_id in self._rows:
            return
        try:
            detected = self._detected(self._searcher.collection.read(image_id))
            rows = np.empty(len(detected), _ROW)
            rows["place"], rows["descriptor"] = detected.places, detected.descriptors
        except RetrievalError:
            rows = np.empty(0, _ROW)
        with self._lock:
            self._rows[image_id] = self._end, len(rows)
            os.pwrite(self._file.fileno(), rows.tobytes(), self._end)
            self._end += rows.nbytes

    def _detected(self, data: bytes) -> LocalFeatures:
        large = self._searcher.large_pictures
        if large is not None and large.takes(data, MAX_PIXELS):
            return large.run(local_features, data)
        return local_features(data)

    def get(self, image_id: int) -> LocalFeatures:
        """The stored features of an image; KeyError where `complete` was not called."""
        offset, count = self._rows[image_id]
        rows = np.frombuffer(os.pread(self._file.fileno(), count * _ROW.itemsize, offset), _ROW)
        return LocalFeatures(rows["place"], rows["descriptor"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
