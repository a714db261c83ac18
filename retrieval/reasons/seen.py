"""Pictures as an encoder sees them, whole and erased in part; those seen last are cached.

A query is compared with one hit after the other, and a hit is looked at more than once; what is cached of a picture
serves every comparison, so that of a known query and a new hit only the hit is encoded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from threadpoolctl import ThreadpoolController

from retrieval.embedder import decoded
from retrieval.encoders.spatial import SpatialTower
from retrieval.images import Picture, Region, read_bytes, small_draft
from retrieval.marks import marks_of
from retrieval.query import PictureLike
from retrieval.reasons.agreement import SeenPicture
from retrieval.reasons.erasing import Way
from retrieval.reasons.relevance import encoder_inputs, erasures
from retrieval.spaces import Space

MOST_BYTES = 64 * 2**20
"""Of the cache; a picture of the default encoder takes 0.6 MB."""


_SEEING = Lock()
"""BLAS's number of threads is one of the whole process; two that change it would leave it changed."""


@dataclass(frozen=True, eq=False)
class Look:
    """A picture to be seen. region: the part of it that counts. max_pixels: the largest that is decoded."""

    source: PictureLike
    max_pixels: int
    region: Region | None = None


class SeenPictures:
    """Sees pictures by the encoder of a space. Safe to share between threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._cache: OrderedDict[Hashable, SeenPicture] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def see(self, tower: SpatialTower, space: Space, way: Way, looks: Sequence[Look]) -> list[SeenPicture]:
        """The pictures in turn; those that are new are seen at the same time. Raises a PictureError."""
        keys = [_key(space, way, look) for look in looks]
        seen = [self._cached(key) for key in keys]
        new = [at for at, one in enumerate(seen) if one is None]
        if not new:
            return [one for one in seen if one is not None]
        with _SEEING, _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(2) as pool:
            for at, made in zip(new, pool.map(lambda at: _see(tower, space, way, looks[at]), new), strict=True):
                seen[at] = made
                self._store(keys[at], made)
        return [one for one in seen if one is not None]

    def _cached(self, key: Hashable) -> SeenPicture | None:
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
            return self._cache.get(key)

    def _store(self, key: Hashable, seen: SeenPicture) -> None:
        if key is None:
            return
        with self._lock:
            if key not in self._cache:
                self._cache[key] = seen
                self._bytes += seen.nbytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._cache.popitem(last=False)[1].nbytes


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()  # which looks for loaded libraries, for some milliseconds


def _key(space: Space, way: Way, look: Look) -> Hashable:
    """What a seen picture depends on; None for pixels, which are not cached."""
    source = look.source
    if isinstance(source, str | Path):
        source = read_bytes(Path(source))
    if not isinstance(source, bytes):
        return None
    return space.name, way, hashlib.sha256(source).digest(), look.region


def _see(tower: SpatialTower, space: Space, way: Way, look: Look) -> SeenPicture:
    picture = decoded(look.source, small_draft(space.draft, look.region), look.max_pixels)
    if look.region is not None:
        picture = picture.crop(look.region)
    inputs = encoder_inputs(space.prepare_spatial(picture), way, tower.grid)
    encoded = [tower.encode(one) for one in inputs]
    area, device = _places(tower, picture)
    if look.region is not None:
        left, top, width, height = look.region
        area = (left + area[0] * width, top + area[1] * height, area[2] * width, area[3] * height)
    cells = tower.cells(encoded[0]).astype(np.float32)
    return SeenPicture(area, device, cells, erasures(tower, space, way, encoded))


def _places(tower: SpatialTower, picture: Picture) -> tuple[Region, list[Region]]:
    """Where the encoder's input lies on the upright picture, and boxes and text of the device on that input."""
    area = tower.recipe.area(picture)
    device = [
        ((left - area[0]) / area[2], (top - area[1]) / area[3], width / area[2], height / area[3])
        for left, top, width, height in marks_of(picture.upright()).outlined
    ]
    return area, device
