"""The service itself: /healthz, /readyz, /metrics, the OpenAPI document and a page that shows it, served from here."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, render_template, request
from flask_openapi3 import APIBlueprint, Tag
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from web import responses
from web.access import READING
from web.context import state
from web.documentation import documentation_of
from web.query_examples import query_examples

api = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])
blueprint = Blueprint("documentation", __name__, url_prefix="/api/v1")

_OPEN: dict[str, Any] = {"security": []}
"""For what needs no key, even where reading does."""


@api.get(
    "/healthz",
    operation_id="healthz",
    openapi_extensions=_OPEN,
    responses=responses.operation({"200": responses.Health}),
)
def healthz() -> Response:
    """Whether the server is alive."""
    return jsonify({"status": "ok"})


@api.get(
    "/readyz",
    operation_id="readyz",
    openapi_extensions=_OPEN,
    responses=responses.operation({"200": responses.Health, "503": responses.Health}),
)
def readyz() -> tuple[Response, int]:
    """Whether encoders and indexes are loaded."""
    ready = state().served.ready
    return jsonify({"status": "ok" if ready else "loading"}), 200 if ready else 503


@api.get(
    "/metrics",
    operation_id="metrics",
    responses=responses.operation({"200": {"content": {"text/plain": {"schema": {"type": "string"}}}}}, 401),
)
def metrics() -> Response:
    """Numbers for Prometheus."""
    registry = current_app.extensions["kvasir metrics"].registry
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


@blueprint.get("/openapi.json")
def document() -> Response:
    """The OpenAPI document, which takes longer to write as JSON than a search."""
    if request.script_root:
        return jsonify(_document() | {"servers": [{"url": request.script_root}]})
    text: str | None = current_app.extensions.get("kvasir document")
    if text is None:
        text = current_app.extensions["kvasir document"] = current_app.json.dumps(_document())
    return Response(text, mimetype="application/json")


def _document() -> dict[str, Any]:
    api_doc: dict[str, Any] = current_app.api_doc  # type: ignore[attr-defined]
    for methods in api_doc["paths"].values():
        for operation in methods.values():
            if "description" in operation:  # flask-openapi3 joins the lines of a docstring by <br/>
                operation["description"] = " ".join(operation["description"].replace("<br/>", " ").split())
    return api_doc | ({"security": READING} if state().settings.require_key else {})


@blueprint.get("/docs")
def page() -> str:
    """The API's documentation, with a way to try it."""
    docs = documentation_of(_document())
    return render_template("documentation.html", docs=docs, examples=query_examples())
