"""A search as a request states it, and the search itself."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field

from retrieval.hits import Hits
from retrieval.query import Query
from web.context import searcher, state
from web.errors import NoPictureError
from web.requests import MAX_ID, Flag, Name, Numbers, RequestModel, SpaceNames
from web.uploads import decoded

MAX_K = 1000

QueryInput = int | bytes | np.ndarray[Any, np.dtype[np.float64]]
"""An image id, a picture file's bytes, or a vector (d,)."""


def _region(region: list[float] | None) -> list[float] | None:
    if region is not None:
        left, top, width, height = region
        if not width or not height:
            raise ValueError("must have a width and a height")
        if left + width > 1 + 1e-6 or top + height > 1 + 1e-6:
            raise ValueError("must lie inside the picture: left + width and top + height are at most 1")
    return region


Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Region = Annotated[list[Fraction] | None, Field(min_length=4, max_length=4), Numbers, AfterValidator(_region)]


class SearchOptions(RequestModel):
    """How to search."""

    k: int = Field(10, ge=1, le=MAX_K, description="How many hits.")
    spaces: SpaceNames = Field(
        None, description="Spaces to search; several are fused by their ranks. By default the first one."
    )
    weights: Annotated[list[Weight] | None, Field(min_length=1), Numbers] = Field(
        None, description="One weight a space, in the order of `spaces`."
    )
    classes: Annotated[list[Name] | None, Field(min_length=1)] = Field(
        None, description="Only images of these classes."
    )
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
        """These options, but those that another request part sets as it sets them."""
        changes = {name: getattr(other, name) for name in other.model_fields_set if name in SearchOptions.model_fields}
        return self.model_copy(update=changes)


class SearchBody(SearchOptions):
    """A search in JSON: exactly one of image, image_id and vector, and the options."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("image", "image_id", "vector")]},
    )

    image: str = Field("", min_length=1, description="A picture file in base64.")
    image_id: int = Field(-1, ge=0, le=MAX_ID, description="An image of the collection.")
    vector: list[Annotated[float, Field(allow_inf_nan=False)]] = Field(
        [], min_length=1, max_length=100_000, description="A vector of the one space that is searched."
    )

    def query(self) -> QueryInput:
        """What to search by. Raises NoPictureError, NotBase64Error, UploadTooLargeError."""
        given = self.model_fields_set & {"image", "image_id", "vector"}
        if len(given) != 1:
            raise NoPictureError("give exactly one of image (base64), image_id and vector")
        if "image_id" in given:
            return self.image_id
        if "vector" in given:
            return np.array(self.vector, np.float64)
        return decoded(self.image)


def search(query: QueryInput, options: SearchOptions) -> Hits:
    """Run a search under the concurrency limit. Raises BusyError, and whatever the engine raises."""
    engine = searcher()
    region = tuple(options.region) if options.region else None
    whole = Query.of(query, region)  # type: ignore[arg-type]
    with state().searches.slot():
        return engine.search(
            whole,
            options.k,
            spaces=options.spaces,
            weights=options.weights,
            classes=options.classes,
            exclude_self=options.exclude_self,
            exclude_cluster=options.exclude_cluster,
            query_class=options.query_class,
        )
