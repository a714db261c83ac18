"""/healthz, /readyz and /metrics."""

from __future__ import annotations

from typing import Any

from flask import Response, current_app, jsonify
from flask_openapi3 import APIBlueprint, Tag
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from web import answers
from web.answers import replies
from web.state import state

api = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])


_OPEN: dict[str, Any] = {"security": []}
"""These two need no key, even where reading does."""


@api.get("/healthz", operation_id="healthz", openapi_extensions=_OPEN, responses=replies({"200": answers.Health}))
def healthz() -> Response:
    """Whether the server answers at all."""
    return jsonify({"status": "ok"})


@api.get(
    "/readyz",
    operation_id="readyz",
    openapi_extensions=_OPEN,
    responses=replies({"200": answers.Health, "503": answers.Health}),
)
def readyz() -> tuple[Response, int]:
    """Whether encoders and indexes are loaded."""
    ready = state().live.ready
    return jsonify({"status": "ok" if ready else "loading"}), 200 if ready else 503


@api.get(
    "/metrics",
    operation_id="metrics",
    responses=replies({"200": {"content": {"text/plain": {"schema": {"type": "string"}}}}}, 401),
)
def metrics() -> Response:
    """Numbers for Prometheus."""
    registry = current_app.extensions["kvasir metrics"].registry
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
