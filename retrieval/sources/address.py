"""Paths as people write them, and web addresses where a local path is expected."""

from __future__ import annotations

import re
from pathlib import Path

_SCHEME = re.compile(r"(?i)([a-z][a-z0-9+.-]+):/+(?=[^/])")
"""Two letters at least, so that a drive such as `C:/` is a path. `Path` has collapsed `//` to `/`."""


EXTRAS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "sftp": "paramiko",
}
"""What is to be installed for a scheme."""
_LISTED = EXTRAS.keys() | {"memory"}
"""Schemes of fsspec that are read; a catalog of somebody else could name any, such as one that runs a program."""
REFUSED_ADDRESS = (
    "an address with a password in it is refused; give the password in the environment or fsspec's configuration"
)
_CREDENTIALS = re.compile(r"(?<=:/)(/*)[^/@]*:(?!\d*(?:/|$)).*@")
"""The `USER:PASSWORD@` of an address. A password may have a slash; a port is none."""


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
    if has_credentials(text):
        return REFUSED_ADDRESS
    if scheme[1].lower() == "file":
        return f"file:///{rest} is an address, not a path; give /{rest}"
    return f"{scheme[1]}://{rest} is a web address; only local files are read: download it first and give its path"


def location_url(path: str | Path) -> str | None:
    """The address of a folder that fsspec reads, such as s3://bucket/pictures; None for a path and a web address.

    None as well for an address with a password, and for a chain of file systems (`::`). A file that really lies under
    such a name is a path.
    """
    text = str(path)
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() not in _LISTED or "::" in text or has_credentials(text) or _exists(text):
        return None
    return f"{scheme[1].lower()}://{text[scheme.end() :]}"


def has_credentials(location: str) -> bool:
    """Whether an address has a password in it."""
    return _CREDENTIALS.search(location) is not None


def without_credentials(text: str) -> str:
    """An address without its user and password; any other text as it is."""
    return _CREDENTIALS.sub(r"\1", text)


def stored_place(folder: Path, stored: str) -> Path:
    """The place of a source that a collection in `folder` stores: an address, or a path that may lie relative to it."""
    return Path(stored) if location_url(stored) or remote_reason(stored) else folder / stored


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
