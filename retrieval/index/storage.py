"""FAISS indexes stored on disk, each file ending with the SHA-256 of itself.

FAISS has no checksum and may crash on corrupt files, so a SHA-256 trailer is appended; FAISS ignores it. A space's
files lie in a folder of its own, `index/SPACE/`, so that no space's name can be taken for the beginning of another's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from retrieval.disk import PARTIAL, DiskFullError, new_path

log = logging.getLogger(__name__)

FOLDER = "index"
LOCK = "writer.lock"
"""File in each space's folder that is locked while another is written there."""
PUSH_LOCK = "push.lock"
"""File in the folder of all indexes that is locked while a collection is pushed to a vector engine."""
INDEX_FILE = "proposer.faiss"
CHECKPOINT_FILE = "building.faiss"
"""An index that is being built, as far as it was at the last checkpoint."""
WANTED_FILE = "wanted.json"
"""Recall and memory that the index is to be built for."""
_MARK = b"kvasir index sha256 "
_BLOCK = 1 << 20
_CODES = 4_096
"""Codes that are read at once."""


def index_folder(collection: Path, space: str) -> Path:
    """Where the files of a space's index lie."""
    return collection / FOLDER / space


def stored_size(collection: Path, space: str) -> int:
    """Bytes of the files of a space's index."""
    folder = index_folder(collection, space)
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0


def earlier_files(folder: Path, space: str) -> list[Path]:
    """Files of a space's index as versions before this one named them: not in a folder of the space."""
    named = re.compile(re.escape(space) + r"\.(HNSW32|IVF\d+,PQ\d+x4fs|[0-9a-f]{16}\.ivf)\.faiss(\.\d+\.new)?")
    return [file for file in folder.glob("*.*") if named.fullmatch(file.name)] if folder.is_dir() else []


def _write_index(index: Any, file: Path, append: Callable[[Path], None]) -> None:
    import faiss

    for left in file.parent.glob(f"*{PARTIAL}"):
        left.unlink()
    with new_path(file, sync=False) as partial:  # an index that a power cut damages is built again
        faiss.write_index(index, str(partial))
        append(partial)
        append_digest(partial)
    if file.name == CHECKPOINT_FILE:
        return
    for other in file.parent.iterdir():
        if other.name not in (file.name, LOCK, WANTED_FILE):
            other.unlink()
    for other in earlier_files(file.parent.parent, file.parent.name):
        other.unlink()


@dataclass(frozen=True, eq=False)
class StoredIndex:
    """index: FAISS's; None where only what was said of it was read. labels: (n,) int64, the image at each position.
    facts: what else is known of it, as plain values.
    """

    index: Any
    labels: NDArray[np.int64]
    facts: dict[str, Any]


@contextmanager
def building_lock(folder: Path | None) -> Iterator[bool]:
    """The lock of a folder's writer during a build; False where another process has it. A read-only folder has none."""
    if folder is None:
        yield True
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def write_stored(stored: StoredIndex, file: Path) -> bool:
    """Store an index with its labels and facts, which FAISS ignores; returns whether that was possible.

    For holders of the folder's `building_lock`. A finished index is the only one in its folder; a checkpoint leaves it
    alone. Where the disk is full or the folder is for reading only, a warning is logged, nothing partial is left, and
    the index is built again next time. What an earlier writer left partial is deleted.
    """
    facts = json.dumps(stored.facts).encode()

    def append(partial: Path) -> None:
        with partial.open("ab") as stream:
            stream.write(np.ascontiguousarray(stored.labels, "<i8").tobytes())
            stream.write(facts)
            stream.write(len(stored.labels).to_bytes(8, "little") + len(facts).to_bytes(8, "little"))

    try:
        _write_index(stored.index, file, append)
    except (OSError, RuntimeError, DiskFullError) as error:  # FAISS raises RuntimeError for whatever it cannot write
        log.warning("the index %s cannot be stored and will be built again next time (%s)", file, error)
        return False
    return True


def code_blocks(file: Path, width: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Labels (m,) and 8-bit codes (m, width) of a stored graph or refined inverted file, without loading it.

    FAISS writes the codes last, after their number: of a graph at the very end, of an inverted file that they refine
    before one more number. Raises ValueError where they are not there, OSError.
    """
    with file.open("rb") as stream:
        ids, _, end = _read_tail(stream)
        for behind in (0, 4):
            stream.seek(max(0, end - behind - len(ids) * width - 8))
            if int.from_bytes(stream.read(8), "little") == len(ids) * width:
                break
        else:
            raise ValueError(f"{file} has no codes of {width} numbers at its end")
        for start in range(0, len(ids), _CODES):
            labels = ids[start : start + _CODES]
            codes = np.frombuffer(stream.read(len(labels) * width), np.uint8)
            yield labels, codes.reshape(len(labels), width)


def read_stored(file: Path, load: bool = True) -> StoredIndex | None:
    """An index with its labels and facts; None where there is none or it is damaged, which is logged.

    load: read the index too, and compare its SHA-256; without, facts and labels alone.
    """
    index = read_index(file) if load else None
    if load and index is None:
        return None
    try:
        with file.open("rb") as stream:
            ids, facts, _ = _read_tail(stream)
            return StoredIndex(index, ids, facts)
    except (OSError, ValueError):
        return None


def _read_tail(stream: BinaryIO) -> tuple[NDArray[np.int64], dict[str, Any], int]:
    """What follows FAISS's index in a file: labels (n,), facts, and where they begin. Raises ValueError, OSError."""
    end = stream.seek(0, os.SEEK_END) - len(_MARK) - hashlib.sha256().digest_size - 16
    stream.seek(max(0, end))
    labels, facts = int.from_bytes(stream.read(8), "little"), int.from_bytes(stream.read(8), "little")
    if stream.read(len(_MARK)) != _MARK or 8 * labels + facts > end:
        raise ValueError("it is not an index with labels and facts")
    start = stream.seek(end - facts - 8 * labels)
    ids = np.frombuffer(stream.read(8 * labels), "<i8").astype(np.int64)
    return ids, json.loads(stream.read(facts)), start


def read_index(file: Path) -> Any | None:
    """The FAISS index in a file, or None where there is none or it is damaged, which is logged."""
    import faiss

    if not file.exists():
        for other in earlier_files(file.parent.parent, file.parent.name):
            log.warning("the index %s was made by an earlier version and is built again", other)
        return None
    try:
        if not is_intact(file):
            log.warning("the index %s is damaged and is built again", file)
            return None
        return faiss.read_index(str(file))
    except (OSError, RuntimeError):  # FAISS raises RuntimeError for whatever it cannot read
        return None


def append_digest(file: Path) -> None:
    """Append the SHA-256 trailer to a file that was just written."""
    digest = _digest(file, file.stat().st_size)
    with file.open("ab") as stream:
        stream.write(_MARK + digest)


def is_intact(file: Path) -> bool:
    """Whether a file is what was written; one without a trailer is not."""
    end = file.stat().st_size - len(_MARK) - hashlib.sha256().digest_size
    if end < 0:
        return False
    with file.open("rb") as stream:
        stream.seek(end)
        return stream.read() == _MARK + _digest(file, end)


def _digest(file: Path, size: int) -> bytes:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while size and (block := stream.read(min(size, _BLOCK))):
            digest.update(block)
            size -= len(block)
    return digest.digest()
