"""The table of imported vectors: what each row of the `.npy` file is of."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorsError
from retrieval.collection.file_names import FileNames, NamePacker
from retrieval.export import COLUMNS
from retrieval.names import nfc
from retrieval.sources.address import expanded, remote_reason
from retrieval.sources.source import storable
from retrieval.tables import Column, headings, rows_of
from retrieval.terminal import counted, one_line


class VectorTableError(VectorsError):
    """A table of vectors lacks a column, contradicts itself, or does not fit the vectors."""


@dataclass(frozen=True, eq=False)
class VectorTable:
    """n rows in the order of the vectors, packed: a million take some 50 MB.

    labels: (n,) int32, an index into `class_names` or -1 where a row has no class. clusters, scenes: names, "" where a
    row has none; None without such a column. ids: (n,) int64, None without one. lines: (n,) int64, where each row
    stands in its file; None where there is none.
    """

    files: FileNames
    class_names: tuple[str, ...]
    labels: NDArray[np.int32]
    clusters: FileNames | None = None
    scenes: FileNames | None = None
    ids: NDArray[np.int64] | None = None
    lines: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for names in (self.files, self.class_names):
            for name in names:
                if not storable(name):
                    raise VectorTableError(f"the name {name!r} is not text that can be stored; rename it")

    def __len__(self) -> int:
        return len(self.files)

    def class_of(self, row: int) -> str | None:
        """The class of a row, None where it has none."""
        label = int(self.labels[row])
        return self.class_names[label] if label >= 0 else None

    @staticmethod
    def of(files: Sequence[str], classes: Sequence[str | None] | None = None) -> VectorTable:
        """A table that lies in no file: distinct names of files and, by file, classes."""
        labels = _Labels()
        for name in classes if classes is not None else [None] * len(files):
            labels.append(name)
        return VectorTable(FileNames.of(files), *labels.packed())


class _Labels:
    """Names of classes, row by row, as numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._labels = array("i")

    def append(self, name: str | None) -> None:
        self._labels.append(self._numbers.setdefault(name, len(self._numbers)) if name else -1)

    def packed(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """The different names, and an index into them for each row, -1 for none."""
        return tuple(self._numbers), np.frombuffer(self._labels, np.int32)


def read_vector_table(path: Path) -> VectorTable:
    """A table with a heading that names the columns file and, optionally, class, cluster, scene and id.

    An export's own heading is taken to the letter, blanks around names included. Raises VectorTableError, TableError.
    """
    if reason := remote_reason(path):
        raise VectorTableError(reason)
    path = expanded(path)
    rows = rows_of(path, strip=False)
    line, heading = next(rows, (0, []))
    exact = tuple(heading) in (COLUMNS, COLUMNS[:-1])  # exports of older versions have no scene
    places: dict[Column, int] | None = headings([field.strip() for field in heading])
    if places is None:
        raise VectorTableError(
            f"{path}, line {line}: no column is known as the file among {', '.join(map(repr, heading)) or 'no fields'}"
            f"; begin the table with a heading such as {','.join(COLUMNS[1:])}"
        )
    names = {column: NamePacker() for column in ("file", "cluster", "scene") if column in places}
    labels, ids, lines = _Labels(), _Ids(path), array("q")
    for line, row in rows:
        if len(row) <= max(places.values()):
            raise VectorTableError(
                f"{path}, line {line}: {counted(len(row), 'field')}, too few for the columns {', '.join(heading)}"
            )
        fields = {column: row[at] if exact else row[at].strip() for column, at in places.items()}
        for column, packer in names.items():
            packer.append(fields[column])
        labels.append(nfc(fields.get("class", "")))
        if "id" in fields:
            ids.append(fields["id"], line)
        lines.append(line)
    if not lines:
        raise VectorTableError(f"{path}: has a heading but no rows")
    packed = {column: packer.packed() for column, packer in names.items()}
    numbers = np.frombuffer(lines, np.int64)
    _require_distinct_files(path, packed["file"], numbers)
    return VectorTable(
        packed["file"],
        *labels.packed(),
        packed.get("cluster"),
        packed.get("scene"),
        ids.packed(numbers) if "id" in places else None,
        numbers,
    )


class _Ids:
    """Ids, row by row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids = array("q")
        self._largest, self._line = "", 0

    def append(self, text: str, line: int) -> None:
        """Raises VectorTableError for what is no id."""
        if not (text.isascii() and text.isdecimal()):
            raise VectorTableError(f"{self._path}, line {line}: the id {text!r} is not a whole number from 0 on")
        digits = text.lstrip("0") or "0"
        if (len(digits), digits) > (len(self._largest), self._largest):
            self._largest, self._line = digits, line
        self._ids.append(int(digits) if len(digits) <= _DIGITS else 0)

    def packed(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """All of them, (n,) int64. Raises VectorTableError where one is too large or stands there twice."""
        # The file of vectors has a row an id.
        if len(self._largest) > _DIGITS or int(self._largest) > 1_000_000 + 10 * len(lines):
            raise VectorTableError(
                f"{self._path}, line {self._line}: the id {self._largest[:40]} is too large for "
                f"{counted(len(lines), 'image')}, since the stored vectors take room up to the largest id; number the "
                "images from 0, or leave the column out"
            )
        ids = np.frombuffer(self._ids, np.int64)
        order = np.argsort(ids, kind="stable")
        again = order[1:][ids[order[1:]] == ids[order[:-1]]]
        if len(again):
            value = int(ids[again.min()])
            _raise_twice(self._path, "id", str(value), lines[np.flatnonzero(ids == value)[:2]])
        return ids


_DIGITS = 18
"""Digits of a number that surely fits 64 bits."""


def _require_distinct_files(path: Path, files: FileNames, lines: NDArray[np.int64]) -> None:
    empty = np.flatnonzero(files.lengths == 0)
    if len(empty):
        raise VectorTableError(f"{path}, line {lines[empty[0]]}: the file is empty")
    if groups := files.equal():
        first = min(groups, key=lambda group: group[1])
        _raise_twice(path, "file", files[first[0]], lines[first[:2]])


def _raise_twice(path: Path, column: str, value: str, lines: NDArray[np.int64]) -> NoReturn:
    raise VectorTableError(
        f"{path}, lines {lines[0]} and {lines[1]}: the {column} {one_line(value)} stands there twice; "
        "each image has one row"
    )
