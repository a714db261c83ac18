"""A kept index ends with the SHA-256 of itself, since FAISS neither notices a flipped bit nor survives every one.

FAISS reads no further than its own data, so it takes no notice of the seal.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_MARK = b"kvasir index sha256 "
_BLOCK = 1 << 20


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
