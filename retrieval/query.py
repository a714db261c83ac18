"""A query of any form -> its vector in each space, made by the recipe that made the space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from math import isfinite
from numbers import Real
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import images
from retrieval.collection import Collection
from retrieval.encoders import Encoder
from retrieval.encoders.recipe import Resize
from retrieval.errors import QueryError
from retrieval.images import Draft, Picture, Region
from retrieval.index import metric_named
from retrieval.spaces.encoder import load_encoder

QueryLike = int | str | Path | bytes | Image.Image | NDArray[Any] | Picture
"""An image id; a file; a file's bytes; a PIL image; pixels (h, w, 3) uint8; or a vector (d,) of the space searched."""

Purpose = Literal["throughput", "latency"]
""""latency" lets one query use every core; "throughput" gives each of many queries at once a core of its own."""


class BadQueryError(QueryError):
    """A query cannot be understood, or does not fit the spaces that it is to be searched in."""


class Extractor:
    """Makes the vectors of queries of one collection. Safe to share between threads; encoders load on first use.

    max_pixels: the largest width x height of a picture from outside that is decoded.
    """

    def __init__(self, collection: Collection, purpose: Purpose, max_pixels: int) -> None:
        self.collection = collection
        self._purpose: Purpose = purpose
        self._max_pixels = max_pixels
        self._encoders: dict[str, Encoder] = {}
        self._loading = {space.name: Lock() for space in collection.spaces}

    def reopened(self, collection: Collection) -> Extractor:
        """One for the collection as it is now; encoders that made the same spaces before are not loaded again."""
        later = Extractor(collection, self._purpose, self._max_pixels)
        kept = {space.name: space for space in self.collection.spaces}
        loaded = dict(self._encoders)
        for space in collection.spaces:
            if space == kept.get(space.name) and space.name in loaded:
                later._encoders[space.name] = loaded[space.name]
        return later

    def encoder(self, space: str) -> Encoder:
        """The encoder that made a space, ready to run."""
        definition = self.collection.manifest.space(space)
        with self._loading[definition.name]:
            if definition.name not in self._encoders:
                self._encoders[definition.name] = load_encoder(self.collection.path, definition, self._purpose)
            return self._encoders[definition.name]

    def vectors_of(
        self, query: QueryLike, spaces: Sequence[str], region: Region | None = None
    ) -> dict[str, NDArray[Any]]:
        """The query's vector (d,) in each space, made by the space's own recipe from the region where one is given."""
        if region is not None and not (len(listed(region)) == 4 and all(map(is_number, region))):
            raise BadQueryError(f"a region is left, top, width and height as fractions between 0 and 1, not {region!r}")
        if isinstance(query, np.ndarray) and query.ndim == 1:
            if region is not None:
                raise BadQueryError("a vector has no region; give a picture")
            return {name: self._checked_vector(query, name) for name in spaces}
        if is_whole(query) and region is None:
            return {name: self._stored_vector(int(query), name) for name in spaces}
        return {name: self._describe(seen, name) for name, seen in self.pictures(query, spaces, region).items()}

    def pictures(self, query: QueryLike, spaces: Sequence[str], region: Region | None = None) -> dict[str, Picture]:
        """What each space sees of a query's picture, as indexing showed it the gallery's."""
        max_pixels = self._max_pixels
        if is_whole(query):  # whose picture met the limit of indexing
            query, max_pixels = self.collection.read(int(query)), images.MAX_PIXELS

        def decode_at(draft: Draft) -> Picture:
            if region is None:
                return _picture(query, draft, max_pixels)
            if draft is not None:  # the region alone must have the pixels, turned or not
                draft = 2 * (round(max(draft) / max(min(region[2:]), 0.01)),)
            return _picture(query, draft, max_pixels).crop(region)

        return images.decode_each(decode_at, {name: self._draft(name) for name in spaces})

    def _draft(self, space: str) -> Draft:
        by_encoder = self.collection.manifest.space(space).kind == "encoder"
        return self.encoder(space).recipe.draft if by_encoder else None

    def _describe(self, picture: Picture, name: str) -> NDArray[Any]:
        space = self.collection.manifest.space(name)
        if space.kind == "encoder":
            encoder = self.encoder(name)
            vector: NDArray[Any] = encoder.encode(encoder.recipe.prepare(picture, self._resize)[None])[0]
            return vector
        from retrieval.descriptors import descriptor_named
        from retrieval.descriptors.variant import parse_variant

        variant = parse_variant(space.recipe["variant"])
        return descriptor_named(space.recipe["descriptor"]).extract(picture.pixels(), variant)

    @cached_property
    def _resize(self) -> Resize | None:
        """What resizes pictures for encoders; one query alone is not worth loading the faster one, which compiles."""
        if self._purpose == "latency":
            return None
        from retrieval.encoders.resizing import resize

        return resize

    def _stored_vector(self, image_id: int, space: str) -> NDArray[Any]:
        vector = self.collection.vector(space, image_id)
        if vector is None:
            raise BadQueryError(f"image {image_id} has no vector in the space '{space}'")
        return vector

    def _checked_vector(self, query: NDArray[Any], name: str) -> NDArray[Any]:
        space = self.collection.manifest.space(name)
        real = np.issubdtype(query.dtype, np.floating) or np.issubdtype(query.dtype, np.integer)
        if query.shape != (space.dimension,) or not real:
            raise BadQueryError(
                f"the space '{name}' takes vectors of {space.dimension} real numbers, "
                f"not of shape {query.shape} and type {query.dtype}"
            )
        with np.errstate(over="ignore"):  # what does not fit is told as not finite
            vector = query.astype(space.dtype)
        if not np.isfinite(vector).all():
            raise BadQueryError("the vector has values that are not finite numbers")
        if space.kind == "encoder":
            length = float(np.linalg.norm(vector.astype(np.float64)))
            if length == 0:
                raise BadQueryError("the vector is zero, so it has no direction to compare")
            return (vector / length).astype(space.dtype)
        from retrieval.descriptors.native_distance import ForeignVectorError

        try:
            metric_named(space.metric).distances(vector[None], vector[None])
        except ForeignVectorError as error:
            raise BadQueryError(f"the vector is none of the space '{name}': {error}") from error
        return vector


def listed(value: Any) -> list[Any]:
    """Several values as a list, and one, such as a text, as a list of one."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def is_number(value: object) -> bool:
    """Whether a value is a finite number; Python's True and False are ones, but nobody means them so."""
    return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)


def is_whole(value: object) -> TypeGuard[int | np.integer[Any]]:
    """Whether a value is a whole number, as `is_number`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _picture(query: QueryLike, draft: Draft, max_pixels: int) -> Picture:
    if isinstance(query, Picture):
        return query
    if isinstance(query, bytes | bytearray | memoryview):
        return images.decode(bytes(query), max_pixels=max_pixels, draft=draft)
    if isinstance(query, str | Path):
        return images.read(Path(query), max_pixels=max_pixels, draft=draft)
    if isinstance(query, Image.Image):
        return images.from_image(query)
    if isinstance(query, np.ndarray):
        return images.from_array(query)
    raise BadQueryError(f"a {type(query).__name__} is not a query: give an image id, file, bytes, picture or vector")
