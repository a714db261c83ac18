"""FAISS indexes kept on disk between runs, each ending with the SHA-256 of itself.

FAISS neither notices a flipped bit nor survives every one, but it reads no further than its own data, so it takes no
notice of the seal.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_MARK = b"kvasir index sha256 "
_BLOCK = 1 << 20


def write_kept(index: Any, file: Path, outdated: Iterable[Path] = ()) -> None:
    """Keep a FAISS index, and delete outdated files, if the disk and the folder's rights allow."""
    import faiss

    beside = file.with_name(f"{file.name}.{os.getpid()}.new")  # two readers may build it at once
    try:
        file.parent.mkdir(exist_ok=True)
        faiss.write_index(index, str(beside))
        seal(beside)
        for other in outdated:
            other.unlink(missing_ok=True)
        beside.replace(file)
    except (OSError, RuntimeError) as error:  # a full disk or a folder for reading only costs time, not the answer
        log.warning("the index %s cannot be kept and will be built again next time (%s)", file, error)


def read_kept(file: Path) -> Any | None:
    """The FAISS index in a file, or None where there is none or it is damaged, which is told."""
    import faiss

    if not file.exists():
        return None
    try:
        if not is_intact(file):
            log.warning("the index %s is damaged and is built again", file)
            return None
        return faiss.read_index(str(file))
    except (OSError, RuntimeError):  # FAISS raises RuntimeError for whatever it cannot read
        return None


def seal(file: Path) -> None:
    """Append the seal to a file that was just written."""
    digest = _digest(file, file.stat().st_size)
    with file.open("ab") as stream:
        stream.write(_MARK + digest)


def is_intact(file: Path) -> bool:
    """Whether a file is what was sealed; one without a seal is not."""
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
