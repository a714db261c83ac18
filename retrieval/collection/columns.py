"""The catalog's rows as one columnar file, which opens in milliseconds where SQLite reads a million rows in seconds.

It is a cache: made from the catalog, valid for the state of the change log that it names, brought up to date by the
rows that changed since, and made anew where it is missing, damaged or of another catalog. `kvasir verify` reads the
catalog itself.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.changed_images import updated, updated_blocks
from retrieval.collection.changes import LogPosition, read_changed_rows
from retrieval.collection.file_names import FileNames
from retrieval.collection.images import COLUMNS, Images, Row, count_images, read_blocks, read_sources
from retrieval.disk import DiskFullError, new_path
from retrieval.errors import CollectionError

log = logging.getLogger(__name__)

NAME = "catalog.columns"
FROM = 20_000
"""Images from which the file pays; fewer are read from the catalog as fast."""

_MARK = b"kvasir columns 3\n"
_ALIGNED = 64
_BLOCK = 1 << 20
_TAIL = 12
"""Bytes at the file's end that tell how long the header before them is, and its CRC-32."""


@dataclass(frozen=True)
class _Header:
    """position: of the change log. classes, source_numbers: as in `Images`. columns: by name its dtype, shape, offset
    in the file and CRC-32.
    """

    position: LogPosition
    classes: tuple[str, ...]
    source_numbers: tuple[int, ...]
    columns: dict[str, tuple[str, tuple[int, ...], int, int]]

    def to_dict(self) -> dict[str, Any]:
        """The header as plain values."""
        return asdict(self) | {"position": [self.position.log, self.position.inode, self.position.sequence]}

    @staticmethod
    def from_dict(stated: Mapping[str, Any]) -> _Header:
        """What `to_dict` made."""
        return _Header(
            LogPosition(*stated["position"]),
            tuple(stated["classes"]),
            tuple(stated["source_numbers"]),
            {name: (dtype, tuple(shape), at, crc) for name, (dtype, shape, at, crc) in stated["columns"].items()},
        )


def stored_position(folder: Path) -> LogPosition | None:
    """The state of the change log that the file is of; None where there is no usable file."""
    header = _read_header(folder / NAME)
    return None if header is None else header.position


def load_images(connection: sqlite3.Connection, width: int, folder: Path, now: LogPosition) -> Images | None:
    """Every image from the file, brought up to date; None where it cannot serve.

    To be called within the transaction that `now`, the end of the change log, was read in. width: columns of
    checksums.
    """
    loaded = _load(connection, width, folder, now)
    if loaded is None:
        return None
    images, rows = loaded
    return updated(images, rows, connection, folder) if rows else images


def renew_columns(connection: sqlite3.Connection, width: int, folder: Path, now: LogPosition) -> bool:
    """Bring the file up to date, or make it; returns whether that was possible. Parameters as of `load_images`."""
    loaded = _load(connection, width, folder, now)
    blocks = read_blocks(connection, width, folder) if loaded is None else updated_blocks(*loaded, connection, folder)
    return store_images(folder, blocks, count_images(connection), now)


def _load(
    connection: sqlite3.Connection, width: int, folder: Path, now: LogPosition
) -> tuple[Images, list[Row]] | None:
    """The images of the file, and the rows that changed since; None where the file cannot serve."""
    header = _read_header(folder / NAME)
    rows = None if header is None else read_changed_rows(connection, header.position, now)
    if header is None or rows is None or header.columns["checksums"][1][1] != width:
        return None
    try:
        with (folder / NAME).open("rb") as stream:
            columns = _map_columns(stream, header)
    except (OSError, ValueError):
        return None
    if columns is None:
        log.warning("%s is damaged and is made again", folder / NAME)
        return None
    images = _of_columns(connection, folder, header, columns)
    return None if images is None else (images, rows)


def _arrays(columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    return {name: columns[name] for name in COLUMNS}


def _of_columns(
    connection: sqlite3.Connection, folder: Path, header: _Header, columns: Mapping[str, NDArray[Any]] | None
) -> Images | None:
    """The images that columns are of; None where there are no columns, or the catalog lacks one of their sources."""
    numbers, paths = read_sources(connection, folder)
    known = {number: at for at, number in enumerate(numbers)}
    if columns is None or any(number not in known for number in header.source_numbers):
        return None
    sources = columns["sources"]
    if header.source_numbers != numbers:
        sources = np.array([known[number] for number in header.source_numbers], np.int32)[sources]
    return Images(
        classes=header.classes,
        source_paths=paths,
        source_numbers=numbers,
        files=FileNames(columns["text"], columns["starts"], columns["lengths"]),
        **_arrays(columns) | {"sources": sources},
    )


def store_images(folder: Path, blocks: Iterable[Images], count: int, position: LogPosition) -> bool:
    """Write the file; returns whether that was possible: a full disk or a read-only folder costs no more than time.

    blocks: all images, `count` of them, in order of their ids. Nothing is written where a row is damaged.
    """
    try:
        with new_path(folder / NAME, sync=False) as partial, partial.open("w+b") as stream:
            _write(stream, blocks, count, position)
    except (OSError, DiskFullError) as error:
        log.info("the columns of the catalog in %s cannot be stored (%s)", folder, error)
        return False
    except _DamagedRowsError:
        return False
    return True


def uncached_images(connection: sqlite3.Connection, width: int, folder: Path) -> Images | None:
    """Every image as the catalog has it, in a file without a name; None where that cannot be, or a row is damaged."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            blocks = read_blocks(connection, width, folder)
            header = _write(stream, blocks, count_images(connection), LogPosition(0, 0, 0))
            return _of_columns(connection, folder, header, _map_columns(stream, header))
    except (OSError, _DamagedRowsError):
        return None


class _DamagedRowsError(CollectionError):
    """A row of the catalog is not what was written."""


def _write(stream: BinaryIO, blocks: Iterable[Images], count: int, position: LogPosition) -> _Header:
    """Write all columns block by block, each at its place, then the header. Raises _DamagedRowsError, OSError."""
    columns: dict[str, _Written] = {}
    classes: dict[str, int] = {}
    present: set[int] = set()
    numbers: tuple[int, ...] = ()
    stream.write(_MARK)
    for block in blocks:
        if block.damaged:
            raise _DamagedRowsError
        names = block.files if isinstance(block.files, FileNames) else FileNames.of(block.files)
        names, numbers = names.compact(), block.source_numbers
        own = np.array([*(classes.setdefault(name, len(classes)) for name in block.classes), -1], np.int32)
        arrays: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(getattr(block, name)) for name in COLUMNS}
        present.update(np.unique(own[block.labels]).tolist())
        arrays |= {"labels": own[block.labels], "lengths": names.lengths, "text": names.text}
        arrays["starts"] = names.starts + (columns["text"].rows if columns else 0)
        if not columns:
            end = len(_MARK)
            for name in (*COLUMNS, "starts", "lengths", "text"):
                columns[name] = _Written.beginning(_aligned(end), arrays[name])
                end = columns[name].offset + count * columns[name].row_size
        for name, array in arrays.items():
            columns[name].append(stream, array)
    if columns["ids"].rows != count:
        raise OSError(f"the catalog has {columns['ids'].rows} images, not {count}")
    order = sorted(name for name, at in classes.items() if at in present)  # a block may name classes that it lacks
    rank = {name: at for at, name in enumerate(order)}
    columns["labels"].translate(stream, np.array([*(rank.get(name, -1) for name in classes), -1], np.int32))
    stream.seek(0, os.SEEK_END)
    header = _Header(position, tuple(order), numbers, {name: column.stated for name, column in columns.items()})
    text = json.dumps(header.to_dict()).encode()
    stream.write(text + len(text).to_bytes(8, "little") + zlib.crc32(text).to_bytes(4, "little"))
    stream.flush()
    return header


@dataclass
class _Written:
    """A column as far as it is written."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    rows: int = 0
    crc: int = 0

    @staticmethod
    def beginning(offset: int, array: NDArray[Any]) -> _Written:
        """A column at a place of the file, of rows such as those of an array (n, ...)."""
        return _Written(array.dtype, array.shape[1:], offset)

    @property
    def row_size(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def stated(self) -> tuple[str, tuple[int, ...], int, int]:
        """As the header states it."""
        return self.dtype.str, (self.rows, *self.shape), self.offset, self.crc

    def append(self, stream: BinaryIO, array: NDArray[Any]) -> None:
        """Write further rows."""
        data = array.reshape(-1).view(np.uint8).data if array.size else b""
        stream.seek(self.offset + self.rows * self.row_size)
        stream.write(data)
        self.rows, self.crc = self.rows + len(array), zlib.crc32(data, self.crc)

    def translate(self, stream: BinaryIO, table: NDArray[Any]) -> None:
        """Write what a table has for each number in the place of the number."""
        if (table[:-1] == np.arange(len(table) - 1)).all():
            return
        rows, self.rows, self.crc = self.rows, 0, 0
        for start in range(0, rows, _BLOCK):
            stream.seek(self.offset + start * self.row_size)
            numbers = np.frombuffer(stream.read(min(_BLOCK, rows - start) * self.row_size), self.dtype)
            self.append(stream, table[numbers])


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED


def _read_header(file: Path) -> _Header | None:
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            if stream.read(len(_MARK)) != _MARK or size < len(_MARK) + _TAIL:
                return None
            stream.seek(size - _TAIL)
            length, crc = int.from_bytes(stream.read(8), "little"), int.from_bytes(stream.read(4), "little")
            if not 0 < length <= size - _TAIL - len(_MARK):
                return None
            stream.seek(size - _TAIL - length)
            text = stream.read(length)
    except OSError:
        return None
    return _Header.from_dict(json.loads(text)) if zlib.crc32(text) == crc else None


def _map_columns(stream: BinaryIO, header: _Header) -> dict[str, NDArray[Any]] | None:
    """The columns, memory-mapped, or None where one is not what was written."""
    columns = {}
    for name, (dtype, shape, offset, crc) in header.columns.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        # Read, not mapped: a page that only the checksum needs would count as memory of this process.
        if _crc(stream, offset, size) != crc:
            return None
        mapped = np.memmap(stream, dtype, "r", offset, shape) if size else np.empty(shape, dtype)
        columns[name] = mapped.view(np.ndarray)
    return columns


def _crc(stream: Any, offset: int, size: int) -> int:
    stream.seek(offset)
    crc, buffer = 0, memoryview(bytearray(_BLOCK))
    while size and (count := stream.readinto(buffer[: min(size, _BLOCK)])):
        crc = zlib.crc32(buffer[:count], crc)
        size -= count
    return crc if not size else -1
