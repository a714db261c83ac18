"""Many queries from outside a collection, searched as a stream.

Threads decode ahead inside a bounded window while the encoders run on batches, so memory does not grow with the number
of queries, and a picture is encoded exactly as a single query is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.cores import prefetch
from retrieval.embedder import EmbeddedQuery
from retrieval.errors import RetrievalError
from retrieval.fusion import DEFAULT_METHOD
from retrieval.hits import Hits
from retrieval.images import rejection
from retrieval.query import Part
from retrieval.query_vectors import QueryVectors
from retrieval.search import Searcher
from retrieval.spaces import Space, prepare_all

BATCH = 64
"""Queries that are encoded, searched and written together; a stop repeats at most this many."""


@dataclass(frozen=True)
class BatchQuery:
    """A picture to search by: its name in the output, its class where it is known, and what reads its file.

    text: words to search by instead of a picture.
    """

    name: str
    class_name: str | None
    read: Callable[[], bytes]
    text: str | None = None


BatchResult = tuple[BatchQuery, Hits | RetrievalError]
"""A query with its hits, or with the reason why it has none."""


def search_in_batches(
    searcher: Searcher,
    queries: Iterable[BatchQuery],
    k: int,
    spaces: Sequence[str],
    classes: Sequence[str] | None,
    weights: Sequence[float] | None = None,
    fusion: str = DEFAULT_METHOD,
    rerank: str | None = None,
    min_chance: float | None = None,
) -> Iterator[list[BatchResult]]:
    """Batches of results, in the order of the queries; that of a bad picture is its error. Options as in a search.

    Raises what `Searcher.search` raises for other reasons than the picture.
    """
    members = {name: searcher.space(name) for name in spaces}
    for space in members.values():
        space.warm_up()

    def prepared(query: BatchQuery) -> Mapping[str, NDArray[Any]] | EmbeddedQuery | RetrievalError:
        """What each space embeds of a query's picture; words are embedded at once."""
        try:
            if query.text is not None:
                return searcher.embed(Part(text=query.text), spaces, query.class_name)
            data = query.read()
            if (apart := searcher.prepared_apart(data, spaces)) is not None:
                return apart
            pictures = searcher.pictures(data, spaces)
            return prepare_all(members.values(), {space.draft: pictures[name] for name, space in members.items()})
        except Exception as error:
            return rejection(error)

    results = prefetch(prepared, queries, 2 * BATCH)
    while batch := list(islice(results, BATCH)):
        usable = [(query, made) for query, made in batch if not isinstance(made, EmbeddedQuery | RetrievalError)]
        vectors = _vectors(members, [made for _, made in usable]) if usable else {}
        told = searcher.novelties(spaces[0], vectors) if usable else None
        pictures = iter(
            EmbeddedQuery(
                {name: QueryVectors(vectors[name][row : row + 1], np.ones(1)) for name in spaces},
                class_name=query.class_name,
                novelty=None if told is None else told[row],
            )
            for row, (query, _) in enumerate(usable)
        )
        embedded = [
            made if isinstance(made, EmbeddedQuery) else next(pictures)
            for _, made in batch
            if not isinstance(made, RetrievalError)
        ]
        hits = iter(
            searcher.search_embedded(
                embedded,
                k,
                classes=classes,
                weights=weights,
                fusion=fusion,
                rerank=rerank,
                min_chance=min_chance,
            )
        )
        yield [(query, made if isinstance(made, RetrievalError) else next(hits)) for query, made in batch]


def _vectors(members: Mapping[str, Space], prepared: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Vectors (n, d) of prepared pictures in each space and in the sources of learned ones, each embedded once."""
    made: dict[str, NDArray[Any]] = {}
    for name, space in members.items():
        for at, source in enumerate(space.sources):
            if source.name not in made:
                made[source.name] = source.embed([one[name][at] for one in prepared])
        if space.sources:
            made[name] = space.derive([made[source.name] for source in space.sources])
        elif name not in made:
            made[name] = space.embed([one[name] for one in prepared])
    return made
