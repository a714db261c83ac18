"""Pictures that are no longer where they were indexed."""

from __future__ import annotations

from retrieval.collection import Collection, PictureGoneError
from retrieval.errors import PictureError


def missing_picture(collection: Collection, image_id: int) -> PictureGoneError | None:
    """The error of an image whose picture is not where it was indexed; None where it is, even if it is damaged.

    A SourceGoneError says only that its folder or zip cannot be read, such as one that is not mounted.
    """
    try:
        collection.read(image_id)
    except PictureGoneError as error:
        return error
    except PictureError:
        return None
    return None
