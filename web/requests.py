"""Request models: what the path, address, form or JSON of a request may say; each is validated once, here."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from functools import cache
from math import inf
from typing import Annotated, Any, Literal

from flask import request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from retrieval.evaluation.options import MeasureOptions
from retrieval.fusion import DEFAULT_METHOD, METHODS
from retrieval.rerank import METHODS as RERANKERS
from web.errors import RepeatedFieldError

MAX_ID = 2**53
"""The largest integer that JSON keeps in every language."""
MAX_FUSIONS = 20
MAX_IDS = 100_000
"""Images that a request may list."""
LISTS = frozenset(
    {"spaces", "weights", "classes", "ids", "exclude_ids", "relevant", "irrelevant", "region"}
    | {"more", "part_weights", "part_regions"}
)
"""Fields of an address or a form that may stand there several times; all others have one value."""

_BINARY = {"schema": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}}


def require_bounded_body() -> None:
    """Raise RequestEntityTooLarge where the body is beyond the limit, before its type is found unsupported."""
    if (request.content_length or 0) > (request.max_content_length or inf):
        raise RequestEntityTooLarge


class RequestModel(BaseModel):
    """Base of all request models; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **more: Any) -> dict[str, Any]:  # type: ignore[override]
        """The JSON schema, shared: do not modify it.

        Cached, because flask-openapi3 calls this at every request, and making it takes longer than a search.
        """
        return super().model_json_schema(*args, **more)


def _flag(value: Any, info: ValidationInfo) -> Any:
    """Text says `true` or `false`, nothing else."""
    if info.mode == "python" and isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("must be true or false")
        return value == "true"
    return value


def _numbers(value: Any, info: ValidationInfo) -> Any:
    """Text may give several numbers at once, parted by commas."""
    if info.mode == "python" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0].split(",")
    return value


def _space_names(value: Any, info: ValidationInfo) -> Any:
    """Text may give several names at once, parted by commas, which no name has."""
    if info.mode == "python" and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return [name.strip() for part in value for name in part.split(",")]
    return value


def _each_once(names: list[str] | None) -> list[str] | None:
    if names is not None and len(set(names)) != len(names):
        raise ValueError("must name each space once")
    return names


def _printable(name: str) -> str:
    if name != name.strip() or any(unicodedata.category(character)[0] == "C" for character in name):
        raise ValueError("must be printable, without space at its ends")
    return name


Flag = Annotated[bool, BeforeValidator(_flag)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
SpaceNames = Annotated[
    list[Name] | None, Field(min_length=1), BeforeValidator(_space_names), AfterValidator(_each_once)
]
ImageId = Annotated[int, Field(ge=0, le=MAX_ID)]
NewClassName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Numbers = BeforeValidator(_numbers)
ImageIds = Annotated[list[ImageId] | None, Field(min_length=1, max_length=MAX_IDS), Numbers]


class ImagePath(RequestModel):
    """An image of the collection."""

    model_config = ConfigDict(extra="ignore")

    image_id: int = Field(ge=0, le=MAX_ID)


class PictureVersion(RequestModel):
    """The query string of a picture: with the picture's version, the response may be cached for good."""

    v: str | None = Field(None, description="The SHA-256 of the picture, as in the links of responses.")


class MapQuery(RequestModel):
    """Which map."""

    space: Name | None = Field(None, description="The space whose images are laid out; by default the first one.")


class ImageListing(RequestModel):
    """Which images to list."""

    class_name: str | None = Field(None, alias="class", description="Only images of this class.")
    cursor: int | None = Field(None, ge=0, le=MAX_ID, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=500)


class NewPicture(RequestModel):
    """The class of a picture that is added."""

    class_name: NewClassName | None = Field(None, alias="class", description="Its class, where it is known.")


class EvaluationPath(RequestModel):
    """An evaluation."""

    model_config = ConfigDict(extra="ignore")

    evaluation_id: str = Field(min_length=1, max_length=64)


class RunPair(RequestModel):
    """Two stored evaluations to compare."""

    first: str = Field(min_length=1, max_length=64, description="The id of one.")
    second: str = Field(min_length=1, max_length=64, description="The id of the other.")
    measure: str = Field("mAP", max_length=40, description="Such as mAP or precision@10.")


class EvaluationRequest(RequestModel):
    """What to evaluate."""

    spaces: SpaceNames = Field(None, description="Spaces to evaluate; by default all that no other space replaces.")
    fusions: list[Annotated[str, Field(min_length=3, max_length=1000)]] = Field(
        [],
        max_length=MAX_FUSIONS,
        description="Also these spaces fused: A+B; A=2+B gives A twice the weight; METHOD:A+B fuses by another method "
        f"than {DEFAULT_METHOD}: {', '.join(sorted(set(METHODS) - {DEFAULT_METHOD}))}.",
    )
    protocol: Literal["leave-one-out", "leave-cluster-out", "leave-scene-out"] = Field(
        "leave-cluster-out",
        description="What each image is searched in: all others, or all but its near duplicates or its scene.",
    )
    rerank: list[Annotated[str, Field(json_schema_extra={"enum": list(RERANKERS)})]] = Field(
        [],
        max_length=len(RERANKERS),
        description="Also each space of embeddings, its nearest 1,000 images ranked anew.",
    )
    feedback: bool = Field(
        False, description="Also simulate users who mark hits as fitting or not, one mark in ten wrong, in each space."
    )
    samples: int = Field(
        MeasureOptions.samples, ge=0, le=2000, description="Bootstrap samples for intervals; 0 for none."
    )
    query_ids: ImageIds = Field(
        None, description="Only these images query, in all others by the protocol; unknown ids match none."
    )


def field_values(fields: MultiDict[str, str]) -> dict[str, Any]:
    """The fields of a form or an address for a model. Raises RepeatedFieldError."""
    require_single(fields)
    return {name: fields.getlist(name) if name in LISTS else fields[name] for name in fields}


def require_single(fields: MultiDict[str, str], lists: Collection[str] = LISTS) -> None:
    """Raise RepeatedFieldError where a field that has one value, as all but `lists` have, is given several times."""
    for name, values in fields.lists():
        if len(values) > 1 and name not in lists:
            raise RepeatedFieldError(f"the field '{name[:40]}' is given {len(values)} times; give it once")


def field_faults(error: ValidationError) -> list[tuple[str, str]]:
    """The fields that do not fit, by their path (at most 100 characters of it), each with what is wrong."""
    return [
        (".".join(map(str, fault["loc"]))[:100], fault["msg"].removeprefix("Value error, "))
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def json_body(model: type[RequestModel]) -> dict[str, Any]:
    """The OpenAPI schema of a JSON body, with the models that it refers to in place."""
    schema = dict(model.model_json_schema())
    definitions = schema.pop("$defs", {})

    def in_place(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix("#/$defs/")
            return in_place(definitions[name]) if name else {key: in_place(part) for key, part in value.items()}
        return [in_place(part) for part in value] if isinstance(value, list) else value

    return {"application/json": {"schema": in_place(schema)}}


def picture_body(form: type[RequestModel], description: str, **others: Any) -> dict[str, Any]:
    """The OpenAPI schema of a body that is a picture, or a form with the part `image` and the fields of a model.

    others: further content types with their schemas.
    """
    schema = {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": {"type": "string", "format": "binary"}} | _form_properties(form),
    }
    whole = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/octet-stream")
    content = {"multipart/form-data": {"schema": schema}} | others | dict.fromkeys(whole, _BINARY)
    return {"required": True, "description": description, "content": content}


def pictures_body(form: type[RequestModel], most: int, description: str, **others: Any) -> dict[str, Any]:
    """The OpenAPI schema of a form with several parts `image` and the fields of a model. others: as above."""
    image = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": most}
    schema = {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": image} | _form_properties(form),
    }
    content = {"multipart/form-data": {"schema": schema}} | others
    return {"required": True, "description": description, "content": content}


def _form_properties(model: type[RequestModel]) -> dict[str, Any]:
    """The properties of a model's JSON schema as a form can send them.

    A form has no null: what may be null is left out of it, and with a null as default Swagger would send the word.
    """
    return {name: _without_null(schema) for name, schema in model.model_json_schema()["properties"].items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**rest, **branches[0]}
