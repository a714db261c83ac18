"""Paths of images inside their sources, as one array of bytes instead of a string object each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096
"""Names that are decoded together."""


@dataclass(frozen=True, eq=False)
class FileNames(Sequence[str]):
    """Immutable sequence of n strings; a million take 10 ms to load where tuples take seconds.

    text: UTF-8 of all names, (b,) uint8, memory-mapped or not. starts: (n,) int64 and lengths: (n,) int32, where each
    name lies in `text`. Names may lie in any order there, and some bytes may belong to none.
    """

    text: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]

    @staticmethod
    def of(names: Iterable[str]) -> FileNames:
        """The same names, packed."""
        packer = NamePacker()
        for name in names:
            packer.append(name)
        return packer.packed()

    @staticmethod
    def joined(parts: Sequence[FileNames]) -> FileNames:
        """The names of all parts, in order."""
        compact = [part.compact() for part in parts]
        text = np.concatenate([part.text for part in compact])
        return FileNames.consecutive(text, np.concatenate([part.lengths for part in compact]))

    @staticmethod
    def consecutive(text: NDArray[np.uint8], lengths: NDArray[np.int32]) -> FileNames:
        """Names that lie in order and without gaps."""
        starts = np.zeros(len(lengths), np.int64)
        np.cumsum(lengths[:-1], dtype=np.int64, out=starts[1:])
        return FileNames(text, starts, lengths)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return FileNames(self.text, self.starts[index], self.lengths[index])
        start = int(self.starts[index])
        return self.text[start : start + int(self.lengths[index])].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for at in range(0, len(self), _BLOCK):
            block = slice(at, at + _BLOCK)
            for start, length in zip(self.starts[block].tolist(), self.lengths[block].tolist(), strict=True):
                yield self.text[start : start + length].tobytes().decode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (FileNames, tuple, list)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<FileNames: {len(self):,}>"

    def taken(self, places: NDArray[np.int64]) -> FileNames:
        """The names at places (m,)."""
        return FileNames(self.text, self.starts[places], self.lengths[places])

    def equal(self) -> list[list[int]]:
        """Positions of names that stand there several times, ascending, those of each name together.

        Takes 16 bytes a name beside the names; a dictionary would take ten times that.
        """
        hashes = self._hashes()
        order = np.argsort(hashes, kind="stable")
        same = hashes[order[1:]] == hashes[order[:-1]]
        edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
        groups: dict[tuple[int, str], list[int]] = {}
        for start, end in edges.reshape(-1, 2).tolist():
            for at in order[start : end + 1].tolist():
                groups.setdefault((start, self[at]), []).append(at)
        return sorted(group for group in groups.values() if len(group) > 1)

    def _hashes(self) -> NDArray[np.int64]:
        """A number of each name, (n,), the same for equal names within one process."""
        return np.fromiter(map(hash, self), np.int64, len(self))

    def compact(self) -> FileNames:
        """The same names, whose bytes lie in order and without gaps."""
        ends = self.starts + self.lengths
        in_order = bool((self.starts[1:] == ends[:-1]).all()) if len(self) else True
        if in_order:
            first, last = (int(self.starts[0]), int(ends[-1])) if len(self) else (0, 0)
            return FileNames(self.text[first:last], self.starts - first, self.lengths)
        return FileNames.of(self)

    def merged(self, keep: Any, added: Sequence[str]) -> FileNames:
        """The names after a change of rows. keep: old column, added column -> column, as it is made of the others."""
        new = FileNames.of(added)
        text = np.concatenate([self.text, new.text]) if len(new) else self.text
        return FileNames(text, keep(self.starts, new.starts + len(self.text)), keep(self.lengths, new.lengths))


class NamePacker:
    """Packs names one by one, so that they need not all be in memory as strings."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._lengths = array("i")

    def append(self, name: str) -> None:
        """Pack one more name."""
        encoded = name.encode("utf-8", "surrogatepass")
        self._text += encoded
        self._lengths.append(len(encoded))

    def packed(self) -> FileNames:
        """The names so far; none can be appended afterwards."""
        return FileNames.consecutive(np.frombuffer(self._text, np.uint8), np.frombuffer(self._lengths, np.int32))
