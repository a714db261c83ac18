"""Response models, which make the OpenAPI document, and the functions that fill them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from flask import request
from pydantic import BaseModel, ConfigDict, Field

from retrieval import hits as engine
from retrieval.collection import Collection
from retrieval.collection.facts import facts_of
from retrieval.hits import SCORE_KINDS
from retrieval.index.engines import Engine
from retrieval.index.upkeep import index_sentence
from retrieval.marks import names_of
from web.context import collection
from web.pictures import version_of
from web.problems import MEDIA_TYPE, Problem

_CLASS = Field(alias="class", description="The class, or null where it is unknown.")


class _Response(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Links(_Response):
    """Where an image's parts are."""

    self: str
    picture: str
    thumbnail: str
    similar: str


class Image(_Response):
    """An image of the collection."""

    id: int
    class_name: str | None = _CLASS
    file: str = Field(description="Its path inside the folder or zip that it was indexed in.")
    width: int | None = Field(
        description="In pixels, or null where the image was stored as vectors, without a picture."
    )
    height: int | None = Field(description="Likewise.")
    cluster: int = Field(description="Near duplicates share this number.")
    scene: int = Field(description="Frames of one place in one examination share this number, near duplicates as well.")
    spaces: list[str] = Field(description="The spaces that it has a vector in.")
    marks: list[str] = Field(description="Marks of the device on it, such as ScopeGuide's picture.")
    links: Links


class ImagePage(_Response):
    """Some images, in order of their ids."""

    images: list[Image]
    total: int = Field(description="How many images there are, of the class where one is given.")
    next: str | None = Field(description="The cursor of the next page, or null on the last one.")


class SpaceMap(_Response):
    """The images of a space in two dimensions, as columns of one length, one entry an image."""

    space: str
    created: str
    method: str = Field(description="How the images were laid out.")
    images: int = Field(description="How many images the space had then; of many, a sample is laid out.")
    trustworthiness: float | None = Field(
        description="From the 10 nearest on the map: 1 where all of them are near in the space, about 0.5 for a random "
        "layout; null for very few images."
    )
    outdated: bool = Field(description="Whether the space has changed since.")
    classes: list[str]
    marks: list[str] = Field(description="Names of the marks of the device.")
    sources: list[str] = Field(description="Names of the folders or zips that the images were indexed in.")
    evaluation: str | None = Field(description="The stored evaluation that `errors` come from.")
    evaluation_outdated: bool = Field(description="Whether the collection has changed since that evaluation.")
    ids: list[int]
    x: list[float] = Field(description="From -1 to 1.")
    y: list[float] = Field(description="From -1 to 1, upwards.")
    class_numbers: list[int] = Field(description="Indices into `classes`, -1 without a class.")
    clusters: list[int] = Field(description="Near duplicates share this number.")
    mark_bits: list[int] = Field(description="One bit for each of `marks`, from the lowest; -1 where not known.")
    source_numbers: list[int] = Field(description="Indices into `sources`.")
    errors: list[bool | None] | None = Field(
        description="Whether the nearest image of each, as a query of the evaluation, has another class; null for "
        "images that were no query, and as a whole where no stored evaluation has this space."
    )


class ImageVectors(_Response):
    """An image's vectors, as they are stored."""

    id: int
    vectors: dict[str, list[float]] = Field(description="By space, of those that it has a vector in.")


class Hit(_Response):
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
    scene: int = Field(description="Frames of one place in one examination share this number, near duplicates as well.")
    marks: list[str] = Field(description="Marks of the device on it.")
    chance: float | None = Field(
        description="That it shows the query's finding; null where what was searched is not calibrated."
    )
    near_duplicates: list[int] = Field(description="Ids of farther images of its cluster that were folded into it.")
    links: Links


class QueryInfo(_Response):
    """What was searched by."""

    id: int | None
    class_name: str | None = _CLASS


class FoundClass(_Response):
    """A class that the query may be of."""

    class_name: str = Field(alias="class")
    chance: float


class Findings(_Response):
    """What the query shows, by calibrated chances."""

    classes: list[FoundClass] = Field(description="The likeliest first.")
    coverage: float = Field(description="Share of cases in which the query's class was among them.")
    outdated: bool = Field(description="Whether the collection has changed since the calibration.")


class Novelty(_Response):
    """How a query picture differs from the collection, where it is like no image of it."""

    level: Literal["foreign", "unlike"] = Field(
        description="`foreign`: another kind of picture, such as a photograph. `unlike`: a hint, with its error rates."
    )
    detail: str


class Copies(_Response):
    """Images of the collection that show an uploaded picture, with their near duplicates."""

    ids: list[int]
    exact: bool = Field(description="Whether one has the very bytes of the upload; else they are nearly the same.")


class ClassShare(_Response):
    """A class with its share."""

    class_name: str = Field(alias="class")
    share: float


class TextMatch(_Response):
    """Words of the query that were matched to classes, whose mean vectors were searched."""

    text: str
    classes: list[ClassShare] = Field(description="What the words describe, with the share of its mean vector.")
    unknown: list[str] = Field(description="Words that describe no class.")
    spaces: list[str] = Field(description="The spaces that were searched so, since they have no text encoder.")


class Hits(_Response):
    """Ranked hits, and how good they are where the query's class is known."""

    query: QueryInfo
    k: int
    spaces: list[str]
    fusion: str | None = Field(description="The method that fused several spaces.")
    score_kind: str = Field(
        description="What a hit's score is; `text similarity` is the cosine with words, alone or averaged with that to "
        "the query's pictures, which stays far below 1; `class similarity` that to the mean of the classes which the "
        "words describe.",
        json_schema_extra={"enum": list(SCORE_KINDS)},
    )
    searched: int = Field(description="How many images could have been hits.")
    class_shares: dict[str, int] = Field(description="How many hits each class has; without class under an empty name.")
    precision_at_k: float | None
    recall_at_k: float | None
    recall_ceiling: float | None = Field(description="The best recall that k hits allow.")
    relevant: int | None = Field(description="How many images of the query's class were searched.")
    novelty: Novelty | None = Field(
        description="Null where the query is like images here, is one of them, or no detector was fitted."
    )
    findings: Findings | None = Field(description="Null where what was searched is not calibrated.")
    copies: Copies | None = Field(
        description="Null where `copies` was not set, where the query is not one uploaded picture, or where no image "
        "shows it."
    )
    zero_shot: list[ClassShare] | None = Field(
        description="For one picture in a space with a text encoder: shares of the classes by captions, "
        "without any label, the largest first. They are not calibrated."
    )
    text_matches: list[TextMatch] = Field(
        description="Empty where the query has no words, or every space searched has a text encoder."
    )
    hits: list[Hit]


class ClassHits(_Response):
    """The nearest images of one class."""

    class_name: str = Field(alias="class")
    hits: Hits


class NearestOfClasses(_Response):
    """The nearest images of each class."""

    classes: list[ClassHits] = Field(description="That of the nearest image first.")


class BatchResults(_Response):
    """What a batch of searches gave."""

    results: list[Hits | Problem] = Field(
        description="In the order of the searches: the hits, or a problem document, which alone has a `status`."
    )


class AgreementSide(_Response):
    """The cells of one picture of a pair, row by row."""

    area: list[float] = Field(
        description="Left, top, width and height of the cells together, as fractions of the upright picture."
    )
    rows: int
    columns: int
    relevance: list[list[float]] = Field(description="What the similarity loses where the cell is erased.")
    matches: list[list[int]] = Field(
        description="The number of the most similar cell of the other picture, row by row from 0."
    )
    likeness: list[list[float]] = Field(
        description="The cosine of the features of both cells, less what all cells of the pair have in common."
    )
    on_device: float = Field(description="Share of the most relevant tenth of cells on a box or text of the device.")


class FaithfulnessTest(_Response):
    """How the cells that are said to matter did in the test on this collection."""

    fill: str
    passes: int
    pairs: int
    seed: int
    above_random: float = Field(
        description="Share of pairs in which erasing the marked tenth lowers the similarity more than random cells."
    )
    above_centre: float = Field(description="Likewise, more than the cells nearest the centre.")
    shuffled_above_random: float = Field(description="Likewise, of cells that an encoder of shuffled weights marks.")
    falls: dict[str, float] = Field(description="Mean fall of the similarity by what was erased.")
    passed: bool


class Agreement(_Response):
    """Where two pictures agree, in a space whose test was passed."""

    space: str
    similarity: float
    query: AgreementSide
    hit: AgreementSide
    test: FaithfulnessTest
    outdated: bool = Field(description="Whether the collection has changed since the test.")


class ShareGroup(_Response):
    """Some bins of a descriptor."""

    name: str
    distance: float = Field(description="What they add to the distance.")
    share: float = Field(description="Of the distance, from 0 to 1.")
    usual: float | None = Field(description="What they add between pictures of the collection at random.")


class ShareFacet(_Response):
    """One way of grouping the bins; the groups' distances sum to the distance."""

    name: str
    groups: list[ShareGroup]


class DistanceShares(_Response):
    """What the distance in a descriptor's space is made of."""

    space: str
    distance: float
    sentence: str
    facets: list[ShareFacet]


class UnshownReason(_Response):
    """A space without a reason."""

    space: str
    why: str


class Reasons(_Response):
    """Why an image is near a query."""

    image_id: int
    agreements: list[Agreement]
    shares: list[DistanceShares]
    unshown: list[UnshownReason] = Field(description="Spaces that show nothing, and why.")


class SpaceInfo(_Response):
    """One way of comparing pictures, and how it was made."""

    name: str
    kind: str
    dimension: int
    distance: str
    images: int
    recipe: dict[str, Any]
    index: str = Field(description="How it is searched: exact, or the kind of index with its recall and time.")


class CollectionInfo(_Response):
    """What is served."""

    name: str
    created: str
    images: int
    classes: dict[str, int]
    unlabelled: int
    clusters_of_duplicates: int
    scenes: int = Field(description="Scenes with more than one cluster of near duplicates.")
    marks: dict[str, int] = Field(description="How many images have each mark of the device.")
    spaces: list[SpaceInfo]


class Evaluation(_Response):
    """An evaluation, running or done."""

    id: str
    state: Literal["running", "done", "failed"]
    progress: float = Field(description="From 0 to 1.")
    created: str
    request: dict[str, Any]
    error: str | None
    result: dict[str, Any] | None


class EvaluationRun(_Response):
    """A stored evaluation in short."""

    id: str
    created: str
    made_by: Literal["site", "command"]
    request: dict[str, Any]
    outdated: bool = Field(description="Whether the collection has changed since.")
    queries: dict[str, str] = Field(
        description="By space and fusion, a digest of its queries and of what they search; equal ones can be compared."
    )
    means: dict[str, float | None] = Field(description="mAP, the mean of the class means, by space and fusion.")


class EvaluationRuns(_Response):
    """The evaluations that are stored, the newest first."""

    evaluations: list[EvaluationRun]


class RunDifference(_Response):
    """One space or fusion in two evaluations."""

    name: str
    first: float
    second: float
    difference: float = Field(description="The second minus the first.")
    low: float = Field(description="Where its 95 % interval begins.")
    high: float
    p: float = Field(description="Of the paired test, query by query.")
    significant: bool


class RunComparison(_Response):
    """What two evaluations both measured, and the names that one of them has alone."""

    measure: str
    differences: list[RunDifference]
    apart: dict[str, str] = Field(description="By space or fusion in both, why its results cannot be compared.")
    only_first: list[str]
    only_second: list[str]


class Health(_Response):
    """Whether the server lives, or is ready."""

    status: Literal["ok", "loading"]


_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_FOLDERS = re.compile(r"/.*/")


def operation(good: dict[str, Any], *problems: int) -> dict[Any, Any]:
    """The responses of an operation, for the OpenAPI document: good ones by status, and problem documents."""
    refused = {429} if 401 in problems else set()  # one wrong key after another
    return good | {str(status): dict(_PROBLEM) for status in {422, *problems, *refused}}


def image_links() -> Callable[[int], dict[str, str]]:
    """A function from an image id to the addresses of its parts, as this request came."""
    # Spelled out, because url_for takes longer than the search where there are many hits.
    images, opened = f"{request.script_root}/api/v1/images", collection()

    def links(image_id: int) -> dict[str, str]:
        address, version = f"{images}/{image_id}", version_of(opened, image_id)
        return {
            "self": address,
            "picture": f"{address}/picture?v={version}",
            "thumbnail": f"{address}/thumbnail?v={version}",
            "similar": f"{address}/similar",
        }

    return links


def image_to_dict(opened: Collection, image_id: int) -> dict[str, Any]:
    """An Image. Raises NoSuchImageError."""
    return images_to_dicts(opened, [image_id])[0]


def images_to_dicts(opened: Collection, image_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Images. Raises NoSuchImageError."""
    images, links = opened.images, image_links()
    spaces = [(space.name, space.number) for space in opened.spaces]

    def to_dict(image_id: int) -> dict[str, Any]:
        position = opened.position(image_id)
        label = int(images.value("labels", position))
        width, height = images.value("sizes", position).tolist() if images.has_picture(position) else (None, None)
        return {
            "id": image_id,
            "class": images.classes[label] if label >= 0 else None,
            "file": images.file(position),
            "width": width,
            "height": height,
            "cluster": int(images.value("clusters", position)),
            "scene": images.scene_at(position),
            "marks": list(names_of(int(images.value("marks", position)))),
            "spaces": [name for name, number in spaces if images.value("checksums", position)[number]],
            "links": links(image_id),
        }

    return [to_dict(image_id) for image_id in image_ids]


def vectors_to_dict(opened: Collection, image_id: int) -> dict[str, Any]:
    """An ImageVectors. Raises NoSuchImageError, DamagedVectorError."""
    stored = {space.name: opened.vector(space.name, image_id) for space in opened.spaces}
    return {"id": image_id, "vectors": {name: v.tolist() for name, v in stored.items() if v is not None}}


def hits_to_dict(hits: engine.Hits, k: int, copies: tuple[Sequence[int], bool] | None = None) -> dict[str, Any]:
    """A Hits. copies: ids of images that show an uploaded query, and whether exactly."""
    fields = hits.to_dict()
    quality = fields.pop("quality") or {}
    query = {"id": fields.pop("query_id"), "class": fields.pop("query_class")}
    links = image_links()
    for hit in fields["hits"]:
        hit["class"] = hit.pop("class_name")
        hit["links"] = links(hit["id"])
    if hits.findings is not None:
        fields["findings"]["classes"] = [{"class": name, "chance": chance} for name, chance in hits.findings.classes]
    if hits.zero_shot is not None:
        fields["zero_shot"] = [{"class": name, "share": share} for name, share in hits.zero_shot.items()]
    if hits.novelty is not None:
        fields["novelty"] = {"level": hits.novelty.level, "detail": str(hits.novelty)}
    return fields | {
        "query": query,
        "k": k,
        "copies": None if copies is None else {"ids": list(copies[0]), "exact": copies[1]},
        "precision_at_k": quality.get("precision"),
        "recall_at_k": quality.get("recall"),
        "recall_ceiling": quality.get("recall_ceiling"),
        "relevant": quality.get("relevant"),
        "class_shares": {name or "": count for name, count in hits.class_counts.items()},
    }


def collection_to_dict(opened: Collection, engine: Engine | None = None) -> dict[str, Any]:
    """A CollectionInfo; a recipe may name a file of the server, whose folders are left out.

    engine: what searches in the place of the local indexes.
    """
    facts = facts_of(opened)
    for space, definition in zip(facts["spaces"], opened.spaces, strict=True):
        space["recipe"] = without_folders(space["recipe"])
        remote = engine is not None and engine.serves(definition)
        space["index"] = "in a vector engine" if remote else index_sentence(opened, definition)
    return facts


def without_folders(value: Any) -> Any:
    """A value of JSON whose texts name files without their folders, at any depth."""
    if isinstance(value, str):
        return _FOLDERS.sub("/…/", value)
    if isinstance(value, dict):
        return {name: without_folders(part) for name, part in value.items()}
    return [without_folders(part) for part in value] if isinstance(value, list) else value
