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
from retrieval.embedder import EmbeddedQuery, QueryVectors
from retrieval.errors import RetrievalError
from retrieval.fusion import DEFAULT_METHOD
from retrieval.hits import Hits
from retrieval.images import rejection
from retrieval.search import Searcher
from retrieval.spaces import prepare_all

BATCH = 64
"""Queries that are encoded, searched and written together; a stop repeats at most this many."""


@dataclass(frozen=True)
class BatchQuery:
    """A picture to search by: its name in the output, its class where it is known, and what reads its file."""

    name: str
    class_name: str | None
    read: Callable[[], bytes]


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
) -> Iterator[list[BatchResult]]:
    """Batches of results, in the order of the queries; that of a bad picture is its error.

    Raises what `Searcher.search` raises for other reasons than the picture.
    """
    members = {name: searcher.space(name) for name in spaces}
    for space in members.values():
        space.warm_up()

    def prepared(query: BatchQuery) -> Mapping[str, NDArray[Any]] | RetrievalError:
        """What each space embeds of a query's picture."""
        try:
            data = query.read()
            if (apart := searcher.prepared_apart(data, spaces)) is not None:
                return apart
            pictures = searcher.pictures(data, spaces)
            return prepare_all(members.values(), {space.draft: pictures[name] for name, space in members.items()})
        except Exception as error:
            return rejection(error)

    results = prefetch(prepared, queries, 2 * BATCH)
    while batch := list(islice(results, BATCH)):
        usable = [(query, made) for query, made in batch if not isinstance(made, RetrievalError)]
        vectors = {name: space.embed([made[name] for _, made in usable]) for name, space in members.items()}
        embedded = [
            EmbeddedQuery(
                {name: QueryVectors(vectors[name][row : row + 1], np.ones(1)) for name in spaces},
                class_name=query.class_name,
            )
            for row, (query, _) in enumerate(usable)
        ]
        hits = iter(searcher.search_embedded(embedded, k, classes=classes, weights=weights, fusion=fusion))
        yield [(query, made if isinstance(made, RetrievalError) else next(hits)) for query, made in batch]
