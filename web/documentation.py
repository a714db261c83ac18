"""The OpenAPI document as a page shows it: operations by tag, and the options that several share listed once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from web.search import SearchOptions

SHARED = frozenset(SearchOptions.model_fields)
"""Options of a search, which stand in the address, in a form or in JSON."""

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A parameter or a field of a schema. place: `path`, `query`, or empty for a field of a body or response."""

    name: str
    type: str
    description: str
    required: bool = False
    default: str = ""
    place: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """One operation. options: whether it takes those of a search. pictures: how many pictures it takes.

    example: a body of JSON where it takes one; guarded: whether it needs a key that may write.
    """

    id: str
    method: str
    path: str
    summary: str
    description: str
    fields: tuple[Field, ...]
    body: str
    options: bool
    pictures: int
    example: str | None
    guarded: bool
    statuses: tuple[str, ...]
    response: str | None


@dataclass(frozen=True)
class Documentation:
    """What the page shows: operations by tag, the options of a search, and the schemas of responses by name."""

    tags: Mapping[str, tuple[Operation, ...]]
    options: tuple[Field, ...]
    schemas: Mapping[str, tuple[str, tuple[Field, ...]]]


EXAMPLES = {
    "search": '{"image_id": 0}',
    "search_classes": '{"image_id": 0, "k": 2}',
    "search_batch": '{"searches": [{"image_id": 0}, {"image_id": 1, "k": 3}], "k": 5}',
    "start_evaluation": "{}",
}
"""Bodies of JSON that may be tried, by operation."""


def documentation_of(document: Mapping[str, Any]) -> Documentation:
    """The page of an OpenAPI document."""
    tags: dict[str, list[Operation]] = {}
    options: tuple[Field, ...] = ()
    for path, methods in document["paths"].items():
        for method, stated in methods.items():
            fields = tuple(map(_parameter, stated.get("parameters", ())))
            shared = tuple(field for field in fields if field.name in SHARED)
            options = options or (shared if len(shared) == len(SHARED) else ())
            tags.setdefault(stated["tags"][0], []).append(_operation(path, method, stated, fields))
    schemas = {
        name: (schema.get("description", ""), tuple(_fields(schema)))
        for name, schema in document["components"]["schemas"].items()
        if "properties" in schema
    }
    return Documentation({tag: tuple(each) for tag, each in tags.items()}, options, schemas)


def _operation(path: str, method: str, stated: Mapping[str, Any], fields: tuple[Field, ...]) -> Operation:
    content = stated.get("requestBody", {}).get("content", {})
    form = content.get("multipart/form-data", {}).get("schema", {})
    image = form.get("properties", {}).get("image", {})
    takes_options = {field.name for field in fields} >= SHARED
    own = [field for field in fields if not (takes_options and field.name in SHARED)]
    known = {field.name for field in fields} | {"image"}
    own += [field for field in _fields(form) if field.name not in known]
    # In JSON alone, such as what to evaluate
    if "application/json" in content and not form:
        own += [field for field in _fields(content["application/json"]["schema"]) if field.name not in known]
    responses: Mapping[str, Any] = stated["responses"]
    good: Mapping[str, Any] = next((response for status, response in responses.items() if status.startswith("2")), {})
    schema = good.get("content", {}).get("application/json", {}).get("schema", {})
    return Operation(
        id=stated["operationId"],
        method=method.upper(),
        path=path,
        summary=stated.get("summary", ""),
        description=stated.get("description", ""),
        fields=tuple(own),
        body=stated.get("requestBody", {}).get("description", ""),
        options=takes_options,
        pictures=0 if not image else image.get("maxItems", 1),
        example=EXAMPLES.get(stated["operationId"]) if "application/json" in content else None,
        guarded=bool(stated.get("security")),
        statuses=tuple(sorted(responses)),
        response=_type(schema) if schema else None,
    )


def _parameter(stated: Mapping[str, Any]) -> Field:
    return _field(stated["name"], stated["schema"], stated.get("required", False), stated["in"], stated)


def _fields(schema: Schema) -> Iterable[Field]:
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        yield _field(name, part, name in required)


def _field(name: str, schema: Schema, required: bool, place: str = "", stated: Schema | None = None) -> Field:
    default = schema.get("default")
    return Field(
        name=name,
        type=_type(schema),
        description=(stated or {}).get("description") or schema.get("description", ""),
        required=required,
        default="" if default is None or default == [] else json.dumps(default).strip('"'),
        place=place,
        choices=tuple(str(choice) for choice in schema.get("enum", ()) if choice is not None),
    )


def _type(schema: Schema) -> str:
    """A schema's type in words: `integer`, `list of text`, the name of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    branches = [branch for key in ("anyOf", "oneOf", "allOf") for branch in schema.get(key, ())]
    if branches:
        return " or ".join(dict.fromkeys(_type(branch) for branch in branches))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "file"
    return {"string": "text", "boolean": "true or false", "null": "null"}.get(kind, str(kind))
