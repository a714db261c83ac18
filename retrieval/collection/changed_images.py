"""The images of a collection after some rows changed, over the arrays as they were before.

One change among a million images would copy 110 MB where each column were copied at once. So a column is copied when it
is first read as a whole, and what a search reads of its hits is taken from the rows before or from those that changed.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.file_names import FileNames
from retrieval.collection.images import (
    COLUMNS,
    ImageRows,
    Images,
    Row,
    damaged_ids,
    from_rows,
    read_sources,
    together,
    translated,
)
from retrieval.collection.vectors import release

COPIED_UP_TO = 20_000
"""Images whose columns are copied at once, which takes less than a millisecond."""
_CHANGED = 10_000
"""Changed rows from which the columns are copied, for the next change to begin with."""
_PIECES = 64
"""Rows that are left out up to which an array is copied in pieces between them."""
_BLOCK = 8_192
"""Images that are brought up to date at once."""


class ChangedImages(Images):
    """The images `before` without those at places `removed` (r,) ascending, and with some rows changed or added.

    rows: the changed rows, whose images `before` has at places `replaced` (c,) ascending, and then the added ones, all
    ascending by id. Ids ascend and never come back, so that added ones stand at the end.
    """

    _length: int
    before: Images
    _removed: NDArray[np.int64]
    _replaced: NDArray[np.int64]
    rows: Images
    _places: NDArray[np.int64]
    _shifts: NDArray[np.int64]
    _first: int

    def __init__(
        self, before: Images, removed: NDArray[np.int64], replaced: NDArray[np.int64], rows: Images, damaged: set[int]
    ) -> None:
        counts = Counter(_counted(before))
        counts.subtract(_names(before, np.concatenate([removed, replaced])))
        counts.update(_names(rows, np.arange(len(rows))))
        classes = tuple(sorted(name for name, count in counts.items() if count and name is not None))
        kept = len(before) - len(removed)
        added = np.arange(kept, kept + len(rows) - len(replaced))
        vars(self).update(
            classes=classes,
            source_paths=rows.source_paths,
            source_numbers=rows.source_numbers,
            damaged=tuple(sorted(damaged)),
            label_counts=np.array([counts[name] for name in (None, *classes)], np.int64),
            _length=kept + len(added),
            before=before,
            _removed=removed,
            _replaced=replaced,
            rows=_with_classes(rows, classes),
            _places=(places := np.concatenate([replaced - np.searchsorted(removed, replaced), added])),
            _shifts=removed - np.arange(len(removed)),
            _first=int(min([*removed[:1], *places[:1], kept])),
        )

    def __len__(self) -> int:
        return self._length

    def __getattr__(self, name: str) -> Any:
        """A column as a whole, which is copied once; of several threads that read it first all get the same."""
        if name == "files":
            return vars(self).setdefault(name, self._files())
        if name in COLUMNS:
            column = self._merged(self.translated(name, getattr(self.before, name)), getattr(self.rows, name))
            return vars(self).setdefault(name, column)
        raise AttributeError(name)

    def at(self, places: NDArray[np.int64]) -> ImageRows:
        """The images at places (m,)."""
        if places.max(initial=-1) < self._first:
            return _ChangedRows(self, places, places)
        of_rows = np.searchsorted(self._places, places)
        changed = of_rows < len(self._places)
        changed[changed] = self._places[of_rows[changed]] == places[changed]
        before = places + np.searchsorted(self._shifts, places, side="right")
        return _ChangedRows(self, places, before, *((changed, of_rows) if changed.any() else ()))

    @property
    def has_scene_rows(self) -> bool:
        """Whether a scene is stored for any image, or was before."""
        return self.before.has_scene_rows or self.rows.has_scene_rows

    def with_vector(self, number: int) -> NDArray[np.int64]:
        """Places of the images that have a vector in the space of a number, ascending."""
        all_have = len(self.before.with_vector(number)) == len(self.before) and self.rows.checksums[:, number].all()
        if all_have and number not in self._with_vector:
            self._with_vector[number] = np.arange(len(self))
        return super().with_vector(number)

    def ids_of_label(self, label: int) -> NDArray[np.int64]:
        """The ids of one class's images, ascending int64; -1 is the label of those without a class."""
        name = self.classes[label] if label >= 0 else None
        if name is not None and name not in self.before.classes:
            before = self.before.ids[:0]
        else:
            before = self.before.ids_of_label(-1 if name is None else self.before.classes.index(name))
        return self._group(before, self.rows.labels == label)

    def ids_of_cluster(self, cluster: int) -> NDArray[np.int64]:
        """The ids of one cluster's images, ascending int64; none where there is no such cluster."""
        return self._group(self.before.ids_of_cluster(cluster), self.rows.clusters == cluster)

    def ids_of_content(self, digest: bytes) -> NDArray[np.int64]:
        """The ids of images whose file has a SHA-256, ascending int64."""
        return self._group(self.before.ids_of_content(digest), np.isin(self.rows.ids, self.rows.ids_of_content(digest)))

    @property
    def is_large(self) -> bool:
        """Whether so many rows changed that the next change should begin with copied columns."""
        return len(self._removed) + len(self.rows) > _CHANGED

    def whole(self) -> Images:
        """The same with every column copied."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        return Images(
            self.classes, self.source_paths, self.source_numbers, files=self.files, damaged=self.damaged, **columns
        )

    def changed_by(self, rows: Images, removed: NDArray[np.int64], damaged: set[int]) -> ChangedImages:
        """The same after further rows changed; rows and removed ids ascend."""
        kept = np.flatnonzero(~np.isin(self.rows.ids, np.concatenate([rows.ids, removed])))
        earlier = replace(
            _at(self.rows, kept),
            sources=translated(self.rows.sources[kept], self.rows.source_numbers, rows.source_numbers),
            source_paths=rows.source_paths,
            source_numbers=rows.source_numbers,
        )
        both = together([earlier, rows])
        gone = np.concatenate([self.before.ids[self._removed], removed])
        return _changed(self.before, _at(both, np.argsort(both.ids)), np.unique(gone), damaged)

    def _group(self, before: NDArray[np.int64], changed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Ids (m,) ascending of a group as it was before, brought up to date by the changed rows that belong to it."""
        touched = np.concatenate([self.before.ids[self._removed], self.rows.ids])
        return np.union1d(before[~np.isin(before, touched)], self.rows.ids[changed])

    def translated(self, column: str, values: NDArray[Any]) -> NDArray[Any]:
        """Values of a column as it was before in terms of the classes and sources that there are now."""
        if column == "labels":
            return translated(values, self.before.classes, self.classes)
        if column == "sources":
            return translated(values, self.before.source_numbers, self.source_numbers)
        return values

    def _merged(self, before: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """A column as it was before, brought up to date by the same of the changed rows."""
        count = len(self._replaced)
        merged = _spliced(before, self._removed, rows[count:])
        merged[self._places[:count]] = rows[:count]
        return merged

    def _files(self) -> Sequence[str]:
        before, rows = self.before.files, self.rows.files
        if isinstance(before, FileNames):
            return before.merged(self._merged, rows)
        files: list[str] = []
        for left, right in pairwise([-1, *self._removed.tolist(), len(before)]):
            files += before[left + 1 : right]
        files += rows[len(self._replaced) :]
        for at, place in enumerate(self._places[: len(self._replaced)].tolist()):
            files[place] = rows[at]
        return tuple(files)


@dataclass(frozen=True, eq=False)
class _ChangedRows(ImageRows):
    """before: where they stood before (m,). changed: those that did not stand there, (m,) bool, where there are any;
    of_rows: the places (m,) of these among the changed rows.
    """

    images: ChangedImages
    before: NDArray[np.int64]
    changed: NDArray[np.bool_] | None = None
    of_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def column(self, name: str) -> NDArray[Any]:
        """The values (m, ...) of a column."""
        images = self.images
        if name in vars(images):
            return super().column(name)
        stored = getattr(images.before, name)
        if self.changed is None:
            return images.translated(name, stored[self.before])
        values = images.translated(name, stored[np.where(self.changed, 0, self.before)])
        values[self.changed] = getattr(images.rows, name)[self.of_rows[self.changed]]
        return values

    @property
    def files(self) -> list[str]:
        """The path of each inside its source."""
        before, rows = self.images.before.files, self.images.rows.files
        if self.changed is None:
            return [before[place] for place in self.before.tolist()]
        places = zip(self.changed.tolist(), self.before.tolist(), self.of_rows.tolist(), strict=True)
        return [rows[of_rows] if changed else before[place] for changed, place, of_rows in places]


def updated(images: Images, rows: Sequence[Row], connection: sqlite3.Connection, folder: Path) -> Images:
    """The images with some rows, ascending by id, changed, added or, where a row is None but for its id, removed."""
    numbers, paths = read_sources(connection, folder)
    present = [row for row in rows if row[5] is not None]
    damaged = damaged_ids(connection, present, consecutive=False)
    new = from_rows(present, images.checksums.shape[1], numbers, paths, ())
    removed = np.array([row[0] for row in rows if row[5] is None], np.int64)
    now_damaged = {*images.damaged} - {row[0] for row in rows} | {*damaged}
    if isinstance(images, ChangedImages):
        later = images.changed_by(new, removed, now_damaged)
        return later.whole() if later.is_large else later
    later = _changed(images, new, removed, now_damaged)
    return later.whole() if len(images) <= COPIED_UP_TO else later


def updated_blocks(
    images: Images, rows: Sequence[Row], connection: sqlite3.Connection, folder: Path
) -> Iterator[Images]:
    """The same, some thousand images at a time, so that no whole column is copied or, where it is mapped, in memory."""
    at = 0
    for start in range(0, max(1, len(images)), _BLOCK):
        block, stop = images.part(start, start + _BLOCK), at
        while stop < len(rows) and (start + _BLOCK >= len(images) or rows[stop][0] < images.ids[start + _BLOCK]):
            stop += 1
        yield updated(block, rows[at:stop], connection, folder) if stop > at else block
        for column in (*(getattr(images, name) for name in COLUMNS), *_parts(images.files)):
            release(column)
        at = stop


def _parts(files: Sequence[str]) -> tuple[NDArray[Any], ...]:
    return (files.text, files.starts, files.lengths) if isinstance(files, FileNames) else ()


def _changed(before: Images, rows: Images, removed: NDArray[np.int64], damaged: set[int]) -> ChangedImages:
    """Images with changed or added rows, and without those of ids `removed`, where there were any; both ascend."""
    replaced, known = _known(before, rows.ids)
    if len(added := rows.ids[~known]) and len(before) and added[0] < before.ids[-1]:
        raise ValueError(f"image {added[0]} was added after image {before.ids[-1]}")
    return ChangedImages(before, _known(before, removed)[0], replaced, rows, damaged)


def _known(images: Images, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places of those of ids (m,) that images have, and which these are, (m,) bool."""
    places = np.searchsorted(images.ids, ids)
    known = places < len(images)
    known[known] = images.ids[places[known]] == ids[known]
    return places[known], known


def _at(images: Images, places: NDArray[np.int64]) -> Images:
    """The images at places (m,), with all columns."""
    columns = {name: getattr(images, name)[places] for name in COLUMNS}
    return replace(images, files=tuple(images.files[place] for place in places.tolist()), **columns)


def _with_classes(images: Images, classes: tuple[str, ...]) -> Images:
    return replace(images, labels=translated(images.labels, images.classes, classes), classes=classes)


def _counted(images: Images) -> dict[str | None, int]:
    """How many images each class has, with None for those without."""
    return dict(zip((None, *images.classes), images.label_counts.tolist(), strict=True))


def _names(images: Images, places: NDArray[np.int64]) -> list[str | None]:
    """The classes of the images at places (m,)."""
    return [images.classes[label] if label >= 0 else None for label in images.labels[places].tolist()]


def _spliced(old: NDArray[Any], leaves: NDArray[np.int64], added: NDArray[Any]) -> NDArray[Any]:
    """Rows of `old` but for those at `leaves`, ascending, and then `added`; copied once."""
    if len(leaves) > _PIECES:
        return np.concatenate([np.delete(old, leaves, axis=0), added])
    pieces = [old[left + 1 : right] for left, right in pairwise([-1, *leaves.tolist(), len(old)])]
    return np.concatenate([*pieces, added])
