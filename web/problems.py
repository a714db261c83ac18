"""Errors as answers: problem documents (RFC 9457) for programs, pages for people."""

from __future__ import annotations

import logging
import re
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException, InternalServerError, RequestEntityTooLarge, RequestTimeout

from retrieval.collection import CollectionBusyError, DiskFullError, NoSuchImageError, PictureGoneError, SpaceNameError
from retrieval.errors import PictureError, QueryError, RetrievalError
from retrieval.images import PictureTooLargeError, UnknownFormatError
from retrieval.report.kept import NotEvaluatedError
from web.access import KeyNeededError, KeyRefusedError
from web.fields import faults_of
from web.gate import BusyError
from web.jobs import JobRunningError
from web.kept_queries import QueryGoneError
from web.origin import ForeignHostError, ForeignPageError, host_is_trusted
from web.question import UnsupportedBodyError, UploadTooLargeError
from web.state import state

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[RetrievalError], int] = {
    ForeignHostError: 400,
    KeyNeededError: 401,
    KeyRefusedError: 403,
    ForeignPageError: 403,
    NoSuchImageError: 404,
    NotEvaluatedError: 404,
    JobRunningError: 409,
    PictureGoneError: 410,
    QueryGoneError: 410,
    PictureTooLargeError: 413,
    UploadTooLargeError: 413,
    UnknownFormatError: 415,
    UnsupportedBodyError: 415,
    BusyError: 503,
    CollectionBusyError: 503,
    DiskFullError: 507,
    PictureError: 422,
    QueryError: 422,
    SpaceNameError: 422,
}
"""What each error is to a client; the first class that fits counts, and any other is the server's own fault."""

FAULTS = 20
"""Fields of one request that are told of; a vector could have a hundred thousand that do not fit."""

DRAINED = 64 * 2**20
"""Bytes of a refused body that are still read, so that a client sees the answer, and its connection lasts."""


class Fault(BaseModel):
    """One field that does not fit."""

    field: str
    message: str


class Problem(BaseModel):
    """A problem document."""

    type: str = Field(description="Names the kind of problem; stable.", examples=["urn:kvasir:unknown-format"])
    title: str = Field(description="The kind of problem in words.")
    status: int
    detail: str = Field(description="What is wrong this time, and what to do.")
    request_id: str = Field(description="Also in the X-Request-ID header and in the server's log.")
    faults: list[Fault] | None = Field(None, description=f"The fields that do not fit, at most {FAULTS}.")


def status_of(error: RetrievalError) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def register_problems(app: Flask) -> None:
    """Answer every error with a problem document under /api and for programs, and with a page elsewhere."""
    app.register_error_handler(RetrievalError, _on_error)
    app.register_error_handler(HTTPException, _on_http)
    app.register_error_handler(ValidationError, on_validation)


def on_validation(error: ValidationError) -> Response:
    """Answer a request whose fields do not fit."""
    faults = [{"field": field or "body", "message": message} for field, message in faults_of(error)[:FAULTS]]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults[:3])
    return _answer(422, "urn:kvasir:invalid-request", "The request does not fit.", detail, faults)


def _on_error(error: RetrievalError) -> Response:
    status = status_of(error)
    kind = type(error).__name__.removesuffix("Error")
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", kind).lower()
    title = (type(error).__doc__ or kind).splitlines()[0]
    if status == 500:
        log.error("%s: %s", type(error).__name__, error)
        return _answer(500, f"urn:kvasir:{name}", title, "The server's log has the details under this request id.")
    detail = _without_places(str(error))
    response = _answer(status, f"urn:kvasir:{name}", title, detail)
    if isinstance(error, KeyNeededError):
        # To read, a browser may ask its user for a password, for pictures and the API's documentation as well.
        for scheme in ("Basic", "Bearer") if error.scope == "read" else ("Bearer",):
            response.headers.add("WWW-Authenticate", f'{scheme} realm="kvasir"')
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def _without_places(text: str) -> str:
    """A message without where the collection and its pictures lie, which a client is not told."""
    held = state().live
    collection = held.searcher.collection
    for path in sorted((path for path, _ in collection.images.source_paths if path.name), reverse=True):
        text = text.replace(str(path), path.name)
    return text.replace(str(held.path), collection.manifest.name)


def _on_http(error: HTTPException) -> Response:
    status = error.code or 500
    if isinstance(error, InternalServerError):
        detail = "The server's log has the details under this request id."
    else:
        detail = error.description or error.name
    if isinstance(error, RequestEntityTooLarge):
        limit = state().settings.max_upload
        detail = f"A picture may have at most {limit / 2**20:g} MiB."
        if (request.content_length or limit + 1) <= limit:  # so it is a field that has more than fields may
            detail = "A field of the form is too long. Send the picture as a file (with curl: -F image=@FILE)."
    if status == 429:
        detail = f"this server takes {detail} of searches and writes from one client; Retry-After says when to go on"
    if error.response is not None and status < 400:
        return error.response  # type: ignore[return-value]  # a redirect that was raised
    response = _answer(status, f"urn:kvasir:{error.name.lower().replace(' ', '-')}", error.name, detail)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _drain() -> None:
    """Read what a refused request still sends: gunicorn would close the connection though it promised to keep it."""
    stream = request.environ["wsgi.input"]
    chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
    left = DRAINED if chunked else min(request.content_length or 0, DRAINED)
    try:
        while left > 0 and (part := stream.read(min(left, 1 << 16))):
            left -= len(part)
    except (OSError, RequestTimeout):
        return  # the client has gone, or is silent


def wants_json() -> bool:
    """Whether a program asks: of the API and the server's health always, elsewhere where JSON is preferred to HTML."""
    if request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
        return True
    if not host_is_trusted():  # a page would need its style and tell the collection's name
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"], "text/html")
    return best == "application/json"


def _answer(status: int, kind: str, title: str, detail: str, faults: list[dict[str, Any]] | None = None) -> Response:
    if status != 408:
        _drain()
    if wants_json():
        document: dict[str, Any] = {
            "type": kind,
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": g.get("request_id", ""),
        }
        if faults:
            document["faults"] = faults
        response = jsonify(document)
        response.content_type = MEDIA_TYPE
    else:
        kind = kind.removeprefix("urn:kvasir:")
        response = Response(render_template("problem.html", status=status, kind=kind, title=title, detail=detail))
    response.status_code = status
    return response
