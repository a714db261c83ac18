"""Single pictures that come as bytes: stored in the collection's folder and indexed as all others."""

from __future__ import annotations

import hashlib

from indexer.datasets import Dataset, Item, Report
from indexer.near_duplicates import update_clusters
from indexer.pipeline import index_dataset
from retrieval.collection import Collection, CollectionWriter
from retrieval.disk import write_atomically
from retrieval.errors import PictureError
from retrieval.images import decode
from retrieval.learn.completion import complete_learned_spaces
from retrieval.names import nfc
from retrieval.search import Searcher
from retrieval.sources import open_source
from retrieval.spaces import UnsupportedQueryError

FOLDER = "pictures"
"""Where uploaded pictures lie inside a collection, named by their SHA-256."""

_ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "TIFF": "tif", "BMP": "bmp", "WEBP": "webp", "HEIF": "heic"}


class RejectedPictureError(PictureError):
    """An uploaded picture could not be indexed."""


def add_picture(writer: CollectionWriter, searcher: Searcher, data: bytes, class_name: str | None) -> tuple[int, bool]:
    """Store a picture, index it in every space and look for its near duplicates; returns its id and whether it is new.

    searcher: a running one on the collection, whose encoders and indexes serve.

    The same bytes and class again are the same image. Raises UnsupportedQueryError or a PictureError, and keeps
    nothing then.
    """
    spaces = [searcher.space(definition.name) for definition in searcher.collection.spaces]
    embedding = [space for space in spaces if space.embeds_pictures and not space.derived]
    if not embedding:
        raise UnsupportedQueryError("no space of this collection has an encoder, so no picture can be added")
    picture = decode(data)
    folder = writer.path / FOLDER
    folder.mkdir(exist_ok=True)
    file = f"{hashlib.sha256(data).hexdigest()}.{_ENDINGS[picture.format]}"
    path = folder / file
    new = not path.exists()
    if new:
        write_atomically(path, data)
    source = open_source(folder)
    entry = source.entry(file)
    class_name = class_name and nfc(class_name)
    item = Item(file, class_name, entry.bytes, entry.stamp)
    report = Report({class_name: 1} if class_name else {}, 0 if class_name else 1)
    classes = (class_name,) if class_name else ()
    dataset = Dataset(source.path, "folder", "uploads", classes, (item,), report, source)
    outcome = index_dataset(dataset, writer, embedding)
    if outcome.rejected:
        if new:
            path.unlink()
        raise RejectedPictureError(outcome.rejected[0][1])
    complete_learned_spaces(writer)
    update_clusters(writer, searcher.refreshed())
    return writer.known(writer.source(source.path, "folder"), [file])[file].id, outcome.added > 0


def remove_picture(writer: CollectionWriter, collection: Collection, image_id: int) -> None:
    """Remove an image; the file of an uploaded one goes as well, one that was indexed in its place stays there."""
    position = collection.position(image_id)
    source, _ = collection.images.source_paths[collection.images.sources[position]]
    writer.remove([image_id])
    if source == (writer.path / FOLDER).resolve():
        (source / collection.file_of(image_id)).unlink(missing_ok=True)
