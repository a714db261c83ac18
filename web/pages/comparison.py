"""What the page of one hit beside the query shows of its own: its distances, and the spaces that reasons are of."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.hits import Hits
from retrieval.spaces import embedding_spaces
from web.context import collection, searcher
from web.pages.forms import PageSearch


def distances_to(page: PageSearch, hit_id: int) -> dict[str, float | None]:
    """From the query to one image, in every space of the collection: the weighted mean over the query's parts."""
    engine = searcher()
    names = [space.name for space in engine.collection.spaces]
    of_hit = _stored_vectors(engine.collection, hit_id, names)
    known = set(of_hit)
    for part in page.query.parts:
        if part.text is not None:
            known &= set(engine.spaces_of_text(part.text))
        elif part.vector is not None:
            known &= {part.space}
        elif part.image_id is not None and part.region is None:
            known &= set(_stored_vectors(engine.collection, part.image_id, names))
        else:
            known &= {name for name in names if engine.space(name).embeds_pictures}
    distances: dict[str, float | None] = dict.fromkeys(names)
    if known:  # all at once, so that a picture is not decoded for each space
        of_query = engine.embed(page.query, [name for name in names if name in known]).vectors
        for name, made in of_query.items():
            each = engine.metric(name).distances(made.vectors, of_hit[name][None])[:, 0]
            distance = float(made.weights @ each / made.positive)
            distances[name] = distance if made.is_signed else max(0.0, distance)
    return distances


def reason_spaces(hits: Hits) -> list[str]:
    """The first space of embeddings that was searched, or that the collection has, and every descriptor."""
    opened = collection()
    embeddings = embedding_spaces(opened.manifest)
    compared = [space.name for space in opened.manifest.compared]
    first = [name for name in (*hits.spaces, *compared) if name in embeddings][:1]
    return first + [space.name for space in opened.spaces if searcher().space(space.name).shipped is not None]


def _stored_vectors(opened: Collection, image_id: int, names: list[str]) -> dict[str, NDArray[Any]]:
    """An image's vectors, in the spaces where it has one."""
    return {name: vector for name in names if (vector := opened.vector(name, image_id)) is not None}
