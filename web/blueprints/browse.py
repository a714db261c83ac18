"""The pages that show the collection: numbers, images by class, one image, near duplicates."""

from __future__ import annotations

import numpy as np
from flask import Blueprint, render_template, request

from indexer.duplicates import clusters
from web.asking import whole_number
from web.blueprints.collection import describe
from web.described import described, positions_of
from web.question import MAX_ID, BadOptionError
from web.state import state

blueprint = Blueprint("browse", __name__, url_prefix="/collection")

IMAGES_A_PAGE = 48
CLUSTERS_A_PAGE = 24
SHOWN_OF_CLUSTER = 12


@blueprint.get("/")
def overview() -> str:
    """Numbers by class, and the spaces with how each was made."""
    return render_template("overview.html", facts=describe(state().live.searcher.collection))


@blueprint.get("/images/")
def images() -> str:
    """Images of one class, of none where its name is empty, or all, page by page."""
    collection = state().live.searcher.collection
    class_name = request.args.get("class")
    unlabelled = np.flatnonzero(collection.images.labels < 0)
    positions = unlabelled if class_name == "" else positions_of(collection, class_name)
    page, pages = _page(len(positions), IMAGES_A_PAGE)
    shown = positions[(page - 1) * IMAGES_A_PAGE : page * IMAGES_A_PAGE].tolist()
    return render_template(
        "images.html",
        images=[described(collection, position) for position in shown],
        class_name=class_name,
        unlabelled=len(unlabelled),
        total=len(positions),
        page=page,
        pages=pages,
    )


@blueprint.get("/images/<int:image_id>")
def image(image_id: int) -> str:
    """One image with all that is known of it."""
    collection = state().live.searcher.collection
    position = collection.position(min(image_id, MAX_ID))
    same = np.flatnonzero(collection.images.clusters == collection.images.clusters[position]).tolist()
    return render_template(
        "image.html",
        image=described(collection, position),
        duplicates=[described(collection, other) for other in same if other != position],
    )


@blueprint.get("/duplicates/")
def duplicates() -> str:
    """Clusters of near duplicates; those whose images have different classes first, as likely label errors."""
    collection = state().live.searcher.collection
    found = clusters(collection)
    page, pages = _page(len(found), CLUSTERS_A_PAGE)
    return render_template(
        "duplicates.html",
        clusters=[
            {
                "size": len(cluster.ids),
                "mixed": cluster.spans_classes,
                "images": [
                    described(collection, collection.position(image_id)) for image_id in cluster.ids[:SHOWN_OF_CLUSTER]
                ],
            }
            for cluster in found[(page - 1) * CLUSTERS_A_PAGE : page * CLUSTERS_A_PAGE]
        ],
        total=len(found),
        mixed=any(cluster.spans_classes for cluster in found),
        page=page,
        pages=pages,
    )


def _page(count: int, size: int) -> tuple[int, int]:
    """The page that is asked for, and how many there are. Raises BadOptionError."""
    pages = max(1, -(-count // size))
    text = request.args.get("page", "1")
    page = whole_number(text)
    if page is None or not 1 <= page <= pages:
        raise BadOptionError(f"there is no page '{text[:20]}'; they go from 1 to {pages}")
    return page, pages
