"""Paths of images inside their sources, as one array of bytes instead of a string object each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


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
    def of(names: Sequence[str]) -> FileNames:
        """The same names, packed."""
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[:-1], dtype=np.int64)])[: len(encoded)]
        return FileNames(np.frombuffer(b"".join(encoded), np.uint8), starts, lengths)

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
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            yield self.text[start : start + length].tobytes().decode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (FileNames, tuple, list)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<FileNames: {len(self):,}>"

    def compact(self) -> FileNames:
        """The same names, whose bytes lie in order and without gaps."""
        ends = self.starts + self.lengths
        in_order = bool((self.starts[1:] == ends[:-1]).all()) if len(self) else True
        if in_order:
            first, last = (int(self.starts[0]), int(ends[-1])) if len(self) else (0, 0)
            return FileNames(self.text[first:last], self.starts - first, self.lengths)
        return FileNames.of(list(self))

    def merged(self, keep: Any, added: Sequence[str]) -> FileNames:
        """The names after a change of rows. keep: old column, added column -> column, as it is made of the others."""
        new = FileNames.of(added)
        text = np.concatenate([self.text, new.text]) if len(new) else self.text
        return FileNames(text, keep(self.starts, new.starts + len(self.text)), keep(self.lengths, new.lengths))
