"""Errors as responses: problem documents (RFC 9457) for programs, pages for people, a placeholder for a picture."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request, url_for
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound, RequestEntityTooLarge

from retrieval.collection import CollectionBusyError, NoSuchImageError, PictureGoneError, SpaceNameError
from retrieval.collection.vectors import ReplacedCollectionError, ShortVectorsError
from retrieval.disk import DiskFullError
from retrieval.errors import EvaluationError, PictureError, QueryError, RemoteIndexError, RetrievalError
from retrieval.evaluation.store import StoredEvaluationError
from retrieval.headers import PictureTooLargeError
from retrieval.images import UnknownFormatError
from retrieval.report.store import NotEvaluatedError
from retrieval.sources.address import location_url
from retrieval.space_map.store import NoMapError
from web import errors
from web.access import host_is_trusted
from web.context import state
from web.requests import field_faults

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[RetrievalError], int] = {
    errors.ForeignHostError: 400,
    errors.BadPrefixError: 400,
    errors.KeyNeededError: 401,
    errors.KeyRefusedError: 403,
    errors.ForeignPageError: 403,
    errors.TooManyKeysError: 429,
    NoSuchImageError: 404,
    NotEvaluatedError: 404,
    NoMapError: 404,
    errors.JobRunningError: 409,
    PictureGoneError: 410,
    errors.QueryGoneError: 410,
    errors.SelectionGoneError: 410,
    StoredEvaluationError: 410,
    PictureTooLargeError: 413,
    errors.UploadTooLargeError: 413,
    errors.BatchTooLargeError: 413,
    UnknownFormatError: 415,
    errors.UnsupportedBodyError: 415,
    errors.BusyError: 503,
    CollectionBusyError: 503,
    ShortVectorsError: 503,
    ReplacedCollectionError: 503,
    RemoteIndexError: 503,
    DiskFullError: 507,
    PictureError: 422,
    QueryError: 422,
    EvaluationError: 422,
    SpaceNameError: 422,
}
"""The HTTP status of each error; the first class that fits counts, and any other is the server's own fault, 500."""

_TITLES = {
    413: "Too many bytes were sent",
    429: "Too many searches in a short time",
    500: "The server has failed",
}
"""What pages say in place of the status's name."""
MAX_FAULTS = 20
"""Fields of one request that a problem lists; a vector could have a hundred thousand that do not fit."""

_WORD = r"""[^/\s'"`,;()]+"""
_FILE = r"(?:jpe?g|png|tiff?|bmp|webp|zip|npy|npz|csv|tsv|json|sqlite|faiss|float32|float64|safetensors|pth?|toml|lock)"
"""Endings after which a blank is the end of a path and not a part of a folder's name."""
_FOLDER = rf"(?: (?! {_WORD} (?: \.{_FILE} | : ) \ ) {_WORD} \ ){{0,5}} {_WORD} /"
"""A folder's name may have blanks: as many words as names have, before a slash."""
_PATH = re.compile(
    rf"""
    (?: (?<![\w./…*-]) | (?<=//) ) / (?: {_FOLDER} )* ({_WORD})
    | \b [A-Za-z]: \\ (?: [^\\\s'"]+ (?: \ [^\\\s'"]+ ){{0,5}} \\ )* ([^\\\s'"]+)
    """,
    re.VERBOSE,
)
"""An absolute path in a text, and its last part."""


_PICTURES = frozenset({"images.picture", "images.thumbnail", "pages.query_picture"})
"""Endpoints whose responses a page shows as pictures."""


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
    faults: list[Fault] | None = Field(None, description=f"The fields that do not fit, at most {MAX_FAULTS}.")


def status_of(error: RetrievalError) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def register_problems(app: Flask) -> None:
    """Turn every error into a problem document under /api and for programs, and into a page elsewhere."""
    app.register_error_handler(RetrievalError, _on_error)
    app.register_error_handler(HTTPException, _on_http)
    app.register_error_handler(ValidationError, on_validation)


def on_validation(error: ValidationError) -> Response:
    """The response to a request whose fields do not fit."""
    faults = [{"field": field or "body", "message": message} for field, message in field_faults(error)[:MAX_FAULTS]]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults[:3])
    return _response(422, "urn:kvasir:invalid-request", "The request does not fit.", detail, faults)


def problem_of(error: RetrievalError) -> dict[str, Any]:
    """The problem document of an error, without what the server keeps to itself."""
    status = status_of(error)
    kind = type(error).__name__.removesuffix("Error")
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", kind).lower()
    title = (type(error).__doc__ or kind).splitlines()[0]
    if status == 500 or isinstance(error, RemoteIndexError):
        detail = "The server's log has the details under this request id."
    else:
        detail = without_server_paths(str(error), state().served.path_names())
    return _document(status, f"urn:kvasir:{name}", title, detail)


def _on_error(error: RetrievalError) -> Response:
    problem = problem_of(error)
    status: int = problem["status"]
    if status == 500 or isinstance(error, RemoteIndexError):
        log.error("%s: %s", type(error).__name__, error)
    response = _response(status, problem["type"], problem["title"], problem["detail"])
    if isinstance(error, errors.KeyNeededError):
        # To read, a browser may ask its user for a password, for pictures and the API's documentation as well.
        for scheme in ("Basic", "Bearer") if error.scope == "read" else ("Bearer",):
            response.headers.add("WWW-Authenticate", f'{scheme} realm="kvasir"')
    if isinstance(error, errors.TooManyKeysError):
        response.headers["Retry-After"] = str(error.retry_after)
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def without_server_paths(text: str, names: Mapping[Path, str]) -> str:
    """A text without the paths of the server, for clients.

    Paths of `names` go by these names, what lies elsewhere by its own name alone.
    """
    forms = {path: (path, path.resolve(), location_url(path)) for path in names}
    known = {str(form): name for path, name in names.items() for form in forms[path] if form and name}
    parents = {str(parent) for path in known for parent in Path(path).parents if parent.name}
    # The longest first: a source may be a parent folder of the collection, whose own path would be cut in two.
    if known:
        longest = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
        # Not where the name goes on: `data.old`, `data 2/x`.
        text = re.sub(rf"({longest})(?![\w-]|\.\w| {_WORD}/)", lambda match: known[match[0]], text)
    for path in sorted(parents, key=len, reverse=True):  # whose names may have any characters
        text = text.replace(f"{path}/", "/")
    return _PATH.sub(lambda match: f"…/{match[1] or match[2]}", text)


def _on_http(error: HTTPException) -> Response:
    status = error.code or 500
    if isinstance(error, InternalServerError):
        detail = "The server's log has the details under this request id."
    else:
        detail = error.description or error.name
    if detail == type(error).description and wants_json():  # else a page or we have said what is missing
        if isinstance(error, NotFound):
            detail = f"nothing is at {request.path[:100]}; {url_for('documentation.document')} lists the addresses"
        elif isinstance(error, MethodNotAllowed):
            allowed = ", ".join(sorted(set(error.valid_methods or ()) - {"OPTIONS"}))
            detail = f"{request.path[:100]} takes {allowed}, not {request.method[:20]}"
    if isinstance(error, RequestEntityTooLarge):
        limit = state().settings.max_upload
        detail = f"A picture may have at most {limit / 2**20:g} MiB."
        if request.path.endswith("/batch"):
            most = (request.max_content_length or 0) / 2**20
            detail = f"A request may have at most {most:.1f} MiB; send the batch in parts."
        elif (request.content_length or limit + 1) <= limit:  # so it is a field that has more than fields may
            detail = "A field of the form is too long. Send the picture as a file (with curl: -F image=@FILE)."
    if status == 429:
        what = "search or write" if detail.startswith("1 ") else "searches and writes"
        rate = detail.replace(" per 1 ", " per ").replace(" per ", f" {what} per ", 1)
        detail = f"this server takes {rate} of one client; Retry-After says when to go on"
    if error.response is not None and status < 400:
        return error.response  # type: ignore[return-value]  # a redirect that was raised
    title = error.name if wants_json() else _TITLES.get(status, error.name)
    response = _response(status, f"urn:kvasir:{error.name.lower().replace(' ', '-')}", title, detail)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def wants_json() -> bool:
    """Whether a program sent the request: under /api and /healthz always, elsewhere where it prefers JSON to HTML."""
    if request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
        return True
    if not host_is_trusted():  # a page would need its style and show the collection's name
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"], "text/html")
    return best == "application/json"


def _wants_picture() -> bool:
    """Whether a page's `<img>` sent the request: it shows what comes with whatever status, if it is a picture."""
    if request.endpoint not in _PICTURES:
        return False
    accepted = request.accept_mimetypes
    return accepted["image/svg+xml"] > accepted["application/json"]


def _document(status: int, kind: str, title: str, detail: str) -> dict[str, Any]:
    return {"type": kind, "title": title, "status": status, "detail": detail, "request_id": g.get("request_id", "")}


def _response(status: int, kind: str, title: str, detail: str, faults: list[dict[str, Any]] | None = None) -> Response:
    if _wants_picture():
        placeholder = Path(__file__).with_name("static") / "no-picture.svg"
        response = Response(placeholder.read_bytes(), mimetype="image/svg+xml")
    elif wants_json():
        document = _document(status, kind, title, detail)
        if faults:
            document["faults"] = faults
        response = jsonify(document)
        response.content_type = MEDIA_TYPE
    else:
        kind = kind.removeprefix("urn:kvasir:")
        told = {"kind": kind, "title": title, "detail": detail, "request_id": g.get("request_id", "")}
        response = Response(render_template("problem.html", status=status, **told))
    response.status_code = status
    if request.endpoint in _PICTURES:
        response.vary.add("Accept")
    return response
