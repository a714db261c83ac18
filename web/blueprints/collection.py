"""The collection and its images: /api/v1/collection, /api/v1/images, and the pages that show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify, render_template, request
from flask_openapi3 import APIBlueprint, Tag

from indexer.near_duplicates import clusters
from retrieval.collection import Collection
from retrieval.filters import Filter
from retrieval.names import nfc
from web import responses
from web.access import WRITING, write_key_required
from web.context import collection, rebind, searcher, state
from web.errors import BadOptionError
from web.limits import rate_limited
from web.pages.forms import whole_number
from web.pictures import (
    THUMBNAIL,
    body_picture,
    draw_once,
    drawn,
    form_fields,
    form_picture,
    not_modified,
    picture_response,
    read_version,
    require_picture,
    version_of,
)
from web.requests import MAX_ID, ImageListing, ImagePath, NewPicture, PictureVersion, picture_body
from web.responses import collection_to_dict, hits_to_dict, image_to_dict, images_to_dicts, vectors_to_dict
from web.search import SearchOptions, parsing_turn, search
from web.served_picture import reduced, without_metadata

collection_api = APIBlueprint("collection", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="collection")])
api = APIBlueprint("images", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="images")])
blueprint = Blueprint("browse", __name__, url_prefix="/collection")

IMAGES_A_PAGE = 48
CLUSTERS_A_PAGE = 24
SHOWN_OF_CLUSTER = 12
_PICTURE = {"200": {"content": {"image/jpeg": {}, "image/png": {}}}, "304": {"description": "Not Modified"}}
_NEW_BODY = picture_body(NewPicture, "A picture as a form's part or as the whole body.")


# REST


@collection_api.get(
    "/collection",
    operation_id="get_collection",
    responses=responses.operation({"200": responses.CollectionInfo}, 400, 401),
)
def collection_info() -> Response:
    """The collection: its classes, and its spaces with how each was made."""
    return jsonify(collection_to_dict(collection(), searcher().engine))


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
    if response := not_modified("picture", version_of(opened, path.image_id)):
        return response
    with state().drawings.slot():
        version, data = read_version(opened, path.image_id)
        return picture_response(*drawn(without_metadata, data), "picture", version)


@api.get(
    "/images/<int:image_id>/thumbnail",
    operation_id="get_thumbnail",
    responses=responses.operation(_PICTURE, 400, 401, 404, 410, 415, 422, 503),
)
def thumbnail(path: ImagePath, query: PictureVersion) -> Response:
    """An image's picture with its longer side at most 320 pixels."""
    opened = collection()
    version = version_of(opened, path.image_id)
    if response := not_modified("thumbnail", version):
        return response

    def draw() -> tuple[str, bytes]:
        version, data = read_version(opened, path.image_id)
        return version, drawn(reduced, data, THUMBNAIL)

    version, data = draw_once("thumbnail", version, draw)
    return picture_response(data, "image/jpeg", "thumbnail", version)


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

    The same picture again is the same image; under another class it takes that one's place, with a new id, and
    without a class it keeps the one that it has.
    """
    class_name = query.class_name
    with parsing_turn():
        if request.mimetype == "multipart/form-data":
            class_name = NewPicture.model_validate(form_fields()).class_name or class_name
            data = form_picture()
        else:
            data = body_picture()
        require_picture(data)
    shared = state()
    with shared.writes.slot(), shared.decodings.slot():  # so that of many who add only one keeps uploads waiting
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
    shared, opened = state(), collection()
    shared.served.remove(path.image_id)
    if opened.images.position(path.image_id) is not None:
        shared.pictures.remove(("thumbnail", version_of(opened, path.image_id)))
    return "", 204


# Pages


@blueprint.get("/")
def overview() -> str:
    """Numbers by class, and the spaces with how each was made."""
    return render_template("overview.html", facts=collection_to_dict(collection(), searcher().engine))


@blueprint.get("/images/", endpoint="images")
def images_page() -> str:
    """Images of one class, of none where its name is empty, or all, page by page."""
    opened = collection()
    ids, labels = opened.images.ids, opened.images.labels
    unlabelled = ids[labels < 0]
    class_name = request.args.get("class")
    if class_name == "":
        ids = unlabelled
    elif class_name is not None:
        class_name = nfc(class_name)
        ids = Filter(classes=frozenset({class_name})).select(opened.images).ids
    page, pages = _page(len(ids), IMAGES_A_PAGE)
    shown = ids[(page - 1) * IMAGES_A_PAGE : page * IMAGES_A_PAGE].tolist()
    return render_template(
        "images.html",
        images=images_to_dicts(opened, shown),
        class_name=class_name,
        counts=dict(
            zip(opened.classes, np.bincount(labels[labels >= 0], minlength=len(opened.classes)).tolist(), strict=True)
        ),
        unlabelled=len(unlabelled),
        total=len(ids),
        page=page,
        pages=pages,
    )


@blueprint.get("/images/<int:image_id>", endpoint="image")
def image_page(image_id: int) -> str:
    """One image with its class, file, size, spaces, near duplicates and scene."""
    opened = collection()
    images = opened.images
    position = opened.position(min(image_id, MAX_ID))
    copies = images.ids[images.clusters == images.clusters[position]].tolist()
    scene = np.setdiff1d(images.scene_of(image_id), copies).tolist()
    return render_template(
        "image.html",
        image=image_to_dict(opened, image_id),
        marks=opened.marks_of(image_id),
        duplicates=_with_similarities(opened, image_id, [other for other in copies if other != image_id]),
        scene=images_to_dicts(opened, scene[:SHOWN_OF_CLUSTER]),
    )


@blueprint.get("/duplicates/")
def duplicates() -> str:
    """Clusters of near duplicates; those whose images have different classes first, as likely label errors."""
    opened = collection()
    every = clusters(opened)
    page, pages = _page(len(every), CLUSTERS_A_PAGE)
    return render_template(
        "duplicates.html",
        clusters=[
            {
                "id": cluster.id,
                "size": len(cluster.ids),
                "mixed": cluster.spans_classes,
                "images": _with_similarities(opened, cluster.ids[0], cluster.ids[:SHOWN_OF_CLUSTER]),
            }
            for cluster in every[(page - 1) * CLUSTERS_A_PAGE : page * CLUSTERS_A_PAGE]
        ],
        total=len(every),
        mixed=any(cluster.spans_classes for cluster in every),
        page=page,
        pages=pages,
    )


def _with_similarities(opened: Collection, first: int, others: Sequence[int]) -> list[dict[str, Any]]:
    """Images, each with its similarity to a first one in the default space; None where one has no vector there."""
    images = images_to_dicts(opened, others)
    default = opened.manifest.default
    vector = None if default is None else opened.vector(default.name, first)
    for image in images:
        other = None if default is None else opened.vector(default.name, image["id"])
        image["similarity"] = None
        if default is not None and vector is not None and other is not None:
            metric = searcher().metric(default.name)
            image["similarity"] = float(metric.scores(metric.distances(vector[None], other[None]))[0, 0])
    return images


def _page(count: int, size: int) -> tuple[int, int]:
    """The page that the address names, and how many there are. Raises BadOptionError."""
    pages = max(1, -(-count // size))
    text = request.args.get("page", "1")
    page = whole_number(text)
    if page is None or not 1 <= page <= pages:
        raise BadOptionError(f"there is no page '{text[:20]}'; they go from 1 to {pages}")
    return page, pages
