"""/api/v1/collection: what is served."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag

from retrieval.collection import Collection
from web import answers
from web.answers import replies
from web.state import state

api = APIBlueprint("collection", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="collection")])

_FOLDERS = re.compile(r"/(?:[^/\s]+/)+(?=[^/\s]+$)")


@api.get(
    "/collection",
    operation_id="get_collection",
    responses=replies({"200": answers.CollectionInfo}, 400, 401),
)
def collection_info() -> Response:
    """The collection: its classes, and its spaces with how each was made."""
    return jsonify(describe(state().live.searcher.collection))


def describe(collection: Collection) -> dict[str, Any]:
    """What a collection holds, without the places where it lies."""
    images = collection.images
    counts = Counter(images.labels.tolist())
    clusters = Counter(images.clusters.tolist())
    return {
        "name": collection.manifest.name,
        "created": collection.manifest.created,
        "images": len(images),
        "classes": {name: counts[label] for label, name in enumerate(images.classes)},
        "unlabelled": counts[-1],
        "clusters_of_duplicates": sum(size > 1 for size in clusters.values()),
        "spaces": [
            {
                "name": space.name,
                "kind": space.kind,
                "dimension": space.dimension,
                "distance": space.metric,
                "images": len(collection.positions(space.name)),
                "recipe": {name: _without_folders(value) for name, value in space.recipe.items()},
            }
            for space in collection.spaces
        ],
    }


def _without_folders(value: Any) -> Any:
    """A recipe may name a file of the server; its name tells enough."""
    return _FOLDERS.sub("/…/", value) if isinstance(value, str) else value
