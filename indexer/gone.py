"""Whether a picture still lies where it was indexed."""

from __future__ import annotations

from retrieval.collection import Collection, PictureGoneError
from retrieval.errors import PictureError


def absence(collection: Collection, image_id: int) -> PictureGoneError | None:
    """Why an image's picture is not where it was indexed; None where it is, even if it is damaged.

    A SourceGoneError says only that its folder or zip cannot be looked into, as one that is not mounted now.
    """
    try:
        collection.read(image_id)
    except PictureGoneError as error:
        return error
    except PictureError:
        return None
    return None
