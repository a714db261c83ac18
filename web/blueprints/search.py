"""POST /api/v1/search."""

from __future__ import annotations

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag

from retrieval.query import QueryLike
from web import responses
from web.limits import rate_limited
from web.pictures import body_picture, form_picture
from web.requests import field_values, json_body, picture_body
from web.responses import hits_to_dict
from web.search import SearchBody, SearchOptions, search

api = APIBlueprint("search", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="search")])

_BODY = picture_body(
    SearchOptions,
    "A picture as a form's part or as the whole body, or JSON. Options stand in the address, or with the picture in "
    "the form or JSON, where they come first.",
    **json_body(SearchBody),
)


@api.post(
    "/search",
    operation_id="search",
    openapi_extensions={"requestBody": _BODY},
    responses=responses.operation({"200": responses.Hits}, 400, 401, 404, 408, 410, 413, 414, 415, 422, 429, 503),
)
@rate_limited
def search_by_anything(query: SearchOptions) -> Response:
    """Find the images most similar to a picture, an image of the collection, a vector, or several of these together."""
    searched_for, options = _query_and_options(query)
    return jsonify(hits_to_dict(search(searched_for, options), options.k))


def _query_and_options(options: SearchOptions) -> tuple[QueryLike, SearchOptions]:
    if request.mimetype == "application/json":
        body = SearchBody.model_validate_json(request.get_data(), strict=True)
        return body.to_query(), options.overridden_by(body)
    if request.mimetype == "multipart/form-data":
        form = SearchOptions.model_validate(field_values(request.form))
        return form_picture(), options.overridden_by(form)
    return body_picture(), options
