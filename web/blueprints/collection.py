"""The collection: /api/v1/collection, and the pages of its classes, images and near duplicates."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, render_template, request
from flask_openapi3 import APIBlueprint, Tag

from indexer.duplicates import clusters
from retrieval.names import nfc
from web import responses
from web.context import collection
from web.errors import BadOptionError
from web.forms import whole_number
from web.requests import MAX_ID
from web.responses import collection_to_dict, image_to_dict, images_to_dicts

api = APIBlueprint("collection", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="collection")])
blueprint = Blueprint("browse", __name__, url_prefix="/collection")

IMAGES_A_PAGE = 48
CLUSTERS_A_PAGE = 24
SHOWN_OF_CLUSTER = 12


@api.get(
    "/collection",
    operation_id="get_collection",
    responses=responses.operation({"200": responses.CollectionInfo}, 400, 401),
)
def collection_info() -> Response:
    """The collection: its classes, and its spaces with how each was made."""
    return jsonify(collection_to_dict(collection()))


@blueprint.get("/")
def overview() -> str:
    """Numbers by class, and the spaces with how each was made."""
    return render_template("overview.html", facts=collection_to_dict(collection()))


@blueprint.get("/images/")
def images() -> str:
    """Images of one class, of none where its name is empty, or all, page by page."""
    opened = collection()
    ids, labels = opened.images.ids, opened.images.labels
    unlabelled = ids[labels < 0]
    class_name = request.args.get("class")
    if class_name == "":
        ids = unlabelled
    elif class_name is not None:
        class_name = nfc(class_name)
        ids = ids[labels == opened.classes.index(class_name)] if class_name in opened.classes else ids[:0]
    page, pages = _page(len(ids), IMAGES_A_PAGE)
    shown = ids[(page - 1) * IMAGES_A_PAGE : page * IMAGES_A_PAGE].tolist()
    return render_template(
        "images.html",
        images=images_to_dicts(opened, shown),
        class_name=class_name,
        unlabelled=len(unlabelled),
        total=len(ids),
        page=page,
        pages=pages,
    )


@blueprint.get("/images/<int:image_id>")
def image(image_id: int) -> str:
    """One image with its class, file, size, spaces and near duplicates."""
    opened = collection()
    images = opened.images
    position = opened.position(min(image_id, MAX_ID))
    copies = images.ids[images.clusters == images.clusters[position]].tolist()
    return render_template(
        "image.html",
        image=image_to_dict(opened, image_id),
        duplicates=images_to_dicts(opened, [other for other in copies if other != image_id]),
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
                "size": len(cluster.ids),
                "mixed": cluster.spans_classes,
                "images": images_to_dicts(opened, cluster.ids[:SHOWN_OF_CLUSTER]),
            }
            for cluster in every[(page - 1) * CLUSTERS_A_PAGE : page * CLUSTERS_A_PAGE]
        ],
        total=len(every),
        mixed=any(cluster.spans_classes for cluster in every),
        page=page,
        pages=pages,
    )


def _page(count: int, size: int) -> tuple[int, int]:
    """The page that the address names, and how many there are. Raises BadOptionError."""
    pages = max(1, -(-count // size))
    text = request.args.get("page", "1")
    page = whole_number(text)
    if page is None or not 1 <= page <= pages:
        raise BadOptionError(f"there is no page '{text[:20]}'; they go from 1 to {pages}")
    return page, pages
