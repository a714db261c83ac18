"""Single pictures that come as bytes: stored in the collection's folder and indexed as all others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from indexer.datasets import Dataset, Item, Report
from indexer.near_duplicates import update_clusters
from indexer.pipeline import index_dataset
from indexer.scenes import are_known, update_scenes
from retrieval.collection import CollectionWriter
from retrieval.disk import write_atomically
from retrieval.errors import PictureError
from retrieval.images import MAX_PIXELS, decode, probe
from retrieval.learn.completion import complete_derived_spaces
from retrieval.names import nfc
from retrieval.search import Searcher
from retrieval.sources import open_source
from retrieval.spaces import Space, UnsupportedQueryError

FOLDER = "pictures"
"""Where uploaded pictures lie inside a collection, named by their SHA-256."""

_ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "TIFF": "tif", "BMP": "bmp", "WEBP": "webp", "HEIF": "heic"}


class RejectedPictureError(PictureError):
    """An uploaded picture could not be indexed."""


def add_picture(writer: CollectionWriter, searcher: Searcher, data: bytes, class_name: str | None) -> tuple[int, bool]:
    """Store a picture, index it in every space and look for its near duplicates; returns its id and whether it is new.

    searcher: a running one on the collection, whose encoders and indexes serve, also for spaces that it has not yet.

    The same bytes and class again are the same image, and without a class they keep the one that they have. Raises
    UnsupportedQueryError or a PictureError; whatever it raises, a picture that is not in the catalog has no file.
    """
    searcher = searcher.refreshed()
    spaces = [searcher.space(definition.name) for definition in writer.manifest.spaces]
    embedding = [space for space in spaces if space.embeds_pictures and not space.derived]
    if not embedding:
        raise UnsupportedQueryError("no space of this collection has an encoder, so no picture can be added")
    # A large one is decoded once, by indexing, in a process of its own.
    large = searcher.large_pictures
    is_large = large is not None and large.takes(data, MAX_PIXELS)
    kind = probe(data)[2] if is_large else decode(data).format
    folder = writer.path / FOLDER
    folder.mkdir(exist_ok=True)
    file = f"{hashlib.sha256(data).hexdigest()}.{_ENDINGS[kind]}"
    path = folder / file
    new = not path.exists()
    if new:
        write_atomically(path, data)
    try:
        return _indexed(writer, searcher, embedding, file, class_name)
    except BaseException:
        if new and file not in writer.known(writer.source(open_source(folder).path, "folder"), [file]):
            path.unlink(missing_ok=True)
        raise


def _indexed(
    writer: CollectionWriter, searcher: Searcher, spaces: Sequence[Space], file: str, class_name: str | None
) -> tuple[int, bool]:
    """Index a stored picture; returns its id and whether it is new. Raises RejectedPictureError."""
    source = open_source(writer.path / FOLDER)
    number = writer.source(source.path, "folder")
    known = writer.known(number, [file])
    class_name = nfc(class_name) if class_name else known[file].class_name if file in known else None
    entry = source.entry(file)
    item = Item(file, class_name, entry.bytes, entry.stamp)
    report = Report({class_name: 1} if class_name else {}, 0 if class_name else 1)
    classes = (class_name,) if class_name else ()
    dataset = Dataset(source.path, "folder", "uploads", classes, (item,), report, source)
    outcome = index_dataset(dataset, writer, spaces, large=searcher.large_pictures)
    if outcome.rejected:
        raise RejectedPictureError(outcome.rejected[0][1])
    complete_derived_spaces(writer)
    update_clusters(writer, searcher.refreshed())
    if are_known(writer):
        update_scenes(writer, searcher.refreshed())
    return writer.known(number, [file])[file].id, outcome.added > 0


def remove_images(writer: CollectionWriter, ids: Sequence[int]) -> int:
    """Remove images; files of uploaded ones go as well, those that were indexed in their place stay there.

    Returns how many images there were of these ids.
    """
    uploads = (writer.path / FOLDER).resolve()
    places = writer.places(ids)
    removed = writer.remove(ids)
    for source, file in places.values():
        if source == uploads:
            (source / file).unlink(missing_ok=True)
    return removed
