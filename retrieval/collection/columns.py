"""The catalog's rows as one columnar file, which opens in milliseconds where SQLite reads a million rows in seconds.

It is a cache: made from the catalog, valid for the state of the change log that it names, brought up to date by the
rows that changed since, and made anew where it is missing, damaged or of another catalog. `kvasir verify` reads the
catalog itself.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.changes import LogPosition, read_changed_rows
from retrieval.collection.file_names import FileNames
from retrieval.collection.images import Images, read_sources, updated
from retrieval.disk import DiskFullError, new_path

log = logging.getLogger(__name__)

NAME = "catalog.columns"
FROM = 20_000
"""Images from which the file pays; fewer are read from the catalog as fast."""

_MARK = b"kvasir columns 2\n"
_ALIGNED = 64
_BLOCK = 1 << 20
_COLUMNS = ("ids", "labels", "clusters", "sizes", "checksums", "contents", "marks", "scene_rows", "sources")


@dataclass(frozen=True)
class _Header:
    """position: of the change log. classes, source_numbers, damaged: as in `Images`. columns: by name its dtype, shape,
    offset in the file and CRC-32.
    """

    position: LogPosition
    classes: tuple[str, ...]
    source_numbers: tuple[int, ...]
    damaged: tuple[int, ...]
    columns: dict[str, tuple[str, tuple[int, ...], int, int]]


def stored_position(folder: Path) -> LogPosition | None:
    """The state of the change log that the file is of; None where there is no usable file."""
    header = _read_header(folder / NAME)
    return None if header is None else header.position


def load_images(connection: sqlite3.Connection, width: int, folder: Path, now: LogPosition) -> Images | None:
    """Every image from the file, brought up to date; None where it cannot serve.

    To be called within the transaction that `now`, the end of the change log, was read in. width: columns of
    checksums.
    """
    header = _read_header(folder / NAME)
    if header is None:
        return None
    rows = read_changed_rows(connection, header.position, now)
    columns = None if rows is None else _map_columns(folder / NAME, header)
    if rows is None or columns is None or columns["checksums"].shape[1] != width:
        return None
    numbers, paths = read_sources(connection, folder)
    known = {number: at for at, number in enumerate(numbers)}
    if any(number not in known for number in header.source_numbers):
        return None
    sources = columns["sources"]
    if header.source_numbers != numbers:
        sources = np.array([known[number] for number in header.source_numbers], np.int32)[sources]
    images = Images(
        classes=header.classes,
        source_paths=paths,
        source_numbers=numbers,
        files=FileNames(columns["text"], columns["starts"], columns["lengths"]),
        damaged=header.damaged,
        **{name: columns[name] for name in _COLUMNS} | {"sources": sources},
    )
    return updated(images, rows, connection, folder) if rows else images


def store_images(folder: Path, images: Images, position: LogPosition) -> bool:
    """Write the file; returns whether that was possible: a full disk or a read-only folder costs no more than time."""
    names = images.files if isinstance(images.files, FileNames) else FileNames.of(images.files)
    names = names.compact()
    arrays: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(getattr(images, name)) for name in _COLUMNS}
    arrays |= {"text": names.text, "starts": names.starts, "lengths": names.lengths}
    columns, offset = {}, 0
    for name, array in arrays.items():
        columns[name] = (array.dtype.str, array.shape, offset, zlib.crc32(_bytes_of(array)))
        offset += -(-array.nbytes // _ALIGNED) * _ALIGNED
    stated = {
        "position": [position.log, position.inode, position.sequence],
        "classes": images.classes,
        "source_numbers": images.source_numbers,
        "damaged": images.damaged,
        "columns": columns,
    }
    header = json.dumps(stated).encode()
    head = _MARK + len(header).to_bytes(8, "little") + zlib.crc32(header).to_bytes(4, "little") + header
    try:
        with new_path(folder / NAME, sync=False) as partial, partial.open("wb") as stream:
            stream.write(head.ljust(_start(len(header)), b"\0"))
            for array in arrays.values():
                stream.write(_bytes_of(array))
                stream.write(b"\0" * (-array.nbytes % _ALIGNED))
    except (OSError, DiskFullError) as error:
        log.info("the columns of the catalog in %s cannot be stored (%s)", folder, error)
        return False
    return True


def _bytes_of(array: NDArray[Any]) -> memoryview | bytes:
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def _start(header: int) -> int:
    """Where the first column begins, after a header of so many bytes."""
    return -(-(len(_MARK) + 12 + header) // _ALIGNED) * _ALIGNED


def _read_header(file: Path) -> _Header | None:
    try:
        with file.open("rb") as stream:
            if stream.read(len(_MARK)) != _MARK:
                return None
            size, crc = int.from_bytes(stream.read(8), "little"), int.from_bytes(stream.read(4), "little")
            text = stream.read(size) if size <= file.stat().st_size else b""
    except OSError:
        return None
    if zlib.crc32(text) != crc or len(text) != size:
        return None
    stated = json.loads(text)
    start = _start(size)
    return _Header(
        LogPosition(*stated["position"]),
        tuple(stated["classes"]),
        tuple(stated["source_numbers"]),
        tuple(stated["damaged"]),
        {name: (dtype, tuple(shape), start + at, crc) for name, (dtype, shape, at, crc) in stated["columns"].items()},
    )


def _map_columns(file: Path, header: _Header) -> dict[str, NDArray[Any]] | None:
    """The columns, memory-mapped, or None where one is not what was written."""
    columns = {}
    try:
        with file.open("rb") as stream:
            for name, (dtype, shape, offset, crc) in header.columns.items():
                size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                # Read, not mapped: a page that only the checksum needs would count as memory of this process.
                if _crc(stream, offset, size) != crc:
                    log.warning("%s is damaged and is made again", file)
                    return None
                mapped = np.memmap(stream, dtype, "r", offset, shape) if size else np.empty(shape, dtype)
                columns[name] = mapped.view(np.ndarray)
    except (OSError, ValueError):
        return None
    return columns


def _crc(stream: Any, offset: int, size: int) -> int:
    stream.seek(offset)
    crc, buffer = 0, memoryview(bytearray(_BLOCK))
    while size and (count := stream.readinto(buffer[: min(size, _BLOCK)])):
        crc = zlib.crc32(buffer[:count], crc)
        size -= count
    return crc if not size else -1
