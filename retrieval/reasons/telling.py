"""The reasons of one hit: an agreement where the space passed its test, shares where it is a descriptor's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.collection import Collection
from retrieval.embedder import Embedder, decoded
from retrieval.images import MAX_PIXELS
from retrieval.query import Part, Query
from retrieval.reasons.agreement import Agreement, agreement
from retrieval.reasons.overlay import overlay
from retrieval.reasons.seen import Look, SeenPictures
from retrieval.reasons.shares import Shares, shares
from retrieval.reasons.store import load_outcome
from retrieval.spaces import Space, UnsupportedQueryError

_USUAL = 300
"""Images whose neighbouring pairs, in random order, give the usual distances."""


@dataclass(frozen=True)
class Reasons:
    """Why an image is near a query, by space.

    agreements: of spaces of embeddings whose test was passed; shares: of descriptors; unshown: why others have none.
    pictures: reads the query's picture and the image's, upright.
    """

    image_id: int
    agreements: dict[str, Agreement]
    shares: dict[str, Shares]
    unshown: dict[str, str]
    pictures: Callable[[], tuple[Image.Image, Image.Image]] = field(repr=False, compare=False)

    def overlay(self, space: str | None = None) -> Image.Image:
        """Both pictures next to each other, with the cells coloured where they agree in a space, by default the first.

        Raises UnsupportedQueryError where none is shown, a PictureError.
        """
        shown = next((one for name, one in self.agreements.items() if space in (None, name)), None)
        if shown is None:
            why = "; ".join(f"{name}: {reason}" for name, reason in self.unshown.items() if space in (None, name))
            raise UnsupportedQueryError(f"no agreement is shown in {space or 'any space'}{f'; {why}' if why else ''}")
        return overlay(*self.pictures(), (shown.query, shown.hit))

    def to_dict(self) -> dict[str, Any]:
        """The reasons as plain values."""
        return {
            "image_id": self.image_id,
            "agreements": [one.to_dict() for one in self.agreements.values()],
            "shares": [one.to_dict() for one in self.shares.values()],
            "unshown": [{"space": name, "why": why} for name, why in self.unshown.items()],
        }


def reasons_for(
    collection: Collection,
    embedder: Embedder,
    seen: SeenPictures,
    query: Query,
    image_id: int,
    spaces: Sequence[str],
) -> Reasons:
    """The reasons why an image is near the first picture of a query, in each space. seen: by earlier calls.

    Raises NoSuchImageError, BadQueryError, UnsupportedQueryError, a PictureError.
    """
    collection.position(image_id)
    part = next((part for part in query.parts if part.picture is not None or part.image_id is not None), None)
    if part is None:
        raise UnsupportedQueryError("the query has no picture, so there is nothing to compare place by place")
    if part.image_id is not None:
        collection.position(int(part.image_id))
    part = replace(part, weight=1.0)
    told = Reasons(image_id, {}, {}, {}, partial(_pictures, collection, embedder, part, image_id))
    for name in spaces:
        space = embedder.space(name)
        if space.shipped is not None:
            _tell_shares(told, collection, embedder, part, space)
        else:
            _tell_agreement(told, collection, embedder, seen, part, space)
    return told


def _tell_shares(told: Reasons, collection: Collection, embedder: Embedder, part: Part, space: Space) -> None:
    assert space.shipped is not None
    hit = collection.vector(space.name, told.image_id)
    own = part.image_id is not None and part.region is None
    if hit is None or (own and collection.vector(space.name, int(part.image_id or 0)) is None):
        told.unshown[space.name] = "one of the pictures has no vector there"
        return
    query = embedder.vectors(Query((part,)), [space.name])[space.name].vectors[0]
    others = _at_random(collection, space.name)
    told.shares[space.name] = shares(space.name, space.shipped.descriptor, query, hit, others)


def _tell_agreement(
    told: Reasons, collection: Collection, embedder: Embedder, seen: SeenPictures, part: Part, space: Space
) -> None:
    stored = load_outcome(collection, space.name)
    if stored is None:
        told.unshown[space.name] = (
            f"not tested on this collection; `kvasir reasons {collection.path.name}` tests whether it can be told"
        )
        return
    if stored.passed is None:
        told.unshown[space.name] = str(stored)
        return
    try:
        tower = space.spatial_tower()
    except UnsupportedQueryError as error:
        told.unshown[space.name] = str(error)
        return
    looks = [
        Look(*embedder.source(part), part.region),
        Look(collection.read(told.image_id), MAX_PIXELS),
    ]
    if any(embedder.decodes_apart(look.source, look.max_pixels) for look in looks):
        told.unshown[space.name] = "one of the pictures is too large to be taken apart here"
        return
    query, hit = seen.see(tower, space, stored.passed.way, looks)
    told.agreements[space.name] = agreement(space.name, query, hit, stored.passed, stored.outdated)


def _pictures(collection: Collection, embedder: Embedder, part: Part, image_id: int) -> tuple[Image.Image, Image.Image]:
    """The whole picture of a part and that of an image, upright."""
    pair = embedder.source(part), (collection.read(image_id), MAX_PIXELS)
    query, hit = (decoded(source, None, max_pixels).upright() for source, max_pixels in pair)
    return query, hit


def _at_random(collection: Collection, space: str) -> NDArray[Any]:
    """Vectors of images at random, the same each time."""
    ids = collection.ids(space)
    chosen = np.random.default_rng(0).permutation(ids)[:_USUAL]
    vectors: NDArray[Any] = np.array([collection.vector(space, int(image_id)) for image_id in chosen])
    return vectors
