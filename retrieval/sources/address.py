"""Paths as people write them, and web addresses where a local path is expected."""

from __future__ import annotations

import re
from pathlib import Path

_SCHEME = re.compile(r"(?i)([a-z][a-z0-9+.-]+):/+(?=[^/])")
"""Two letters at least, so that a drive such as `C:/` is a path. `Path` has collapsed `//` to `/`."""


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
