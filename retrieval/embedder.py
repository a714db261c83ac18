"""Query -> its vectors in each space, made by the recipe that made the space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import images
from retrieval.collection import Collection
from retrieval.feedback import Feedback
from retrieval.images import Draft, Picture, Region
from retrieval.large_pictures import LargePictures
from retrieval.learn.novelty import Novelty
from retrieval.query import BadQueryError, Part, PictureLike, Query
from retrieval.query_vectors import QueryVectors
from retrieval.spaces import Purpose, Space, open_space
from retrieval.weights import scaled_weights


@dataclass(frozen=True, eq=False)
class EmbeddedQuery:
    """A query as an index takes it: by space its vectors, and what is known of it.

    image_ids: the images of the collection among its parts. class_name: the query's class, where it is known.
    novelty: how a picture differs from the collection, where it does. query: what was embedded, to show it. feedback:
    the marks that have moved its vectors.
    """

    vectors: Mapping[str, QueryVectors]
    image_ids: tuple[int, ...] = ()
    image_id: int | None = None
    class_name: str | None = None
    novelty: Novelty | None = None
    query: Query | None = None
    feedback: Feedback | None = None


class Embedder:
    """The spaces of one collection, each opened once, with its first use. Safe to share between threads.

    max_pixels: the largest width x height of a picture from outside that is decoded. large: decodes large ones.
    """

    def __init__(
        self, collection: Collection, purpose: Purpose, max_pixels: int, large: LargePictures | None = None
    ) -> None:
        self.collection = collection
        self.max_pixels = max_pixels
        self._large = large
        self._purpose: Purpose = purpose
        self._spaces: dict[str, Space] = {}
        self._opening = Lock()

    def refreshed(self, collection: Collection) -> Embedder:
        """An embedder for the collection as it is now; spaces that have not changed keep their loaded encoders."""
        later = Embedder(collection, self._purpose, self.max_pixels, self._large)
        definitions = {definition.name: definition for definition in collection.spaces}
        with self._opening:
            later._spaces = {
                name: space for name, space in self._spaces.items() if space.definition == definitions.get(name)
            }
        return later

    def space(self, name: str) -> Space:
        """The space of this exact name. Raises UnknownKindError."""
        with self._opening:
            if name not in self._spaces:
                definition = self.collection.manifest.space(name)
                self._spaces[name] = open_space(self.collection.path, definition, self._purpose)
            return self._spaces[name]

    def vectors(self, query: Query, spaces: Sequence[str]) -> dict[str, QueryVectors]:
        """A query's vectors in each space. Raises BadQueryError, UnsupportedQueryError, VectorError, a PictureError."""
        by_part = [(part, self._part_vectors(part, spaces)) for part in query.parts]
        vectors = {}
        for name in spaces:
            made = [(by_space[name], part.weight) for part, by_space in by_part if name in by_space]
            if not made:
                raise BadQueryError(f"no part of the query has a vector in the space '{name}'")
            if all(weight < 0 for _, weight in made):
                raise BadQueryError(f"the parts that have a vector in the space '{name}' all have negative weights")
            vectors[name] = QueryVectors(
                np.stack([vector for vector, _ in made]), scaled_weights([weight for _, weight in made])
            )
        return vectors

    def pictures(self, part: Part, spaces: Sequence[str]) -> dict[Draft, Picture]:
        """The picture of a part at the draft of each space, decoded once for all spaces that share it."""
        source, max_pixels = self._picture(part)
        region = part.region

        def decode_at(draft: Draft) -> Picture:
            picture = decoded(source, images.small_draft(draft, region), max_pixels)
            return picture if region is None else picture.crop(region)

        return {draft: decode_at(draft) for draft in dict.fromkeys(self.space(name).draft for name in spaces)}

    def _picture(self, part: Part) -> tuple[PictureLike, int]:
        """The picture of a part and its limit of pixels. Raises BadQueryError."""
        if part.image_id is not None:  # its picture met the limit of indexing
            return self.collection.read(int(part.image_id)), images.MAX_PIXELS
        if part.picture is None:
            raise BadQueryError("a vector or a text has no picture to embed")
        return part.picture, self.max_pixels

    def _part_vectors(self, part: Part, spaces: Sequence[str]) -> dict[str, NDArray[Any]]:
        if part.vector is not None:
            return {name: self.space(name).validate(part.vector) for name in spaces if part.space in (None, name)}
        if part.text is not None:
            return {name: self.space(name).embed_texts([part.text])[0] for name in spaces}
        if part.image_id is not None and part.region is None:
            return {name: self._stored_vector(int(part.image_id), name) for name in spaces}
        if (large := self._large) is not None:
            data, max_pixels = self._picture(part)
            if isinstance(data, bytes) and large.takes(data, max_pixels):
                apart = self.prepared_apart(large, data, part.region, spaces, max_pixels)
                return {name: self.space(name).embed([apart[name]])[0] for name in spaces}
        pictures = self.pictures(part, spaces)
        made: dict[str, NDArray[Any]] = {}
        for name in spaces:
            space = self.space(name)
            for source in space.sources or (space,):  # several spaces may be derived from one
                if source.name not in made:
                    picture = pictures[space.draft]
                    made[source.name] = (
                        self.embed(picture, name) if source is space else source.embed([source.prepare(picture)])[0]
                    )
            if space.sources:
                made[name] = space.derive([made[source.name][None] for source in space.sources])[0]
        return {name: made[name] for name in spaces}

    def prepared_apart(
        self, large: LargePictures, data: bytes, region: Region | None, spaces: Sequence[str], max_pixels: int
    ) -> dict[str, NDArray[Any]]:
        """What each space embeds of a large picture, decoded in another process."""
        from retrieval.picture_process import prepared

        definitions = [self.space(name).definition for name in spaces]
        return large.run(prepared, data, self.collection.path, definitions, region, max_pixels)

    def embed(self, picture: Picture, name: str) -> NDArray[Any]:
        """The vector (d,) of a picture in one space."""
        space = self.space(name)
        vector: NDArray[Any] = space.embed([space.prepare(picture)])[0]
        return vector

    def _stored_vector(self, image_id: int, space: str) -> NDArray[Any]:
        vector = self.collection.vector(space, image_id)
        if vector is None:
            raise BadQueryError(f"image {image_id} has no vector in the space '{space}'")
        return vector


def decoded(value: PictureLike, draft: Draft, max_pixels: int) -> Picture:
    """A picture from whatever is one. Raises a PictureError."""
    if isinstance(value, Picture):
        return value
    if isinstance(value, bytes):
        return images.decode(value, max_pixels=max_pixels, draft=draft)
    if isinstance(value, str | Path):
        return images.read(Path(value), max_pixels=max_pixels, draft=draft)
    if isinstance(value, Image.Image):
        return images.from_image(value)
    return images.from_array(value)
