"""/api/v1/collection: what is served."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag

from retrieval.collection import Collection
from retrieval.collection.facts import facts_of
from web import answers
from web.answers import replies
from web.state import state

api = APIBlueprint("collection", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="collection")])

_FOLDERS = re.compile(r"/.*/")


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
    facts = facts_of(collection)
    for space in facts["spaces"]:
        space["recipe"] = {name: _without_folders(value) for name, value in space["recipe"].items()}
    return facts


def _without_folders(value: Any) -> Any:
    """A recipe may name a file of the server; its name tells enough."""
    return _FOLDERS.sub("/…/", value) if isinstance(value, str) else value
