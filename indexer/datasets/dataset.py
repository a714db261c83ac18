"""A folder or zip as a data set: its pictures, their classes, and a report."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from indexer.datasets.classes import (
    EXTENSIONS,
    HEIC_EXTENSIONS,
    OTHER_EXTENSIONS,
    class_names,
    extension,
    has_picture_magic,
    similar_names,
)
from indexer.datasets.labels import ClassMap, labels_from_table
from indexer.datasets.masks import find_masks
from indexer.datasets.official import DRAWN, DRAWN_SAMPLE, Recognised, recognise
from indexer.datasets.report import Report
from indexer.errors import DatasetError
from retrieval.errors import RetrievalError
from retrieval.formats import (
    HEAD_BYTES,
    HEIC,
    PICTURE_FORMATS,
    UndecodedFormat,
    decodes_heic,
    format_of_content,
    format_of_name,
)
from retrieval.sources import Entry, FileUnreadableError, Source, SourceKind, open_source
from retrieval.terminal import counted, one_line

LABELLED = {"labeled-images", "labelled-images"}
"""HyperKvasir's folder of classes, in either spelling; its siblings hold unlabelled images, masks and videos."""


class NoPicturesError(DatasetError):
    """A folder or zip holds no pictures at all."""


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """A picture to index.

    file: posix path inside the source; class_name: None where it has none; bytes: size; stamp: changes
    with the content (modification time in nanoseconds, or the CRC-32 of a zip's member). folder_class: the class that
    its folder gives it, where a table or a map gives it another.
    """

    file: str
    class_name: str | None
    bytes: int
    stamp: int
    folder_class: str | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """The pictures of a folder or zip; `items` are sorted by file."""

    source: Path
    kind: SourceKind
    name: str
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    report: Report
    _source: Source = field(repr=False)

    def read(self, item: Item) -> bytes:
        """The bytes of a picture, from any thread. Raises `FileUnreadableError`, a `PictureError`."""
        return self._source.read(item.file)

    def close(self) -> None:
        """Close the zip, if it is one."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_dataset(
    path: Path, *, zip_encoding: str | None = None, labels: Path | None = None, class_map: ClassMap | None = None
) -> Dataset:
    """List the pictures of a folder or zip, nested or not; nothing is unpacked.

    A file is a picture by its extension; one with another extension, or none, is a picture when it
    begins like one, and the report says how many of those there are.

    zip_encoding: of a zip's names whose encoding the zip does not state. labels: a table of files and classes, instead
    of the classes that folders give. class_map: new names of classes.

    Raises `SourceNotFoundError`, `NotASourceError`, `SourceUnreadableError`, `DamagedZipError`, `EncryptedZipError`,
    `ZipEncodingError`, `NoPicturesError`, `TableError`.
    """
    source = open_source(path, zip_encoding)
    try:
        return _listed(source, labels, class_map)
    except RetrievalError:
        source.close()
        raise


def _listed(source: Source, labels: Path | None, class_map: ClassMap | None) -> Dataset:
    ignored = Counter(source.ignored)
    notes: list[str] = list(source.notes)
    pictures = _labelled(_pictures(source, ignored, notes), ignored)
    masks = find_masks([picture.file for picture in pictures])
    if masks.files:
        ignored["segmentation masks"] = len(masks.files)
        pictures = [picture for picture in pictures if picture.file not in masks.files]
    if not pictures:
        raise NoPicturesError(_nothing(source))

    files = [picture.file for picture in pictures]
    archive = source.path.stem if source.kind == "zip" else None
    by_folder = names = class_names(files, archive, masks.picture_folders)
    if labels is not None:
        names, label_notes = labels_from_table(labels, files, archive or source.path.name)
        notes += label_notes
    if class_map is not None:
        names, map_notes = class_map.apply(names)
        notes += map_notes
    items = tuple(
        Item(e.file, name, e.bytes, e.stamp, folder_class if folder_class != name else None)
        for e, name, folder_class in zip(pictures, names, by_folder, strict=True)
    )
    counts = Counter(name for name in names if name is not None)
    unlabelled = names.count(None)
    if unlabelled and counts and labels is None:
        notes.append(f"pictures outside the class folders, without a class: {unlabelled:,}")
    notes += [f"classes that differ only in spelling: {_quoted(group)}" for group in similar_names(counts)]
    drawn = all(posixpath.basename(file).startswith(DRAWN) for file in files)
    known = DRAWN_SAMPLE if drawn else _recognised(source, counts, bool(masks.files))
    if known.note:
        notes.append(known.note)
    classes = tuple(sorted(counts))
    report = Report({name: counts[name] for name in classes}, unlabelled, known.expected, dict(ignored), tuple(notes))
    return Dataset(source.path, source.kind, known.name, classes, items, report, source)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{one_line(name)}'" for name in names)


def _recognised(source: Source, counts: Mapping[str, int], has_masks: bool) -> Recognised:
    if not has_masks or counts:
        return recognise(counts)
    inside = "kvasir-seg" in source.path.name.lower() or any("kvasir-seg" in e.file.lower() for e in source.entries)
    return Recognised("Kvasir-SEG" if inside else "pictures with segmentation masks")


def chosen_pictures(source: Path, classes: Mapping[str, str | None]) -> Dataset:
    """A data set of some files of a folder or zip, with the class of each.

    A file that does not exist is an item too: reading it raises the error.
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
    endings = EXTENSIONS | HEIC_EXTENSIONS if decodes_heic() else EXTENSIONS
    pictures = []
    misnamed = 0
    undecoded: Counter[UndecodedFormat] = Counter()
    for entry in source.entries:
        ending = extension(entry.file)
        if ending not in endings:
            kind = format_of_name(entry.file)
            closed = ending in OTHER_EXTENSIONS or (kind is not None and kind not in PICTURE_FORMATS)
            if closed or not _begins_as_picture(source, entry):
                ignored[f"{ending or 'extensionless'} files"] += 1
                if kind is not None and kind in PICTURE_FORMATS:
                    undecoded[kind] += 1
                continue
            misnamed += 1
        pictures.append(entry)
    if misnamed:
        notes.append(f"pictures with a wrong or no extension, used all the same: {misnamed:,}")
    if pictures:
        notes += [f"not read: {kind.counted(count)}; {kind.advised(count)}" for kind, count in undecoded.items()]
    return pictures


def _begins_as_picture(source: Source, entry: Entry) -> bool:
    try:
        head = source.head(entry.file, HEAD_BYTES)
    except FileUnreadableError:
        return False
    return has_picture_magic(head) or (format_of_content(head) is HEIC and decodes_heic())


def _labelled(pictures: list[Entry], ignored: Counter[str]) -> list[Entry]:
    """Keep HyperKvasir's labelled images where the whole of it is given; any other set stays as it is."""
    labelled = [entry for entry in pictures if LABELLED.intersection(entry.file.split("/")[:-1])]
    if not labelled:
        return pictures
    if others := len(pictures) - len(labelled):
        ignored["pictures outside the folder of labelled images"] += others
    return labelled


def _nothing(source: Source) -> str:
    """That a source holds no pictures, with what it holds instead and what to do about each kind."""
    message = (
        f"{source.path}: no pictures ({' '.join(sorted(EXTENSIONS))}) among {counted(len(source.entries), 'file')}"
    )
    zips = [entry.file for entry in source.entries if extension(entry.file) == ".zip"]
    remedies = []
    if len(zips) == 1:
        remedy = "give that path" if source.kind == "folder" else "unpack that and give its path"
        remedies.append(f"it holds {zips[0]}: {remedy}")
    elif zips:
        remedies.append(f"{len(zips):,} zips, the first {zips[0]}: unpack them into one folder, and give that")
    kinds = Counter(kind for entry in source.entries if (kind := _undecoded(source, entry)))
    remedies += [f"{kind.counted(count)}: {kind.advised(count)}" for kind, count in kinds.items()]
    return "; ".join([message, *remedies])


def _undecoded(source: Source, entry: Entry) -> UndecodedFormat | None:
    if kind := format_of_name(entry.file):
        return kind
    if extension(entry.file) in OTHER_EXTENSIONS:
        return None
    try:
        return format_of_content(source.head(entry.file, HEAD_BYTES))
    except FileUnreadableError:
        return None
