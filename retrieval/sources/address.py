"""Paths as people write them, and web addresses where a local path is expected."""

from __future__ import annotations

import re
from pathlib import Path

_SCHEME = re.compile(r"(?i)([a-z][a-z0-9+.-]+):/+(?=[^/])")
"""Two letters at least, so that a drive such as `C:/` is a path. `Path` has collapsed `//` to `/`."""


_NOT_LISTED = frozenset({"http", "https", "ftp", "file", "local", "data"})
"""Schemes of fsspec whose folders cannot be listed reliably, or that are paths."""


def remote_reason(path: str | Path) -> str | None:
    """Why a path cannot be opened where it is a web address, with the remedy; None for a path.

    A file that really lies under such a name is a path.
    """
    text = str(path)
    if text[:5].lower() == "data:" and "," in text:
        return f"{text[:24]}… is a data URL, not a path; decode it and give the bytes or a file"
    scheme = _SCHEME.match(text)
    if scheme is None or _exists(text):
        return None
    rest = text[scheme.end() :]
    if scheme[1].lower() == "file":
        return f"file:///{rest} is an address, not a path; give /{rest}"
    return f"{scheme[1]}://{rest} is a web address; only local files are read: download it first and give its path"


def location_url(path: str | Path) -> str | None:
    """The address of a folder that fsspec reads, such as s3://bucket/pictures; None for a path and a web address.

    A file that really lies under such a name is a path.
    """
    scheme = _SCHEME.match(str(path))
    if scheme is None or scheme[1].lower() in _NOT_LISTED or _exists(str(path)):
        return None
    from fsspec import available_protocols

    if scheme[1].lower() not in available_protocols():
        return None
    return f"{scheme[1].lower()}://{str(path)[scheme.end() :]}"


def stored_place(folder: Path, stored: str) -> Path:
    """The place of a source that a collection in `folder` stores: an address, or a path that may lie relative to it."""
    return Path(stored) if location_url(stored) else folder / stored


def expanded(path: str | Path) -> Path:
    """A path with `~` replaced by a home folder; as it is written where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # a name that is too long
        return False
