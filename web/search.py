"""Searches as requests state them, one or a batch, and the searches themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from flask import request
from pydantic import AfterValidator, ConfigDict, Field

from retrieval.embedder import EmbeddedQuery
from retrieval.errors import PictureError, QueryError, RetrievalError
from retrieval.feedback import Feedback
from retrieval.filters import Filter
from retrieval.fusion import DEFAULT_METHOD, METHODS
from retrieval.hits import Hits
from retrieval.images import FAR_EDGE, probe
from retrieval.query import BadQueryError, Part, Query, QueryLike
from retrieval.reasons.telling import Reasons
from retrieval.rerank import PATTERN as RERANKERS
from web.context import collection, searcher, state
from web.errors import BadSearchError, BatchTooLargeError, DataURLError, NoPictureError, NotBase64Error
from web.pictures import decoded
from web.problems import status_of
from web.requests import Flag, ImageId, ImageIds, Name, Numbers, RequestModel, SpaceNames
from web.serving.precedence import SMALL_BODY

MAX_K = 1000
MAX_PARTS = 20
MAX_WEIGHT = 1e6
MAX_MARKS = 200
"""Images of a search that are marked as fitting, and as not fitting."""
QUICK_MARKS = 60
"""Marks together that move a query within 2 ms a space; the time grows with their cube, 200 of each kind take 150."""
MAX_BATCH = 100
"""Searches of a batch, and pictures and texts that they have together."""
MAX_BATCH_HITS = 20_000
"""Hits of all searches of a batch: the sum of their k."""
MAX_BATCH_PIXELS = 8
"""Pixels that the pictures of a batch, or of a query of several parts, have together, in times the limit of one."""


def _region(region: list[float] | None) -> list[float] | None:
    if region is not None:
        left, top, width, height = region
        if not width or not height:
            raise ValueError("must have a width and a height")
        if left + width > FAR_EDGE or top + height > FAR_EDGE:
            raise ValueError("must lie inside the picture: left + width and top + height are at most 1")
    return region


Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
SpaceWeight = Annotated[float, Field(gt=0, le=MAX_WEIGHT, allow_inf_nan=False)]
PartWeight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)]
Region = Annotated[list[Fraction] | None, Field(min_length=4, max_length=4), Numbers, AfterValidator(_region)]
Marks = Annotated[list[ImageId] | None, Field(min_length=1, max_length=MAX_MARKS), Numbers]
Vector = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=100_000)]


class SearchOptions(RequestModel):
    """How to search."""

    k: int = Field(10, ge=1, le=MAX_K, description="How many hits.")
    spaces: SpaceNames = Field(
        None,
        description="Spaces to search; several are fused. By default those of the query's vectors, or the first one.",
    )
    weights: Annotated[list[SpaceWeight] | None, Field(min_length=1), Numbers] = Field(
        None, description="One weight a space, in the order of `spaces`."
    )
    fusion: str = Field(
        DEFAULT_METHOD,
        description="How several spaces are fused: by ranks (rrf) or by scores (zscore, minmax).",
        json_schema_extra={"enum": list(METHODS)},
    )
    rerank: Annotated[str, Field(json_schema_extra={"pattern": RERANKERS})] | None = Field(
        None,
        description="How the nearest 1,000 images of one space of embeddings are ranked anew; `mmr:0.5` is `mmr` with "
        "another weight of relevance than 0.7, from 0 to 1.",
    )
    classes: Annotated[list[Name] | None, Field(min_length=1)] = Field(
        None, description="Only images of these classes."
    )
    ids: ImageIds = Field(None, description="Only these images; unknown ids match none.")
    exclude_ids: ImageIds = Field(None, description="None of these images.")
    exclude_self: Flag = Field(True, description="Leave out the query itself, where it is an image of the collection.")
    exclude_cluster: Flag = Field(
        False, description="Leave out near duplicates of the query as well, where it is an image of the collection."
    )
    exclude_scene: Flag = Field(
        False,
        description="Leave out its near duplicates and other frames of its scene (the same place in the same "
        "examination), where it is an image of the collection.",
    )
    query_class: Name | None = Field(
        None, description="The query's class, for precision and recall; known by itself for an image of the collection."
    )
    min_chance: Fraction | None = Field(
        None,
        description="Only hits that show the query's finding with this chance at least; what is searched must be "
        "calibrated.",
    )
    fold: Flag = Field(
        False, description="Fold near duplicates of a hit into it, as its `near_duplicates`, so that all k hits differ."
    )
    region: Region = Field(
        None,
        description="Search by a part of the picture: left, top, width, height as fractions of the upright picture.",
    )
    copies: Flag = Field(
        False,
        description="Also tell, as `copies`, which images of the collection show an uploaded picture, or nearly the "
        "same; of a single search.",
    )
    relevant: Marks = Field(
        None,
        description="Images that fit what is searched for: the query moves towards them, by Rocchio's rule and, from "
        "three marks of each kind on, by logistic regression.",
    )
    irrelevant: Marks = Field(
        None,
        description="Images that do not fit: the query moves away. To see new images alone, name those shown in "
        "`exclude_ids`.",
    )

    def feedback(self) -> Feedback | None:
        """The marks, or None where there are none. Raises BadQueryError."""
        return Feedback(tuple(self.relevant or ()), tuple(self.irrelevant or ())) or None

    def overridden_by(self, other: SearchOptions) -> Self:
        """These options, but those that another part of the request sets as it sets them."""
        changes = {name: getattr(other, name) for name in other.model_fields_set if name in SearchOptions.model_fields}
        return self.model_copy(update=changes)

    def filter(self) -> Filter | None:
        """The conditions on hits, or None where there are none."""
        if self.classes is None and self.ids is None and self.exclude_ids is None:
            return None
        return Filter(
            classes=None if self.classes is None else frozenset(self.classes),
            ids=None if self.ids is None else frozenset(self.ids),
            exclude_ids=frozenset(self.exclude_ids or ()),
        )


def _exactly_one(*names: str) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


class QueryPart(RequestModel):
    """One part of a query: exactly one of image_id, image, text and vector."""

    model_config = _exactly_one("image_id", "image", "text", "vector")

    image_id: ImageId = Field(-1, description="An image of the collection.")
    image: str = Field("", min_length=1, description="A picture file in base64, or a data: URL of it.")
    text: str = Field(
        "",
        min_length=1,
        max_length=1000,
        description="Words. A space without a text encoder is searched by the mean vectors of the classes that they "
        "describe, which the response says in `text_matches`.",
    )
    vector: Vector = Field([], description="A vector of `space`, or without it of every space that is searched.")
    space: Name = Field("", description="The space of the vector.")
    region: Region = Field(
        None, description="The part of the picture that counts: left, top, width, height as fractions of it."
    )
    weight: PartWeight = Field(
        1.0,
        description="How much this part counts; below 0 it pushes images like it away. One is above 0.",
    )

    def to_part(self) -> Part:
        """The engine's part. Raises BadQueryError and what `decoded` raises."""
        given = self.model_fields_set
        ways = [name for name in ("image_id", "image", "text", "vector") if name in given]
        if len(ways) != 1:
            listed = ", ".join(ways) or "none"
            raise BadQueryError(f"a part of a query is one of image_id, image, text and vector; given: {listed}")
        return Part(
            image_id=self.image_id if "image_id" in given else None,
            picture=decoded(self.image) if "image" in given else None,
            text=self.text if "text" in given else None,
            vector=np.array(self.vector, np.float64) if "vector" in given else None,
            space=self.space if "space" in given else None,
            region=tuple(self.region) if self.region else None,  # type: ignore[arg-type]
            weight=self.weight,
        )


class SearchBody(SearchOptions):
    """A search in JSON: a query of parts or, for short, exactly one of image, image_id and vector; and the options."""

    model_config = _exactly_one("query", "image", "image_id", "vector")

    query: list[QueryPart] = Field(
        [], min_length=1, max_length=MAX_PARTS, description="Parts that are searched for together."
    )
    image: str = Field("", min_length=1, description="A picture file in base64, or a data: URL of it.")
    image_id: ImageId = Field(-1, description="An image of the collection.")
    vector: Vector = Field([], description="A vector of the one space that is searched.")

    def to_query(self) -> QueryLike:
        """What to search for. Raises BadQueryError and what `decoded` raises."""
        given = self.model_fields_set & {"query", "image", "image_id", "vector"}
        if len(given) != 1:
            raise NoPictureError("give exactly one of query, image (base64), image_id and vector")
        if "query" in given:
            return Query(tuple(part.to_part() for part in self.query))
        if "image_id" in given:
            return self.image_id
        if "vector" in given:
            return np.array(self.vector, np.float64)
        return decoded(self.image)


@dataclass(frozen=True)
class BatchItem:
    """One search of a batch: its query, or why it has none; and the options that the request's body sets for it."""

    query: QueryLike | RetrievalError
    options: SearchOptions


class BatchBody(SearchOptions):
    """Several searches in JSON. The options are those of every search that does not set them itself."""

    searches: list[SearchBody] = Field(min_length=1, max_length=MAX_BATCH, description="The searches, in order.")

    def to_items(self) -> list[BatchItem]:
        """The searches. Raises BadSearchError for one whose query cannot be understood."""
        shared = SearchOptions.model_construct().overridden_by(self)
        return [BatchItem(_query_of(at, body), shared.overridden_by(body)) for at, body in enumerate(self.searches)]


def search(
    query: QueryLike, options: SearchOptions, adjusted: Callable[[EmbeddedQuery], SearchOptions] | None = None
) -> Hits:
    """Run a search under the concurrency limits; `adjusted` may change the options once the query is embedded.

    Raises BusyError, and whatever the engine raises.
    """
    complete = _complete(query, options)
    with embedding_turn(complete, options):
        embedded = _embed(complete, options)
        if adjusted is not None:
            options = adjusted(embedded)
    with state().searches.slot():
        return _rank([embedded], options)[0]


def search_classes(query: QueryLike, options: SearchOptions) -> dict[str, Hits]:
    """The nearest images of each class, by class, under the concurrency limits. Raises as `search` does."""
    complete = _complete(query, options)
    with embedding_turn(complete, options):
        embedded = _embed(complete, options)
    with state().searches.slot():
        return searcher().nearest_of_classes_embedded(
            embedded, options.k, options.classes, **_ranking(options.model_copy(update={"classes": None}))
        )


def reasons(query: QueryLike, image_id: int, spaces: Sequence[str] | None, region: Any = None) -> Reasons:
    """Why an image is near a query, under the concurrency limits: in each space, by default the first.

    Raises BusyError and what `Searcher.reasons` raises.
    """
    complete = Query.of(query, region)
    stored = all(part.image_id is not None and part.region is None for part in complete.parts)
    with state().decodings.slot() if stored else embedding_turn(complete):
        return searcher().reasons(complete, image_id, spaces)


@contextmanager
def parsing_turn() -> Iterator[None]:
    """A turn for parsing a request's body, which a small one needs not: searches by image never wait for uploads."""
    if (request.content_length or 0) <= SMALL_BODY:
        yield
    else:
        with state().decodings.slot():
            yield


@contextmanager
def embedding_turn(query: Query, options: SearchOptions | None = None) -> Iterator[None]:
    """A turn for the vectors of a query: among searches where they are known, else among decodings.

    options: whose marks move the vectors; many of them take as long as a decoding.

    Large pictures have a queue of their own, so that others do not wait behind them. Raises BatchTooLargeError,
    BusyError, and what `examine` raises.
    """
    shared = state()
    marks = 0 if options is None else len(options.relevant or ()) + len(options.irrelevant or ())
    if marks <= QUICK_MARKS and not any(map(_is_embedded, query.parts)):
        yield
        return
    with shared.decodings.slot():
        if len(query.parts) > 1:
            require_pixels(query.parts)
        large = [part for part in query.parts if isinstance(part.picture, bytes) and _is_large(part.picture)]
        if not large:
            yield
            return
    with shared.large_decodings.slot():
        yield


def _is_large(data: bytes) -> bool:
    return state().large_pictures.takes(data, state().settings.max_pixels)


def search_batch(items: Sequence[BatchItem], defaults: SearchOptions) -> list[Hits | RetrievalError]:
    """The hits of each search, or the error that it alone ends with; those of equal options are one call of the index.

    Each query is embedded under the concurrency limit by itself, so that other clients' searches go between. Raises
    BadSearchError, BatchTooLargeError, BusyError, and errors that are the server's own.
    """
    options = [defaults.overridden_by(item.options) for item in items]
    results: dict[int, Hits | RetrievalError] = {}
    queries: dict[int, Query] = {}
    for at, item in enumerate(items):
        if isinstance(item.query, RetrievalError):
            results[at] = item.query
            continue
        try:
            queries[at] = _complete(item.query, options[at])
        except QueryError as error:
            raise BadSearchError(f"searches.{at}: {error}") from None
    with state().decodings.slot():
        _require_batch(list(queries.values()), sum(option.k for option in options))
    groups: dict[tuple[Any, ...], dict[int, EmbeddedQuery]] = {}
    for at, query in queries.items():
        try:
            with embedding_turn(query, options[at]):
                embedded = _embed(query, options[at])
        except RetrievalError as error:
            results[at] = _of_client(error)
            continue
        shared = options[at].model_dump_json(exclude={"spaces", "query_class", "region", "relevant", "irrelevant"})
        groups.setdefault((shared, *embedded.vectors), {})[at] = embedded
    for members in groups.values():
        with state().searches.slot():
            try:
                results |= zip(members, _rank(list(members.values()), options[min(members)]), strict=True)
            except RetrievalError as error:
                results |= dict.fromkeys(members, _of_client(error))
    return [results[at] for at in range(len(items))]


def _query_of(at: int, body: SearchBody) -> QueryLike | RetrievalError:
    try:
        return body.to_query()
    except (PictureError, NotBase64Error, DataURLError) as error:
        return error
    except QueryError as error:
        raise BadSearchError(f"searches.{at}: {error}") from None


def _complete(query: QueryLike, options: SearchOptions) -> Query:
    """A query with the region of the options. Raises BadQueryError."""
    region: Any = tuple(options.region) if options.region else None
    return Query.of(query, region)


def _embed(query: Query, options: SearchOptions) -> EmbeddedQuery:
    return searcher().embed(query, options.spaces, options.query_class, options.feedback())


def _rank(queries: Sequence[EmbeddedQuery], options: SearchOptions) -> list[Hits]:
    return searcher().search_embedded(queries, options.k, **_ranking(options))


def _ranking(options: SearchOptions) -> dict[str, Any]:
    """How embedded queries are ranked, as the engine takes it."""
    names = ("weights", "fusion", "rerank", "exclude_self", "exclude_cluster", "exclude_scene", "min_chance", "fold")
    return {name: getattr(options, name) for name in names} | {"filter": options.filter()}


def _require_batch(queries: Sequence[Query], hits: int) -> None:
    """Raise BatchTooLargeError where a batch as a whole is beyond its limits."""
    if hits > MAX_BATCH_HITS:
        raise BatchTooLargeError(f"the searches have {hits:,} hits together; the limit is {MAX_BATCH_HITS:,}")
    embedded = sum(_is_embedded(part) for query in queries for part in query.parts)
    if embedded > MAX_BATCH:
        raise BatchTooLargeError(f"the searches have {embedded} pictures and texts together; the limit is {MAX_BATCH}")
    require_pixels([part for query in queries for part in query.parts])


def _is_embedded(part: Part) -> bool:
    """Whether a part has no vector yet."""
    return part.vector is None and (part.image_id is None or part.region is not None)


def require_pixels(parts: Sequence[Part]) -> None:
    """Raise BatchTooLargeError where the pictures of a request have too many pixels together."""
    limit = MAX_BATCH_PIXELS * state().settings.max_pixels
    if (pixels := sum(map(_pixels, filter(_is_embedded, parts)))) > limit:
        raise BatchTooLargeError(
            f"the pictures have {pixels / 1e6:.1f} megapixels together; the limit is {limit / 1e6:g}"
        )


def _pixels(part: Part) -> int:
    """Width x height of a part's picture; 0 where it is unusable, of which its own search tells."""
    with suppress(RetrievalError):
        if isinstance(part.picture, bytes):
            width, height, _ = probe(part.picture, max_pixels=state().settings.max_pixels)
            return width * height
        if part.image_id is not None:
            opened = collection()
            width, height = opened.images.value("sizes", opened.position(part.image_id)).tolist()
            return int(width * height)
    return 0


def _of_client(error: RetrievalError) -> RetrievalError:
    """An error that the client causes; raises one that is the server's own."""
    if status_of(error) >= 500:
        raise error
    return error
