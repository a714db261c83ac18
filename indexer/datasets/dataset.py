"""A folder or zip as a data set: its pictures, their classes, and a report."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from indexer.datasets.classes import (
    EXTENSIONS,
    MAGIC_BYTES,
    OTHER_EXTENSIONS,
    class_names,
    extension,
    has_picture_magic,
)
from indexer.datasets.official import DRAWN, DRAWN_SAMPLE, recognise
from indexer.datasets.report import Report
from indexer.errors import DatasetError
from retrieval.sources import Entry, FileUnreadableError, Source, open_source

LABELLED = {"labeled-images", "labelled-images"}
"""HyperKvasir's folder of classes, in either spelling; its siblings hold unlabelled images, masks and videos."""


class NoPicturesError(DatasetError):
    """A folder or zip holds no pictures at all."""


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """A picture to index.

    file: posix path inside the source; class_name: None where it has none; bytes: size; stamp: changes
    with the content (modification time in nanoseconds, or the CRC-32 of a zip's member).
    """

    file: str
    class_name: str | None
    bytes: int
    stamp: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures in a folder or zip; `items` are sorted by file."""

    source: Path
    kind: Literal["folder", "zip"]
    name: str
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    report: Report
    _source: Source = field(repr=False)

    def read(self, item: Item) -> bytes:
        """The bytes of a picture, from any thread. Raises `FileUnreadableError`, a `PictureError`."""
        return self._source.read(item.file)

    def close(self) -> None:
        """Let go of the zip, if it is one."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_dataset(path: Path) -> Dataset:
    """List the pictures of a folder or zip, nested or not; nothing is unpacked.

    A file is a picture by its extension; one with another extension, or none, is a picture when it
    begins like one, and the report says how many of those there are. Raises `SourceNotFoundError`,
    `NotASourceError`, `SourceUnreadableError`, `DamagedZipError`, `EncryptedZipError`, `NoPicturesError`.
    """
    source = open_source(path)
    ignored = Counter(source.ignored)
    notes: list[str] = []
    pictures = _labelled(_pictures(source, ignored, notes), ignored)
    if not pictures:
        source.close()
        raise NoPicturesError(_nothing(source))

    archive = source.path.stem if source.kind == "zip" else None
    names = class_names([picture.file for picture in pictures], archive)
    items = tuple(Item(e.file, name, e.bytes, e.stamp) for e, name in zip(pictures, names, strict=True))
    counts = Counter(name for name in names if name is not None)
    unlabelled = names.count(None)
    if unlabelled and counts:
        notes.append(f"pictures beside the class folders, without a class: {unlabelled:,}")
    drawn = all(posixpath.basename(picture.file).startswith(DRAWN) for picture in pictures)
    known = DRAWN_SAMPLE if drawn else recognise(counts)
    if known.note:
        notes.append(known.note)
    classes = tuple(sorted(counts))
    report = Report({name: counts[name] for name in classes}, unlabelled, known.expected, dict(ignored), tuple(notes))
    return Dataset(source.path, source.kind, known.name, classes, items, report, source)


def chosen_pictures(source: Path, classes: Mapping[str, str | None]) -> Dataset:
    """A data set of certain files of a folder or zip, each with the class that is given for it.

    A file that is not there is an item all the same, so that reading it says so.
    """
    opened = open_source(source)
    items = []
    for file, class_name in sorted(classes.items()):
        try:
            entry = opened.entry(file)
            items.append(Item(file, class_name, entry.bytes, entry.stamp))
        except FileUnreadableError:
            items.append(Item(file, class_name, 0, 0))
    counts = Counter(name for name in classes.values() if name is not None)
    report = Report(dict(sorted(counts.items())), list(classes.values()).count(None))
    return Dataset(opened.path, opened.kind, "pictures", tuple(sorted(counts)), tuple(items), report, opened)


def _pictures(source: Source, ignored: Counter[str], notes: list[str]) -> list[Entry]:
    pictures = []
    misnamed = 0
    for entry in source.entries:
        ending = extension(entry.file)
        if ending not in EXTENSIONS:
            if ending in OTHER_EXTENSIONS or not _begins_as_picture(source, entry):
                ignored[f"{ending or 'extensionless'} files"] += 1
                continue
            misnamed += 1
        pictures.append(entry)
    if misnamed:
        notes.append(f"pictures with a wrong or no extension, taken all the same: {misnamed:,}")
    return pictures


def _begins_as_picture(source: Source, entry: Entry) -> bool:
    try:
        return has_picture_magic(source.head(entry.file, MAGIC_BYTES))
    except FileUnreadableError:
        return False


def _labelled(pictures: list[Entry], ignored: Counter[str]) -> list[Entry]:
    """Keep HyperKvasir's labelled images where the whole of it is given; any other set stays as it is."""
    labelled = [entry for entry in pictures if LABELLED.intersection(entry.file.split("/")[:-1])]
    if not labelled:
        return pictures
    if others := len(pictures) - len(labelled):
        ignored["pictures outside the folder of labelled images"] += others
    return labelled


def _nothing(source: Source) -> str:
    message = f"{source.path}: no pictures ({' '.join(sorted(EXTENSIONS))}) among {len(source.entries):,} files"
    zips = [entry.file for entry in source.entries if extension(entry.file) == ".zip"]
    if not zips:
        return message
    remedy = "give that path" if source.kind == "folder" else "unpack that and give its path"
    return f"{message}; it holds {zips[0]}: {remedy}"
