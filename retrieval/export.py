"""Vectors out of a collection: for each space a `.npy` file and a table of its rows, for other programs and for import.

An export is a folder with an `export.json`, written under another name and renamed, so a stop leaves the earlier one.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, SpaceDefinition
from retrieval.collection.manifest import NAME as MANIFEST
from retrieval.disk import PARTIAL, full_disk, new_file, sync_directory
from retrieval.errors import CollectionError
from retrieval.sources.address import expanded
from retrieval.tables import csv_rows

COLUMNS = ("id", "file", "class", "cluster", "scene")
"""Of a table; a file of several sources is given with its source's path, an image without class has an empty one."""

NAME = "export.json"
_KIND = "kvasir export"
_EARLIER = ".earlier"
"""Ends the name of the export that a new one takes the place of, for the moment between two renames."""
_BLOCK = 4096
"""Rows that are read and written together."""


Row = tuple[int, str, str | None, int, int]
"""Values of COLUMNS."""


class ExportPlaceError(CollectionError):
    """An export cannot be written to a folder that holds other things."""


class ParquetError(CollectionError):
    """Parquet cannot be written without pyarrow."""


@dataclass(frozen=True)
class ExportedSpace:
    """One space of an export: names of the files in its folder, and the shape of the vectors."""

    name: str
    kind: str
    images: int
    dimension: int
    dtype: str
    metric: str
    vectors: str
    table: str
    parquet: str | None


@dataclass(frozen=True)
class Export:
    """A finished export."""

    folder: Path
    collection: str
    spaces: tuple[ExportedSpace, ...]

    def to_dict(self) -> dict[str, Any]:
        """The export as plain values."""
        return {
            "folder": str(self.folder),
            "collection": self.collection,
            "spaces": [asdict(space) for space in self.spaces],
        }


def can_write_parquet() -> bool:
    """Whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def export(
    collection: Collection,
    folder: Path,
    spaces: Sequence[str] = (),
    *,
    parquet: bool | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> Export:
    """Write the vectors of spaces, all by default, into a new folder or over an earlier export.

    parquet: whether each space gets a Parquet file as well; by default where pyarrow is installed. overwrite: replace
    a folder that is not an export, too. on_progress is called with the rows written so far.

    Raises ExportPlaceError, ParquetError, SpaceNameError, DamagedVectorError, DiskFullError.
    """
    if parquet and not can_write_parquet():
        raise ParquetError("Parquet needs pyarrow; `pip install 'kvasir-retrieval[parquet]'`, or leave --parquet out")
    parquet = can_write_parquet() if parquet is None else parquet
    names = dict.fromkeys(collection.manifest.space(name).name for name in spaces) or [
        s.name for s in collection.spaces
    ]
    definitions = [collection.manifest.space(name) for name in names]
    folder = expanded(folder).absolute()
    partly = folder.with_name(folder.name + PARTIAL)
    _require_place(collection, folder, overwrite)
    earlier = folder.with_name(folder.name + _EARLIER)
    for leftover in (partly, earlier):  # of an export that was stopped
        _require_place(collection, leftover, overwrite)
    stated = tuple(_stated(collection, definition, parquet) for definition in definitions)
    done = Export(folder, collection.manifest.name, stated)
    try:
        _remove(partly)
        if earlier.exists() and not folder.exists():
            earlier.rename(folder)
        _remove(earlier)
        partly.mkdir(parents=True)
        with new_file(partly / NAME) as stream:  # first, so that what a stop leaves is known as a part of an export
            stream.write(json.dumps({"kind": _KIND} | _document(collection, done), indent=2).encode() + b"\n")
        files = _file_names(collection)
        for definition, space in zip(definitions, stated, strict=True):
            _write_space(collection, definition, space, partly, files, on_progress)
        if folder.exists():
            folder.rename(earlier)
        partly.rename(folder)
        sync_directory(folder.parent)
        _remove(earlier)
    except BaseException as error:
        shutil.rmtree(partly, ignore_errors=True)
        if (full := full_disk(error, folder)) is not None:
            raise full from error
        raise
    return done


def is_export(folder: Path) -> bool:
    """Whether a folder is an export."""
    try:
        fields = json.loads((folder / NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(fields, dict) and fields.get("kind") == _KIND


def exported_recipe(vectors: Path) -> dict[str, Any]:
    """The recipe of the space that a `.npy` file was exported from; empty where it is none of an export."""
    try:
        spaces = _export_of(vectors)["spaces"]
        return next((dict(space["recipe"]) for space in spaces if space["vectors"] == vectors.name), {})
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def exported_name(vectors: Path) -> str | None:
    """The name of the data set that a `.npy` file was exported from; None where it is none of an export."""
    try:
        fields = _export_of(vectors)
        exported = any(space["vectors"] == vectors.name for space in fields["spaces"])
        return str(fields["collection"]) if exported else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _export_of(vectors: Path) -> Any:
    return json.loads((vectors.parent / NAME).read_text("utf-8"))


def _require_place(collection: Collection, folder: Path, overwrite: bool) -> None:
    """Raise ExportPlaceError where something else would be lost."""
    if not folder.exists():
        return
    if collection.path.resolve().is_relative_to(folder.resolve()) or (folder / MANIFEST).exists():
        raise ExportPlaceError(f"{folder} is or holds a collection; give another folder")
    if not folder.is_dir():
        raise ExportPlaceError(f"{folder} is a file; give a folder")
    begun = {entry.name for entry in folder.iterdir()} <= {NAME + PARTIAL}  # all that a run stopped at once leaves
    if not (overwrite or begun or is_export(folder)):
        raise ExportPlaceError(
            f"{folder} is not an earlier export and not empty; give a new folder, or --overwrite to replace it"
        )


def _stated(collection: Collection, space: SpaceDefinition, parquet: bool) -> ExportedSpace:
    return ExportedSpace(
        space.name,
        space.kind,
        len(collection.ids(space.name)),
        space.dimension,
        space.dtype,
        space.metric,
        f"{space.name}.npy",
        f"{space.name}.csv",
        f"{space.name}.parquet" if parquet else None,
    )


def _document(collection: Collection, done: Export) -> dict[str, Any]:
    recipes = {space.name: space.recipe for space in collection.spaces}
    spaces = [asdict(space) | {"recipe": recipes[space.name]} for space in done.spaces]
    return {"collection": done.collection, "spaces": spaces}


def _file_names(collection: Collection) -> list[str]:
    """A name for each image, no two alike: its file or, where several sources have that file, the whole path."""
    images = collection.images
    counts = Counter(images.files)
    paths = [path for path, _ in images.source_paths]
    return [
        file if counts[file] == 1 else str(paths[source] / file)
        for file, source in zip(images.files, images.sources.tolist(), strict=True)
    ]


def _write_space(
    collection: Collection,
    definition: SpaceDefinition,
    space: ExportedSpace,
    folder: Path,
    files: Sequence[str],
    on_progress: Callable[[int], None],
) -> None:
    images, stored = collection.images, collection.rows(definition.name)
    positions = collection.positions(definition.name)

    def blocks() -> Iterator[tuple[list[Row], NDArray[Any]]]:
        for start in range(0, len(positions), _BLOCK):
            some = positions[start : start + _BLOCK]
            ids = images.ids[some]
            stored.require_whole()
            collection.require_undamaged(definition.name, ids)
            labels = [images.classes[label] if label >= 0 else None for label in images.labels[some].tolist()]
            names = [files[at] for at in some.tolist()]
            groups = images.clusters[some].tolist(), images.scenes[some].tolist()
            rows = list(zip(ids.tolist(), names, labels, *groups, strict=True))
            yield rows, np.ascontiguousarray(stored.take(ids))
            on_progress(len(some))

    with ExitStack() as stack:
        vectors = stack.enter_context(new_file(folder / space.vectors))
        table = stack.enter_context(new_file(folder / space.table))
        parquet = None
        if space.parquet is not None:
            parquet = stack.enter_context(_ParquetFile(folder / space.parquet, definition))
        np.lib.format.write_array_header_1_0(vectors, _header(space))
        table.write(csv_rows([COLUMNS], quote_texts=True).encode())
        for rows, block in blocks():
            vectors.write(block.tobytes())
            table.write(csv_rows(rows, quote_texts=True).encode())
            if parquet is not None:
                parquet.write(rows, block)


def _header(space: ExportedSpace) -> dict[str, Any]:
    """What a `.npy` file begins with."""
    descr = np.lib.format.dtype_to_descr(np.dtype(space.dtype))
    return {"descr": descr, "fortran_order": False, "shape": (space.images, space.dimension)}


class _ParquetFile:
    """A Parquet file with the columns of the table and the vectors as lists of one length."""

    def __init__(self, path: Path, space: SpaceDefinition) -> None:
        import pyarrow
        from pyarrow import parquet

        number = pyarrow.float32() if space.dtype == "float32" else pyarrow.float64()
        self._types = [pyarrow.int64(), pyarrow.string(), pyarrow.string(), pyarrow.int64(), pyarrow.int64()]
        self._vector = pyarrow.list_(number, space.dimension)
        fields = [*zip(COLUMNS, self._types, strict=True), ("vector", self._vector)]
        self._schema = pyarrow.schema(fields)
        self._writer = parquet.ParquetWriter(path, self._schema)

    def __enter__(self) -> Self:
        return self

    def write(self, rows: Sequence[Row], vectors: NDArray[Any]) -> None:
        """Write rows of the table with their vectors (n, d)."""
        import pyarrow

        columns = zip(*rows, strict=True)
        arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, self._types, strict=True)]
        arrays.append(pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), type=self._vector))
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
