"""Vectors of one space on disk: a plain array whose row number is the image id.

Rows are only ever written before the catalog says that they exist, so a row that a reader knows of never changes, but
for a damaged one that is mended, and whatever a stop left half written is never looked at or known as damaged.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.catalog import NAME as CATALOG
from retrieval.collection.catalog import checksum
from retrieval.collection.manifest import FormatError, SpaceDefinition
from retrieval.errors import CollectionError

COPIED_UP_TO = 64 << 20
"""Bytes of vectors up to which they are rather copied than gathered from the file again and again."""
_BLOCK = 4096
"""Vectors that are read together where they are gone through one by one."""


class ShortVectorsError(FormatError):
    """A file of vectors is shorter than the catalog says."""


class ReplacedCollectionError(CollectionError):
    """Another collection took the place of this one while it was read; try again."""


def vectors_path(collection: Path, space: SpaceDefinition) -> Path:
    """The file that holds a space's vectors: of each generation, see `replace_space`, another one."""
    name = space.name if space.generation == 1 else f"{space.name}~{space.generation}"  # '~' is in no space's name
    return collection / "vectors" / f"{name}.{space.dtype}"


def map_vectors(
    collection: Path, space: SpaceDefinition, start: int, stop: int, descriptor: int | None = None
) -> NDArray[np.generic]:
    """Rows start to stop of a space, (stop - start, d), memory-mapped and read-only.

    descriptor: of the file, where it is open. Where the file is shorter than the catalog says, ValueError; an empty
    array needs no file.
    """
    if start == stop:
        return np.empty((0, space.dimension), space.dtype)
    dtype = np.dtype(space.dtype)
    offset = start * space.dimension * dtype.itemsize
    path = vectors_path(collection, space)
    with path.open("rb") if descriptor is None else os.fdopen(os.dup(descriptor), "rb") as stream:
        return np.memmap(stream, dtype, "r", offset, (stop - start, space.dimension))


class StoredRows:
    """A space's vectors by image id, memory-mapped; sees rows that are appended later.

    Appended rows have a map of their own, until they are an eighth of the rest: the pages of a new map of everything
    would have to be faulted in one by one by the searches after a write. `take` and `row` raise ShortVectorsError where
    the file is shorter than it must be to have the row of an id. Reading a map of a file that was cut later ends the
    process with SIGBUS: so every search calls `require_whole` first.

    catalog: inode of the catalog that lists the ids; with a restored collection in its place, vectors are those of
    other images, and ReplacedCollectionError is raised.
    """

    def __init__(self, collection: Path, space: SpaceDefinition, catalog: int | None = None) -> None:
        self._collection = collection
        self._catalog = catalog
        self._space = space
        self._descriptor: int | None = None
        # The first rows and those appended since; replaced together, because other threads read them meanwhile.
        self._maps: tuple[NDArray[Any], NDArray[Any]] = (self._map(0, 0), self._map(0, 0))
        self._stride = space.dimension * np.dtype(space.dtype).itemsize

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._space.dimension

    def require_whole(self) -> None:
        """Raise ShortVectorsError where the file that is mapped has been cut since."""
        rows = sum(map(len, self._maps))
        if self._descriptor is not None and os.fstat(self._descriptor).st_size < rows * self._stride:
            raise self._too_short(ValueError("it has been cut short"))

    def take(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Vectors (m, d) of image ids (m,); a view, not a copy, where the ids are consecutive and ascending."""
        self.require_whole()
        return self.take_unchecked(ids)

    def take_unchecked(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """`take` right after `require_whole`: to look at the file again takes longer than to read ten vectors."""
        if not len(ids):
            return self._maps[0][:0]
        first, last = int(ids[0]), int(ids[-1])
        if last - first == len(ids) - 1 and bool((ids[1:] > ids[:-1]).all()):
            return self._consecutive(first, last + 1)
        mapped, appended = self._mapped(int(ids.max()) + 1)
        late = ids >= len(mapped)
        if not late.any():
            return mapped[ids]
        vectors = np.empty((len(ids), self._space.dimension), self._space.dtype)
        vectors[~late] = mapped[ids[~late]]
        vectors[late] = appended[ids[late] - len(mapped)]
        return vectors

    def mapped(self, ids: NDArray[np.int64]) -> NDArray[Any] | None:
        """The map whose row numbers are image ids, where one has all of ids (m,) ascending; else None."""
        self.require_whole()
        first, _ = self._mapped(int(ids[-1]) + 1)
        return first if len(first) > ids[-1] else None

    def row(self, image_id: int) -> NDArray[Any]:
        """A copy of one vector, (d,)."""
        self.require_whole()
        return np.array(self._consecutive(image_id, image_id + 1)[0])

    def _consecutive(self, start: int, stop: int) -> NDArray[Any]:
        mapped, appended = self._mapped(stop)
        if stop <= len(mapped):
            return mapped[start:stop]
        if start >= len(mapped):
            return appended[start - len(mapped) : stop - len(mapped)]
        mapped = self._map(0, stop)
        self._maps = mapped, self._map(0, 0)
        return mapped[start:stop]

    def _mapped(self, rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Maps of the file's first rows and of those appended since, together of `rows` rows or more."""
        mapped, appended = self._maps
        if len(mapped) + len(appended) < rows:
            rows = max(rows, self._row_count())
            if len(mapped) < 8 * (rows - len(mapped)):
                mapped, appended = self._map(0, rows), self._map(0, 0)
            else:
                appended = self._map(len(mapped), rows)
            self._maps = mapped, appended
        return mapped, appended

    def _row_count(self) -> int:
        """How many rows the file has."""
        try:
            if self._descriptor is not None:
                return os.fstat(self._descriptor).st_size // self._stride
            return vectors_path(self._collection, self._space).stat().st_size // self._stride
        except OSError as error:
            raise self._too_short(error) from error

    def _map(self, start: int, stop: int) -> NDArray[Any]:
        try:
            if stop > start and self._descriptor is None:
                self._descriptor = self._opened()
                weakref.finalize(self, os.close, self._descriptor)
            # As a plain array: indexing numpy's own class for maps takes ten times as long.
            return map_vectors(self._collection, self._space, start, stop, self._descriptor).view(np.ndarray)
        except (OSError, ValueError) as error:
            raise self._too_short(error) from error

    def _opened(self) -> int:
        """A descriptor of the file that belongs to the catalog: a collection is replaced as a whole, in one step."""
        descriptor = os.open(vectors_path(self._collection, self._space), os.O_RDONLY)
        if self._catalog is not None and (self._collection / CATALOG).stat().st_ino != self._catalog:
            os.close(descriptor)
            raise ReplacedCollectionError(f"{self._collection} was replaced by another collection; try again")
        return descriptor

    def _too_short(self, error: Exception) -> ShortVectorsError:
        return ShortVectorsError(
            f"{vectors_path(self._collection, self._space)} does not hold the vectors that the catalog lists "
            f"({error}); `kvasir verify --repair {self._collection}` makes them anew"
        )


def release(array: NDArray[Any] | None) -> None:
    """Give back the memory of what was read of a mapped array; it is read from the file again where it is used."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def release_range(address: int, size: int) -> None:
    """`release` of the whole pages within a range of memory, which some library has mapped from a file."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    start, end = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE, (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        madvise(start, end - start, mmap.MADV_DONTNEED)


class GatheredVectors(np.lib.mixins.NDArrayOperatorsMixin):
    """Vectors (m, d) between whose ids others were removed: indexed as an array of them, read as they are indexed.

    An array of all of them would be a copy of the file in memory. Whatever else an array has, `mean` or `@`, is
    computed from such a copy, which is not retained.
    """

    def __init__(self, rows: StoredRows, ids: NDArray[np.int64]) -> None:
        self._rows = rows
        self._ids = ids
        self.dtype = rows.take(ids[-1:]).dtype  # raises where the file is too short for the last one

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d)."""
        return len(self._ids), self._rows.dimension

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors."""
        return len(self._ids) * self._rows.dimension * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Any:
        rows, *columns = index if isinstance(index, tuple) else (index,)
        if np.ndim(rows) and any(map(np.ndim, columns)):
            raise IndexError("rows and columns cannot both be arrays, which NumPy would pair: index the rows first")
        ids = self._ids[rows]
        taken = self._rows.take(ids) if np.ndim(ids) == 1 else self._rows.take(np.ravel(ids)).reshape(*ids.shape, -1)
        return taken[(slice(None),) * np.ndim(ids) + tuple(columns)] if columns else taken

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("vectors between which others were removed are no array without a copy")
        return np.asarray(self._rows.take(self._ids), dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [np.asarray(value) if isinstance(value, GatheredVectors) else value for value in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying and pickling look for methods that arrays have and this class has not
            raise AttributeError(name)
        return getattr(np.asarray(self), name)


class RowFile:
    """A file of rows of one length, open to write and to read them in any order, from any thread."""

    def __init__(self, path: Path, stride: int) -> None:
        self._path = path
        self._stride = stride
        self._unsynced = False
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def write(self, row: int, data: bytes) -> None:
        """Write one row or several consecutive ones."""
        assert len(data) % self._stride == 0
        self._unsynced = True
        start = row * self._stride
        try:
            # A large write may be cut short, and so may one on a full disk, whose next one fails.
            while data:
                written = os.pwrite(self._descriptor, data, start)
                data, start = data[written:], start + written
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def read(self, row: int) -> bytes:
        """The bytes of one row; fewer where the file ends before."""
        return os.pread(self._descriptor, self._stride, row * self._stride)

    def sync(self) -> None:
        """Force what was written to disk."""
        if self._unsynced:
            os.fsync(self._descriptor)
            self._unsynced = False

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class VectorFile(RowFile):
    """A space's file, open for writing rows."""

    def __init__(self, collection: Path, space: SpaceDefinition) -> None:
        path = vectors_path(collection, space)
        path.parent.mkdir(exist_ok=True)
        self._dtype = space.dtype
        super().__init__(path, space.dimension * np.dtype(space.dtype).itemsize)

    def put(self, row: int, vectors: Sequence[NDArray[np.generic]]) -> list[int]:
        """Write the vectors (d,) of consecutive rows; returns the CRC-32 of each."""
        rows = [np.ascontiguousarray(vector, self._dtype).tobytes() for vector in vectors]
        assert all(len(data) == self._stride for data in rows)
        self.write(row, b"".join(rows))
        return [checksum(data) for data in rows]
