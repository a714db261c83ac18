"""What a collection holds, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.reading import Collection
from retrieval.marks import NAMES


def marks_counted(marks: NDArray[np.int32]) -> dict[str, int]:
    """How many images have each mark of the device; with `unknown` where that is not known of some."""
    known = marks[marks >= 0]
    counts = {name: int((known >> at & 1).sum()) for at, name in enumerate(NAMES)} if len(known) else {}
    return counts | ({"unknown": len(marks) - len(known)} if len(known) < len(marks) else {})


def facts_of(collection: Collection) -> dict[str, Any]:
    """Images, classes, clusters of duplicates, scenes, marks of the device and spaces, as plain values."""
    images = collection.images
    unlabelled, *of_classes = images.label_counts.tolist()
    return {
        "name": collection.manifest.name,
        "created": collection.manifest.created,
        "images": len(images),
        "classes": dict(zip(images.classes, of_classes, strict=True)),
        "unlabelled": unlabelled,
        "clusters_of_duplicates": int((np.unique(images.clusters, return_counts=True)[1] > 1).sum()),
        "scenes": len(np.unique(images.scenes[images.scene_rows >= 0])),
        "marks": marks_counted(images.marks),
        "spaces": [
            {
                "name": space.name,
                "kind": space.kind,
                "dimension": space.dimension,
                "distance": space.metric,
                "images": len(collection.positions(space.name)),
                "recipe": space.recipe,
            }
            for space in collection.spaces
        ],
    }
