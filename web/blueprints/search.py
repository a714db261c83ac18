"""POST /api/v1/search."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag

from retrieval import hits as engine
from web import answers
from web.answers import replies
from web.bodies import picture_body
from web.described import linker
from web.question import Asked, SearchBody, SearchOptions, UnsupportedBodyError, fields_of, search
from web.rate import limited

api = APIBlueprint("search", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="search")])

_BODY = picture_body(
    SearchOptions,
    "A picture as a form's part or as the whole body, or JSON. Options stand in the address, or with the picture in "
    "the form or JSON, where they come first.",
    **{"application/json": {"schema": SearchBody.model_json_schema()}},
)


@api.post(
    "/search",
    operation_id="search",
    openapi_extensions={"requestBody": _BODY},
    responses=replies({"200": answers.Hits}, 400, 401, 404, 408, 410, 413, 415, 422, 429, 503),
)
@limited
def search_by_anything(query: SearchOptions) -> Response:
    """Find the images most similar to a picture, an image of the collection, or a vector."""
    asked, fields = _asked()
    options = SearchOptions.model_validate(query.model_dump(exclude_unset=True) | fields)
    return jsonify(answer(search(asked, options), options.k))


def _asked() -> tuple[Asked, dict[str, Any]]:
    kind = request.mimetype
    if kind == "application/json":
        body = SearchBody.model_validate_json(request.get_data(), strict=True)
        fields = body.model_dump(exclude_unset=True, exclude={"image", "image_id", "vector"})
        return body.asked(), fields
    if kind == "multipart/form-data":
        file = request.files.get("image")
        form = SearchOptions.model_validate(fields_of(request.form))
        return (file.read() if file else b""), form.model_dump(exclude_unset=True)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return request.get_data(), {}
    raise UnsupportedBodyError(
        f"a body of type '{kind or 'none'}' is not understood: send multipart/form-data, image/* or application/json"
    )


def answer(hits: engine.Hits, k: int) -> dict[str, Any]:
    """The hits as the API gives them."""
    fields = hits.to_json()
    links = linker()
    for hit in fields["hits"]:
        hit["links"] = links(hit["id"])
    shares = {name or "": count for name, count in hits.class_counts.items()}
    return fields | {"k": k, "class_shares": shares}
