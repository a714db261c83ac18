"""What requests say, as models whose JSON schema is made once."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel


class Fields(BaseModel):
    """A model of a request. flask-openapi3 asks for its schema at every request, which takes longer than a search."""

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **more: Any) -> dict[str, Any]:  # type: ignore[override]
        """The JSON schema; whoever asks must not change it."""
        return super().model_json_schema(*args, **more)
