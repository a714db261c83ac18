"""The OpenAPI document and a page that shows it, served from here alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Blueprint, current_app, render_template

from web.access import READING
from web.state import state

blueprint = Blueprint(
    "documentation",
    __name__,
    url_prefix="/api/v1",
    static_folder=str(Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"),
    static_url_path="/swagger",
)


@blueprint.get("/openapi.json")
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    found: dict[str, Any] = current_app.api_doc  # type: ignore[attr-defined]
    return found | {"security": READING} if state().settings.reading_needs_key else found


@blueprint.get("/docs")
def page() -> str:
    """The API's documentation, with a way to try it."""
    return render_template("documentation.html")
