"""Many queries from outside a collection, answered as a stream.

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

from retrieval.cores import ahead
from retrieval.errors import RetrievalError
from retrieval.hits import Hits
from retrieval.images import rejection
from retrieval.search import Searcher

BATCH = 64
"""Queries that are encoded, answered and written together; a stop repeats at most this many."""


@dataclass(frozen=True)
class BatchQuery:
    """A picture to search by: its name in the output, its class where it is known, and what reads its file."""

    name: str
    class_name: str | None
    read: Callable[[], bytes]


Answer = tuple[BatchQuery, Hits | RetrievalError]
"""A query with its hits, or with the reason why it has none."""


def answers(
    searcher: Searcher, queries: Iterable[BatchQuery], k: int, spaces: Sequence[str], classes: Sequence[str] | None
) -> Iterator[list[Answer]]:
    """Batches of answers, in the order of the queries. A bad picture is answered with its fault.

    Raises what `Searcher.search` raises for other reasons than the picture.
    """
    from retrieval.encoders.resizing import resize

    encoders = {name: searcher.encoder(name) for name in spaces if _by_encoder(searcher, name)}
    if len(encoders) < len(spaces):
        from retrieval.descriptors import warm_up

        warm_up()

    def prepared(query: BatchQuery) -> Mapping[str, NDArray[Any]] | RetrievalError:
        """By space, the encoder's input or the descriptor's vector."""
        try:
            inputs: dict[str, NDArray[Any]] = {}
            for name, picture in searcher.pictures(query.read(), spaces).items():
                if name in encoders:
                    inputs[name] = encoders[name].recipe.prepare(picture, resize)
                else:
                    inputs[name] = searcher.vectors_of(picture, [name])[name]
            return inputs
        except Exception as error:
            return rejection(error)

    results = ahead(prepared, queries, 2 * BATCH)
    while batch := list(islice(results, BATCH)):
        sound = [made for _, made in batch if not isinstance(made, RetrievalError)]
        vectors = {
            name: iter(encoders[name].encode(np.stack(inputs)) if name in encoders and inputs else inputs)
            for name in spaces
            for inputs in [[made[name] for made in sound]]
        }
        yield [
            (query, made)
            if isinstance(made, RetrievalError)
            else (
                query,
                searcher.search_by_vectors(
                    {name: next(vectors[name]) for name in spaces}, k, classes=classes, query_class=query.class_name
                ),
            )
            for query, made in batch
        ]


def _by_encoder(searcher: Searcher, space: str) -> bool:
    return searcher.collection.manifest.space(space).kind == "encoder"
