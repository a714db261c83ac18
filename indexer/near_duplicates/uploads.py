"""The images of a collection that show the very picture of a query from outside, or nearly the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.near_duplicates.alignment import SAME, SIDE, Greys, similarity, small_grey
from indexer.near_duplicates.greys import stored_greys
from retrieval.collection import Collection
from retrieval.errors import RetrievalError
from retrieval.images import MAX_PIXELS, decode


@dataclass(frozen=True)
class Copies:
    """Images that show a query's picture, with their near duplicates, by id.

    exact: one of them has the query's very bytes.
    """

    ids: tuple[int, ...]
    exact: bool


def grey_of(data: bytes, max_pixels: int = MAX_PIXELS) -> Greys:
    """The small grey (SIDE, SIDE) uint8 of a picture file. Raises a PictureError."""
    return small_grey(decode(data, max_pixels=max_pixels, draft=(SIDE, SIDE)))


def exact_copies(collection: Collection, data: bytes) -> list[int]:
    """The ids of images whose files have these very bytes."""
    ids = collection.images.ids_of_content(hashlib.sha256(data).digest()).tolist()
    return [image_id for image_id in ids if collection.images.has_picture(collection.position(image_id))]


def copies_among(collection: Collection, grey: Greys, candidates: Sequence[int]) -> list[int]:
    """Those of the candidates, by id, that show the picture of a small grey."""
    known = stored_greys(collection.path, candidates)
    for image_id in candidates:
        if image_id not in known and collection.images.has_picture(collection.position(image_id)):
            try:
                known[image_id] = grey_of(collection.read(image_id))
            except RetrievalError:  # a picture that is missing resembles nothing
                continue
    if not known:
        return []
    alike = similarity(np.repeat(grey[None], len(known), axis=0), np.stack(list(known.values())))
    return [image_id for image_id, score in zip(known, alike.tolist(), strict=True) if score >= SAME]


def with_near_duplicates(collection: Collection, ids: Sequence[int], *, exact: bool) -> Copies | None:
    """Copies of these ids and all that share a cluster with one; None where there are none."""
    images = collection.images
    clusters = {int(images.value("clusters", collection.position(image_id))) for image_id in ids}
    members = sorted({int(i) for cluster in clusters for i in images.ids_of_cluster(cluster)})
    rest = [image_id for image_id in members if image_id not in ids]
    return Copies((*ids, *rest), exact) if ids else None
