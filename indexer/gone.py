"""Whether a picture still lies where it was indexed."""

from __future__ import annotations

from retrieval.collection import Collection, PictureGoneError


def is_gone(collection: Collection, image_id: int) -> bool:
    """Whether an image's picture can no longer be read from the folder or zip that it was indexed in."""
    try:
        collection.read(image_id)
    except PictureGoneError:
        return True
    return False
