"""The background of each space of a collection: how similar random images, or texts and random images, are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.embedder import EmbeddedQuery, Embedder
from retrieval.fusion import Statistics
from retrieval.fusion.statistics import stored_statistics
from retrieval.index import Index
from retrieval.query_vectors import QueryVectors
from retrieval.spaces import metric_of


@dataclass(frozen=True, eq=False)
class Backgrounds:
    """What similarities are normalised by before they are added; measured with the first use and stored.

    index: opens the index of a space by its name, as the collection spells it, which is what all methods take.
    """

    collection: Collection
    embedder: Embedder
    index: Callable[[str], Index]
    _known: dict[tuple[str, str], Statistics] = field(default_factory=dict)

    def of_images(self, space: str) -> Statistics:
        """How similar random pairs of images are."""

        def similarities(sample: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
            vectors = [self.collection.vector(space, image_id) for image_id in sample.tolist()]
            return self._similarities(space, np.array(vectors), sample)

        return self._statistics(space, "images", similarities)

    def of_texts(self, space: str) -> Statistics:
        """How similar texts and random images are with the space's text encoder; the texts are captions of classes."""
        texts = [described.caption for described in self.embedder.class_words.descriptions.values()]

        def similarities(sample: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
            return self._similarities(space, self.embedder.space(space).embed_texts(texts), sample)

        return self._statistics(space, "texts", similarities, texts)

    def of_queries(self, space: str, queries: Sequence[EmbeddedQuery]) -> list[Statistics]:
        """The background of images, and that of texts where a query has one with a vector of its own."""
        has_texts = any(query.vectors[space].texts is not None for query in queries)
        return [self.of_images(space), *([self.of_texts(space)] if has_texts else [])]

    def deviations(self, space: str) -> tuple[float, float]:
        """Standard deviations of the similarity of images, and of texts, to random images; 1 where nothing varies."""
        return self.of_images(space).deviation or 1.0, self.of_texts(space).deviation or 1.0

    def spread_of_images(self, space: str, query: QueryVectors) -> float:
        """How many times as much cosines of images vary as those to the direction of a query that has texts."""
        of_images, length = self.of_images(space), float(np.linalg.norm(query.weights @ query.vectors.astype(float)))
        of_query = of_images.blended(self.of_texts(space), query.text_share).deviation * query.positive / length
        return of_images.deviation / of_query if of_query else 1.0

    def _similarities(self, space: str, vectors: NDArray[Any], sample: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        metric = metric_of(self.collection.manifest.space(space))
        return metric.scores(self.index(space).distances(vectors, sample))

    def _statistics(
        self,
        space: str,
        of: str,
        similarities: Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]],
        texts: Sequence[str] = (),
    ) -> Statistics:
        if (space, of) not in self._known:
            images, positions = self.collection.images, self.collection.positions(space)
            checksums = images.checksums[positions, self.collection.manifest.space(space).number]
            self._known[space, of] = stored_statistics(
                self.collection.path, space, images.ids[positions], checksums, similarities, texts
            )
        return self._known[space, of]
