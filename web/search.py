"""A search as a request states it, and the search itself."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field

from retrieval.filters import Filter
from retrieval.fusion import DEFAULT_METHOD, METHODS
from retrieval.hits import Hits
from retrieval.query import Part, Query, QueryLike
from web.context import searcher, state
from web.errors import NoPictureError
from web.pictures import decoded
from web.requests import MAX_ID, Flag, Name, Numbers, RequestModel, SpaceNames

MAX_K = 1000
MAX_PARTS = 20
MAX_IDS = 100_000


def _region(region: list[float] | None) -> list[float] | None:
    if region is not None:
        left, top, width, height = region
        if not width or not height:
            raise ValueError("must have a width and a height")
        if left + width > 1 + 1e-6 or top + height > 1 + 1e-6:
            raise ValueError("must lie inside the picture: left + width and top + height are at most 1")
    return region


Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
SpaceWeight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
PartWeight = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Region = Annotated[list[Fraction] | None, Field(min_length=4, max_length=4), Numbers, AfterValidator(_region)]
ImageId = Annotated[int, Field(ge=0, le=MAX_ID)]
ImageIds = Annotated[list[ImageId] | None, Field(min_length=1, max_length=MAX_IDS), Numbers]
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
    classes: Annotated[list[Name] | None, Field(min_length=1)] = Field(
        None, description="Only images of these classes."
    )
    ids: ImageIds = Field(None, description="Only these images; unknown ids match none.")
    exclude_ids: ImageIds = Field(None, description="None of these images.")
    exclude_self: Flag = Field(True, description="Leave out the query itself, where it is an image of the collection.")
    exclude_cluster: Flag = Field(
        False, description="Leave out near duplicates of the query as well, where it is an image of the collection."
    )
    query_class: Name | None = Field(
        None, description="The query's class, for precision and recall; known by itself for an image of the collection."
    )
    region: Region = Field(
        None,
        description="Search by a part of the picture: left, top, width, height as fractions of the upright picture.",
    )

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
    text: str = Field("", min_length=1, max_length=1000, description="Words, for spaces that have a text encoder.")
    vector: Vector = Field([], description="A vector of `space`, or without it of every space that is searched.")
    space: Name = Field("", description="The space of the vector.")
    region: Region = Field(
        None, description="The part of the picture that counts: left, top, width, height as fractions of it."
    )
    weight: PartWeight = Field(1.0, description="How much this part counts; more than 0 for now.")

    def to_part(self) -> Part:
        """The engine's part. Raises BadQueryError and what `decoded` raises."""
        given = self.model_fields_set
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


def search(query: QueryLike, options: SearchOptions) -> Hits:
    """Run a search under the concurrency limit. Raises BusyError, and whatever the engine raises."""
    engine = searcher()
    region: Any = tuple(options.region) if options.region else None
    complete = Query.of(query, region)
    with state().searches.slot():
        return engine.search(
            complete,
            options.k,
            spaces=options.spaces,
            weights=options.weights,
            fusion=options.fusion,
            filter=options.filter(),
            exclude_self=options.exclude_self,
            exclude_cluster=options.exclude_cluster,
            query_class=options.query_class,
        )
