"""What a collection holds, in numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from retrieval.collection.reading import Collection


def facts_of(collection: Collection) -> dict[str, Any]:
    """Images, classes, clusters of duplicates and spaces, as plain values."""
    images = collection.images
    counts = Counter(images.labels.tolist())
    return {
        "name": collection.manifest.name,
        "created": collection.manifest.created,
        "images": len(images),
        "classes": {name: counts[label] for label, name in enumerate(images.classes)},
        "unlabelled": counts[-1],
        "clusters_of_duplicates": sum(size > 1 for size in Counter(images.clusters.tolist()).values()),
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
