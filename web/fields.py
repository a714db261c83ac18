"""What requests say, as models whose JSON schema is made once."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError


class Fields(BaseModel):
    """A model of a request. flask-openapi3 asks for its schema at every request, which takes longer than a search."""

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **more: Any) -> dict[str, Any]:  # type: ignore[override]
        """The JSON schema; whoever asks must not change it."""
        return super().model_json_schema(*args, **more)


def form_properties(model: type[Fields]) -> dict[str, Any]:
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


def faults_of(error: ValidationError) -> list[tuple[str, str]]:
    """The fields that do not fit, by their path and at most 100 characters of it, each with what is wrong."""
    return [
        (".".join(map(str, fault["loc"]))[:100], fault["msg"].removeprefix("Value error, "))
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
