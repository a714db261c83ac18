"""Images that were stored as vectors alone, without pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal, NoReturn

from retrieval.errors import PictureError
from retrieval.sources.source import Entry


class NoStoredPictureError(PictureError):
    """An image was stored as vectors alone, so it has no picture."""


class Vectors:
    """The names of images that have vectors but no picture; to read one is an error."""

    kind: Literal["vectors"] = "vectors"
    notes: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ignored: Counter[str] = Counter()

    def entry(self, file: str) -> NoReturn:
        """Raises NoStoredPictureError."""
        raise NoStoredPictureError(f"{file} has no picture: it was stored as vectors alone; search by its id instead")

    def read(self, file: str) -> NoReturn:
        """Raises NoStoredPictureError."""
        self.entry(file)

    def head(self, file: str, size: int) -> NoReturn:
        """Raises NoStoredPictureError."""
        self.entry(file)

    def close(self) -> None:
        """Nothing is open."""
