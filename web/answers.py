"""What the API answers, as models: they make the OpenAPI document, and the tests hold every answer against it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from web.problems import MEDIA_TYPE

_CLASS = Field(alias="class", description="The class, or null where it is unknown.")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Links(_Answer):
    """Where an image's parts are."""

    self: str
    picture: str
    thumbnail: str
    similar: str


class Image(_Answer):
    """An image of the collection."""

    id: int
    class_name: str | None = _CLASS
    file: str = Field(description="Its path inside the folder or zip that it was indexed in.")
    width: int
    height: int
    cluster: int = Field(description="Near duplicates share this number.")
    spaces: list[str] = Field(description="The spaces that it has a vector in.")
    links: Links


class ImagePage(_Answer):
    """Some images, in order of their ids."""

    images: list[Image]
    total: int = Field(description="How many images there are of the class that was asked for.")
    next: str | None = Field(description="The cursor of the next page, or null on the last one.")


class Hit(_Answer):
    """One neighbour of the query."""

    rank: int
    id: int
    class_name: str | None = _CLASS
    score: float = Field(description="Larger is more similar.")
    distance: float | None = Field(
        description="In the first space that was searched, or null where the image has no vector there."
    )
    distances: dict[str, float | None] = Field(description="In every space that was searched, likewise.")
    file: str
    cluster: int
    links: Links


class Question(_Answer):
    """What was asked."""

    id: int | None
    class_name: str | None = _CLASS


class Hits(_Answer):
    """Ranked hits, and how good they are where the query's class is known."""

    query: Question
    k: int
    spaces: list[str]
    searched: int = Field(description="How many images could have been hits.")
    class_shares: dict[str, int] = Field(description="How many hits each class has; without class under an empty name.")
    precision_at_k: float | None
    recall_at_k: float | None
    recall_ceiling: float | None = Field(description="The best recall that k hits allow.")
    relevant: int | None = Field(description="How many images of the query's class were searched.")
    hits: list[Hit]


class SpaceInfo(_Answer):
    """One way of comparing pictures, and how it was made."""

    name: str
    kind: Literal["encoder", "descriptor"]
    dimension: int
    distance: str
    images: int
    recipe: dict[str, Any]


class CollectionInfo(_Answer):
    """What is served."""

    name: str
    created: str
    images: int
    classes: dict[str, int]
    unlabelled: int
    clusters_of_duplicates: int
    spaces: list[SpaceInfo]


class Evaluation(_Answer):
    """An evaluation, running or done."""

    id: str
    state: Literal["running", "done", "failed"]
    progress: float = Field(description="From 0 to 1.")
    created: str
    request: dict[str, Any]
    error: str | None
    result: dict[str, Any] | None


class Health(_Answer):
    """Whether the server lives, or is ready."""

    status: Literal["ok", "loading"]


_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def replies(good: dict[str, Any], *problems: int) -> dict[Any, Any]:
    """What an operation may answer, for the OpenAPI document: its good answers, and problem documents."""
    return good | {str(status): dict(_PROBLEM) for status in {422, *problems}}
