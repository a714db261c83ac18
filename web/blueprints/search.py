"""POST /api/v1/search, /api/v1/search/classes and /api/v1/search/batch."""

from __future__ import annotations

from hashlib import sha256

from flask import Response, g, jsonify, request
from flask_openapi3 import APIBlueprint, Tag

from indexer.near_duplicates.uploads import Copies
from retrieval.embedder import EmbeddedQuery
from retrieval.errors import PictureError, RetrievalError
from retrieval.query import QueryLike
from web import responses
from web.copies import copies_of
from web.errors import NoPictureError, SeveralPicturesError, UnsupportedBodyError
from web.limits import rate_limited, rate_limited_by
from web.pictures import body_picture, checked, form_fields, form_picture, form_pictures
from web.problems import problem_of
from web.requests import json_body, picture_body, pictures_body, require_bounded_body
from web.responses import hits_to_dict
from web.search import (
    MAX_BATCH,
    MAX_BATCH_HITS,
    MAX_BATCH_PIXELS,
    BatchBody,
    BatchItem,
    SearchBody,
    SearchOptions,
    parsing_turn,
    search,
    search_batch,
    search_classes,
)

api = APIBlueprint("search", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="search")])

_BODY = picture_body(
    SearchOptions,
    "A picture as a form's part or as the whole body, or JSON. Options stand in the address, or with the picture in "
    "the form or JSON, where they come first.",
    **json_body(SearchBody),
)
_BATCH_BODY = pictures_body(
    SearchOptions,
    MAX_BATCH,
    f"Searches in JSON, or pictures as a form's parts `image`: at most {MAX_BATCH} of either, {MAX_BATCH_HITS:,} hits "
    f"together, and together as many pixels as {MAX_BATCH_PIXELS} pictures of the largest size that the server takes "
    "(`--max-pixels`); as a request no larger than one that searches by a single picture of the most bytes "
    "(`--max-upload`).",
    **json_body(BatchBody),
)


@api.post(
    "/search",
    operation_id="search",
    openapi_extensions={"requestBody": _BODY},
    responses=responses.operation({"200": responses.Hits}, 400, 401, 403, 404, 408, 410, 413, 414, 415, 422, 429, 503),
)
@rate_limited
def search_by_anything(query: SearchOptions) -> Response:
    """Find the images most similar to a picture, an image of the collection, a vector, or several of these together."""
    with parsing_turn():
        searched_for, options = _query_and_options(query)
    copies: Copies | None = None

    def adjusted(embedded: EmbeddedQuery) -> SearchOptions:
        nonlocal copies
        if options.copies and isinstance(searched_for, bytes):
            whole = embedded if options.region is None and options.feedback() is None else None
            copies = copies_of(sha256(searched_for).hexdigest(), searched_for, whole)
        return options

    hits = search(searched_for, options, adjusted)
    return jsonify(hits_to_dict(hits, options.k, None if copies is None else (copies.ids, copies.exact)))


@api.post(
    "/search/classes",
    operation_id="search_classes",
    openapi_extensions={"requestBody": _BODY},
    responses=responses.operation(
        {"200": responses.NearestOfClasses}, 400, 401, 403, 404, 408, 410, 413, 414, 415, 422, 429, 503
    ),
)
@rate_limited
def search_each_class(query: SearchOptions) -> Response:
    """Find the k most similar images of each class, to compare a picture with all that it may be taken for."""
    with parsing_turn():
        searched_for, options = _query_and_options(query)
    nearest = search_classes(searched_for, options)
    return jsonify(
        {"classes": [{"class": name, "hits": hits_to_dict(hits, options.k)} for name, hits in nearest.items()]}
    )


@api.post(
    "/search/batch",
    operation_id="search_batch",
    openapi_extensions={"requestBody": _BATCH_BODY},
    responses=responses.operation({"200": responses.BatchResults}, 400, 401, 403, 408, 413, 414, 415, 422, 429, 503),
)
@rate_limited_by(lambda: len(_batch()))
def search_by_many(query: SearchOptions) -> Response:
    """Find the images most similar to each of many queries; those of equal options are one call of the index.

    The results are in the order of the searches. A search with an unusable picture or an unknown image has a problem
    document as its result, and the others have their hits; a request that does not fit is refused as a whole. For the
    rate, it counts as that many searches.
    """
    items = _batch()
    results = search_batch(items, query)
    return jsonify(
        {
            "results": [
                problem_of(result)
                if isinstance(result, RetrievalError)
                else hits_to_dict(result, query.overridden_by(item.options).k)
                for item, result in zip(items, results, strict=True)
            ]
        }
    )


def _query_and_options(options: SearchOptions) -> tuple[QueryLike, SearchOptions]:
    if request.mimetype == "application/json":
        body = SearchBody.model_validate_json(request.get_data(), strict=True)
        return body.to_query(), options.overridden_by(body)
    if request.mimetype == "multipart/form-data":
        form = SearchOptions.model_validate(form_fields())
        return form_picture(), options.overridden_by(form)
    return body_picture(), options


def _batch() -> list[BatchItem]:
    """The searches of the request's body, read once: their number counts for the rate before they are run."""
    if "batch" not in g:
        with parsing_turn():
            g.batch = _read_batch()
    items: list[BatchItem] = g.batch
    return items


def _read_batch() -> list[BatchItem]:
    if request.mimetype == "application/json":
        return BatchBody.model_validate_json(request.get_data(), strict=True).to_items()
    if request.mimetype != "multipart/form-data":
        require_bounded_body()
        raise UnsupportedBodyError("send searches as application/json, or pictures as multipart/form-data")
    options = SearchOptions.model_validate(form_fields())
    pictures = form_pictures()
    if not pictures:
        raise NoPictureError("the form has no picture: send each as a part `image`")
    if len(pictures) > MAX_BATCH:
        raise SeveralPicturesError(f"the form has {len(pictures)} pictures; the limit of a batch is {MAX_BATCH}")
    return [BatchItem(_checked(data), options) for data in pictures]


def _checked(data: bytes) -> bytes | RetrievalError:
    try:
        return checked(data)
    except (PictureError, NoPictureError) as error:
        return error
