"""/api/v1/images: the collection's images, their pictures and neighbours; adding and removing them."""

from __future__ import annotations

import numpy as np
from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag

from retrieval.filters import Filter
from web import responses
from web.auth import WRITING, write_key_required
from web.context import collection, rebind, state
from web.limits import rate_limited
from web.pictures import THUMBNAIL, draw_once, etag, not_modified, picture_response, reduced, without_metadata
from web.requests import ImageListing, ImagePath, NewPicture, PictureVersion, field_values, picture_body
from web.responses import hits_to_dict, image_to_dict, images_to_dicts, vectors_to_dict
from web.search import SearchOptions, search
from web.uploads import body_picture, form_picture, require_picture

api = APIBlueprint("images", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="images")])

_PICTURE = {"200": {"content": {"image/jpeg": {}, "image/png": {}}}, "304": {"description": "Not Modified"}}
_NEW_BODY = picture_body(NewPicture, "A picture as a form's part or as the whole body.")


@api.get(
    "/images",
    operation_id="list_images",
    responses=responses.operation({"200": responses.ImagePage}, 400, 401, 422),
)
def list_images(query: ImageListing) -> Response:
    """List images in order of their ids."""
    opened = collection()
    classes = None if query.class_name is None else frozenset({query.class_name})
    ids = Filter(classes=classes).select(opened.images).ids
    start = 0 if query.cursor is None else int(np.searchsorted(ids, query.cursor))
    end = start + query.limit
    following = str(ids[end]) if end < len(ids) else None
    images = images_to_dicts(opened, ids[start:end].tolist())
    return jsonify({"images": images, "total": len(ids), "next": following})


@api.get(
    "/images/<int:image_id>",
    operation_id="get_image",
    responses=responses.operation({"200": responses.Image}, 400, 401, 404, 422),
)
def image(path: ImagePath) -> Response:
    """An image: its class, file, size, cluster and spaces."""
    return jsonify(image_to_dict(collection(), path.image_id))


@api.get(
    "/images/<int:image_id>/picture",
    operation_id="get_picture",
    responses=responses.operation(_PICTURE, 400, 401, 404, 410, 415, 422, 503),
)
def picture(path: ImagePath, query: PictureVersion) -> Response:
    """An image's picture at full size, without metadata."""
    opened = collection()
    opened.position(path.image_id)
    name = f"picture-{path.image_id}"
    if response := not_modified(name):
        return response
    with state().drawings.slot():
        return picture_response(*without_metadata(opened.read(path.image_id)), name)


@api.get(
    "/images/<int:image_id>/thumbnail",
    operation_id="get_thumbnail",
    responses=responses.operation(_PICTURE, 400, 401, 404, 410, 415, 422, 503),
)
def thumbnail(path: ImagePath, query: PictureVersion) -> Response:
    """An image's picture with its longer side at most 320 pixels."""
    opened = collection()
    opened.position(path.image_id)
    name = f"thumbnail-{path.image_id}"
    if response := not_modified(name):
        return response
    data = draw_once(name, lambda: reduced(opened.read(path.image_id), THUMBNAIL))
    return picture_response(data, "image/jpeg", name)


@api.get(
    "/images/<int:image_id>/vectors",
    operation_id="get_vectors",
    responses=responses.operation({"200": responses.ImageVectors}, 400, 401, 404, 422),
)
def vectors(path: ImagePath) -> Response:
    """An image's vector in each space; searched by `POST /search`, each finds what the image itself finds."""
    return jsonify(vectors_to_dict(collection(), path.image_id))


@api.get(
    "/images/<int:image_id>/similar",
    operation_id="similar_images",
    responses=responses.operation({"200": responses.Hits}, 400, 401, 404, 410, 414, 422, 429, 503),
)
@rate_limited
def similar(path: ImagePath, query: SearchOptions) -> Response:
    """Find the images most similar to one of the collection."""
    return jsonify(hits_to_dict(search(path.image_id, query), query.k))


@api.post(
    "/images",
    operation_id="add_image",
    openapi_extensions={"requestBody": _NEW_BODY},
    security=WRITING,
    responses=responses.operation(
        {"200": responses.Image, "201": responses.Image}, 400, 401, 403, 408, 413, 415, 422, 429, 503, 507
    ),
)
@write_key_required
@rate_limited
def add_image(query: NewPicture) -> tuple[Response, int, dict[str, str]]:
    """Add a picture: it is stored in the collection's folder and indexed in every space; needs a key that may write.

    The same picture again is the same image; under another class it takes that one's place, with a new id.
    """
    class_name = query.class_name
    if request.mimetype == "multipart/form-data":
        class_name = NewPicture.model_validate(field_values(request.form)).class_name or class_name
        data = form_picture()
    else:
        data = body_picture()
    require_picture(data)
    shared = state()
    with shared.writes.slot(), shared.searches.slot():  # so that of many who add only one keeps searches waiting
        image_id, new = shared.served.add(data, class_name)
    rebind(shared.served.searcher)
    body = image_to_dict(collection(), image_id)
    return jsonify(body), 201 if new else 200, {"Location": body["links"]["self"]}


@api.delete(
    "/images/<int:image_id>",
    operation_id="remove_image",
    security=WRITING,
    responses=responses.operation({"204": None}, 400, 401, 403, 404, 422, 429, 503, 507),
)
@write_key_required
@rate_limited
def remove_image(path: ImagePath) -> tuple[str, int]:
    """Remove an image; its id never comes back. Needs a key that may write."""
    shared = state()
    shared.served.remove(path.image_id)
    shared.pictures.remove(etag(f"thumbnail-{path.image_id}"))
    return "", 204
