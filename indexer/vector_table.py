"""The table of imported vectors: what each row of the `.npy` file is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import VectorsError
from retrieval.export import COLUMNS
from retrieval.names import nfc
from retrieval.sources.address import expanded, remote_reason
from retrieval.sources.source import storable
from retrieval.tables import Column, headings, rows_of
from retrieval.terminal import counted, one_line


class VectorTableError(VectorsError):
    """A table of vectors lacks a column, contradicts itself, or does not fit the vectors."""


@dataclass(frozen=True)
class VectorTable:
    """n rows in the order of the vectors; a cluster or scene is None where it is empty; ids is None without one.

    lines: where each row stands in its file.
    """

    files: tuple[str, ...]
    classes: tuple[str | None, ...]
    clusters: tuple[str | None, ...]
    scenes: tuple[str | None, ...]
    ids: tuple[int, ...] | None
    lines: tuple[int | None, ...]
    has_clusters: bool

    def __post_init__(self) -> None:
        for name in (*self.files, *filter(None, self.classes)):
            if not storable(name):
                raise VectorTableError(f"the name {name!r} is not text that can be stored; rename it")

    @staticmethod
    def of(files: Sequence[str], classes: Sequence[str | None] | None = None) -> VectorTable:
        """A table that lies in no file: distinct names of files and, by file, classes."""
        empty = (None,) * len(files)
        return VectorTable(tuple(files), empty if classes is None else tuple(classes), empty, empty, None, empty, False)


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
    fields: dict[Column, list[str]] = {column: [] for column in places}
    lines: list[int] = []
    for line, row in rows:
        if len(row) <= max(places.values()):
            raise VectorTableError(
                f"{path}, line {line}: {counted(len(row), 'field')}, too few for the columns {', '.join(heading)}"
            )
        for column, at in places.items():
            fields[column].append(row[at] if exact else row[at].strip())
        lines.append(line)
    if not lines:
        raise VectorTableError(f"{path}: has a heading but no rows")
    files = fields["file"]
    _require_distinct(path, "file", files, lines)
    empty = [None] * len(lines)
    classes = [nfc(name) if name else None for name in fields["class"]] if "class" in places else empty
    clusters = [name or None for name in fields["cluster"]] if "cluster" in places else empty
    scenes = [name or None for name in fields["scene"]] if "scene" in places else empty
    ids = tuple(_ids(path, fields["id"], lines)) if "id" in places else None
    return VectorTable(
        tuple(files), tuple(classes), tuple(clusters), tuple(scenes), ids, tuple(lines), "cluster" in places
    )


def _ids(path: Path, texts: Sequence[str], lines: Sequence[int]) -> list[int]:
    for text, line in zip(texts, lines, strict=True):
        if not (text.isascii() and text.isdecimal()):
            raise VectorTableError(f"{path}, line {line}: the id {text!r} is not a whole number from 0 on")
    ids = [int(text) for text in texts]
    _require_distinct(path, "id", ids, lines)
    # The file of vectors has a row an id.
    if max(ids) > 1_000_000 + 10 * len(ids):
        line = lines[ids.index(max(ids))]
        raise VectorTableError(
            f"{path}, line {line}: the id {max(ids)} is too large for {counted(len(ids), 'image')}, since the stored "
            "vectors take room up to the largest id; number the images from 0, or leave the column out"
        )
    return ids


def _require_distinct(path: Path, column: str, values: Sequence[str] | Sequence[int], lines: Sequence[int]) -> None:
    first: dict[object, int] = {}
    for value, line in zip(values, lines, strict=True):
        if value == "":
            raise VectorTableError(f"{path}, line {line}: the {column} is empty")
        if value in first:
            raise VectorTableError(
                f"{path}, lines {first[value]} and {line}: the {column} {one_line(str(value))} stands there twice; "
                "each image has one row"
            )
        first[value] = line
