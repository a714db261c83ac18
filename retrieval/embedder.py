"""Query -> its vectors in each space, made by the recipe that made the space."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import images
from retrieval.class_words import ClassWords, TextMatch, UnknownWordsError
from retrieval.collection import Collection
from retrieval.errors import EncoderError
from retrieval.feedback import Feedback
from retrieval.images import Draft, Picture, Region
from retrieval.large_pictures import LargePictures
from retrieval.learn.novelty import Novelty
from retrieval.query import BadQueryError, Part, PictureLike, Query
from retrieval.query_vectors import QueryVectors
from retrieval.spaces import Purpose, Space, open_space
from retrieval.weights import scaled_weights

log = logging.getLogger(__name__)

_OF_CLASS = 2000
"""Images, evenly spread, that the mean of a larger class is computed of."""


@dataclass(frozen=True, eq=False)
class EmbeddedQuery:
    """A query as an index takes it: by space its vectors, and what is known of it.

    image_ids: the images of the collection among its parts. class_name: the query's class, where it is known.
    novelty: how a picture differs from the collection, where it does. query: what was embedded, to show it. feedback:
    the marks that have moved its vectors. text_matches: the texts that were matched to classes. zero_shot: see `Hits`.
    """

    vectors: Mapping[str, QueryVectors]
    image_ids: tuple[int, ...] = ()
    image_id: int | None = None
    class_name: str | None = None
    novelty: Novelty | None = None
    query: Query | None = None
    feedback: Feedback | None = None
    text_matches: tuple[TextMatch, ...] = ()
    zero_shot: Mapping[str, float] | None = None

    @property
    def is_signed(self) -> bool:
        """Whether a part has a negative weight."""
        return any(made.is_signed for made in self.vectors.values())

    @property
    def has_text(self) -> bool:
        """Whether a part is a text."""
        return self.query is not None and self.query.has_text


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
        self._means: dict[tuple[str, str], NDArray[np.float64] | None] = {}

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

    def vectors(
        self, query: Query, spaces: Sequence[str], deviations: Callable[[str], tuple[float, float]] | None = None
    ) -> dict[str, QueryVectors]:
        """A query's vectors in each space. Raises BadQueryError, UnsupportedQueryError, VectorError, a PictureError.

        deviations: space -> the standard deviations of the similarity of images, and of texts, to random images. In a
        space with a text encoder, texts are unlike all pictures: pictures and texts of one query are comparable once
        the mean of their kind is subtracted and the result divided by its deviation. The means are the same for every
        image, so it suffices for the order to divide the weights.
        """
        by_part = [(part, self._part_vectors(part, spaces)) for part in query.parts]
        vectors = {}
        for name in spaces:
            made = [(by_space[name], part.weight) for part, by_space in by_part if name in by_space]
            if not made:
                raise BadQueryError(f"no part of the query has a vector in the space '{name}'")
            if all(weight < 0 for _, weight in made):
                raise BadQueryError(f"the parts that have a vector in the space '{name}' all have negative weights")
            weights = [weight for _, weight in made]
            texts = None
            if query.has_text and self.space(name).embeds_texts:
                texts = np.array([part.text is not None for part, by_space in by_part if name in by_space])
            if deviations is not None and texts is not None and not texts.all():
                of_images, of_texts = deviations(name)
                weights = (np.array(weights) / np.where(texts, of_texts, of_images)).tolist()
            stacked = made[0][0][None] if len(made) == 1 else np.stack([vector for vector, _ in made])
            vectors[name] = QueryVectors(stacked, scaled_weights(weights), texts)
        return vectors

    def pictures(self, part: Part, spaces: Sequence[str]) -> dict[Draft, Picture]:
        """The picture of a part at the draft of each space, decoded once for all spaces that share it."""
        source, max_pixels = self.source(part)
        region = part.region

        def decode_at(draft: Draft) -> Picture:
            picture = decoded(source, images.small_draft(draft, region), max_pixels)
            return picture if region is None else picture.crop(region)

        return {draft: decode_at(draft) for draft in dict.fromkeys(self.space(name).draft for name in spaces)}

    def decodes_apart(self, source: PictureLike, max_pixels: int) -> bool:
        """Whether a picture is so large that another process decodes it."""
        return self._large is not None and isinstance(source, bytes) and self._large.takes(source, max_pixels)

    def source(self, part: Part) -> tuple[PictureLike, int]:
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
            return self._text_vectors(part.text, spaces)
        if part.image_id is not None and part.region is None:
            return {name: self._stored_vector(int(part.image_id), name) for name in spaces}
        if (large := self._large) is not None:
            data, max_pixels = self.source(part)
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

    # Words

    @cached_property
    def class_words(self) -> ClassWords:
        """The descriptions of the collection's classes."""
        return ClassWords.of(self.collection.classes)

    def text_matches(self, query: Query, spaces: Sequence[str]) -> tuple[TextMatch, ...]:
        """What each text of a query was matched to, in the spaces without a text encoder. Raises UnknownWordsError."""
        texts = [part.text for part in query.parts if part.text is not None]
        without = tuple(name for name in spaces if not self.space(name).embeds_texts) if texts else ()
        if not without:
            return ()
        return tuple(replace(self.class_words.match(text), spaces=without) for text in texts)

    def zero_shot(self, query: Query, vectors: Mapping[str, QueryVectors]) -> dict[str, float] | None:
        """Shares of the classes for a query of one picture, the largest first, in the first space with a text encoder.

        None for texts, vectors and several parts, where there are no two classes, and where the text encoder cannot be
        loaded.
        """
        part = query.parts[0]
        classes = self.collection.classes
        if len(query.parts) > 1 or (part.picture is None and part.image_id is None) or len(classes) < 2:
            return None
        name = next((name for name in vectors if self.space(name).embeds_texts), None)
        if name is None:
            return None
        space = self.space(name)
        try:
            texts = space.embed_texts([self.class_words.descriptions[each].caption for each in classes])
        except EncoderError as error:  # the search itself goes without it
            log.warning("no shares of classes by words in the space '%s': %s", name, error)
            return None
        shares = dict(zip(classes, space.class_shares(vectors[name].vectors[0], texts).tolist(), strict=True))
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))

    def has_vector(self, text: str, space: str) -> bool:
        """Whether a text has a vector in a space."""
        if self.space(space).embeds_texts:
            return True
        try:
            classes = self.class_words.match(text).classes
        except UnknownWordsError:
            return False
        return any(self._class_mean(space, name) is not None for name in classes)

    def _text_vectors(self, text: str, spaces: Sequence[str]) -> dict[str, NDArray[Any]]:
        made = {}
        for name in spaces:
            space = self.space(name)
            made[name] = space.embed_texts([text])[0] if space.embeds_texts else self._prototype(text, space)
        return made

    def _prototype(self, text: str, space: Space) -> NDArray[Any]:
        """The mean vector (d,) of the classes that a text describes. Raises UnknownWordsError, BadQueryError."""
        match = self.class_words.match(text)
        means = [(self._class_mean(space.name, name), share) for name, share in match.classes.items()]
        present = [(mean, share) for mean, share in means if mean is not None]
        if not present:
            raise BadQueryError(
                f"no image of the class {' or '.join(match.classes)} has a vector in the space '{space.name}', so the "
                f"words “{text}” cannot be searched there"
            )
        total = sum(share for _, share in present)
        mean = np.sum([mean * (share / total) for mean, share in present], axis=0)
        return space.prototype(mean)

    def _class_mean(self, space: str, class_name: str) -> NDArray[np.float64] | None:
        """The mean vector (d,) of a class in a space; None where it has no image there."""
        key = space, class_name
        if key not in self._means:
            images, positions = self.collection.images, self.collection.positions(space)
            members = images.ids[positions[images.labels[positions] == images.classes.index(class_name)]]
            members = members[:: -(-len(members) // _OF_CLASS) or 1]
            rows = self.collection.rows(space).take(members)
            self._means[key] = rows.mean(axis=0, dtype=np.float64) if len(members) else None
        return self._means[key]

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
