"""What was fitted to a collection and lies in its folder, by name; a running server sees that a file is replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from retrieval.collection import Collection

Fitted = TypeVar("Fitted")


class FittedFiles(Generic[Fitted]):
    """Files of one state of a collection, each loaded once, and again once it is replaced.

    path_of: collection's folder, name -> file. load: collection, name -> what is in it, None where it does not serve.
    """

    def __init__(self, path_of: Callable[[Path, str], Path], load: Callable[[Collection, str], Fitted | None]) -> None:
        self._path_of, self._load = path_of, load
        self._paths: dict[str, Path] = {}
        self._loaded: dict[str, tuple[int, Fitted | None]] = {}

    def get(self, collection: Collection, name: str) -> Fitted | None:
        """What is fitted under a name, if there is anything."""
        if name not in self._paths:
            self._paths[name] = self._path_of(collection.path, name)
        try:
            stamp = self._paths[name].stat().st_mtime_ns
        except OSError:
            return None
        if name not in self._loaded or self._loaded[name][0] != stamp:
            self._loaded[name] = stamp, self._load(collection, name)
        return self._loaded[name][1]
