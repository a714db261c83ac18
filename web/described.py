"""An image of the collection as the API and the pages give it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flask import request

from retrieval.collection import Collection
from web.state import state


def linker() -> Callable[[int], dict[str, str]]:
    """What tells, in the answer to this request, where an image's parts are."""
    # Spelled out, because url_for takes longer than the search where an answer has many hits.
    images, version = f"{request.script_root}/api/v1/images", state().live.version

    def links(image_id: int) -> dict[str, str]:
        place = f"{images}/{image_id}"
        return {
            "self": place,
            "picture": f"{place}/picture?v={version}",
            "thumbnail": f"{place}/thumbnail?v={version}",
            "similar": f"{place}/similar",
        }

    return links


def described(collection: Collection, position: int) -> dict[str, Any]:
    """An image as the API gives it, by its position in the collection's `images`."""
    held = collection.images
    image_id = int(held.ids[position])
    label = int(held.labels[position])
    return {
        "id": image_id,
        "class": held.classes[label] if label >= 0 else None,
        "file": held.files[position],
        "width": int(held.sizes[position, 0]),
        "height": int(held.sizes[position, 1]),
        "cluster": int(held.clusters[position]),
        "spaces": [space.name for space in collection.spaces if held.checksums[position, space.number]],
        "links": linker()(image_id),
    }


def positions_of(collection: Collection, class_name: str | None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which images are of a class; all where none is named, none where there is no such class."""
    if class_name is None:
        return np.arange(len(collection), dtype=np.int64)
    if class_name not in collection.classes:
        return np.empty(0, np.int64)
    return np.flatnonzero(collection.images.labels == collection.classes.index(class_name)).astype(np.int64)
