"""Embeddings that others made -> images of a collection, without pictures.

The images of all imports are of one source, and a file's name tells them apart: so the same rows again add nothing, and
vectors of another space join the images that have these files. Everything is checked before anything is stored.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorsError
from indexer.near_duplicates import ClusterForest
from indexer.vector_file import open_vectors
from indexer.vector_table import VectorTable, read_vector_table
from retrieval.collection import Collection, CollectionWriter, NewImage, SpaceDefinition
from retrieval.collection.catalog import checksum
from retrieval.collection.file_names import FileNames
from retrieval.collection.rows import ImportedImage
from retrieval.collection.scene_rows import COUNTER
from retrieval.collection.vectors import release
from retrieval.errors import TableError
from retrieval.learn.completion import complete_derived_spaces
from retrieval.placeholder import SIZE
from retrieval.sources.vectors import Vectors
from retrieval.spaces import Space, create_space, imported, open_space
from retrieval.spaces.protocol import IMPORTED
from retrieval.terminal import counted, one_line

_BLOCK = 2048
"""Rows that are read, checked and committed together."""
_LISTED = 3

CreateSpace = Callable[[CollectionWriter, int], SpaceDefinition]
"""Adds the space that vectors of a dimension go to, or returns the one that there is."""


class VectorsFitError(VectorsError):
    """Vectors do not fit their table, the space or the images that are stored already."""


@dataclass
class Import:
    """What an import did.

    completed: stored images that got a vector that they lacked. scaled: vectors that were not of the length that the
    space stores. renumbered: images whose id in the table could not be given again.
    """

    collection: Path
    space: str
    added: int = 0
    completed: int = 0
    unchanged: int = 0
    scaled: int = 0
    renumbered: int = 0
    clusters: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The import as plain values."""
        return {
            "collection": str(self.collection),
            "space": self.space,
            "added": self.added,
            "completed": self.completed,
            "unchanged": self.unchanged,
            "scaled": self.scaled,
            "renumbered": self.renumbered,
            "clusters": self.clusters,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


def named_space(name: str) -> CreateSpace:
    """The space of a name, or one to create: of imported vectors or, as KIND:SPEC, of another kind."""

    def create(writer: CollectionWriter, dimension: int) -> SpaceDefinition:
        if name in {space.name for space in writer.manifest.spaces}:
            return writer.manifest.space(name)
        return create_space(writer, name) if ":" in name else imported.create(writer, name, dimension)

    return create


def import_vectors(
    writer: CollectionWriter,
    array: NDArray[Any],
    table: VectorTable,
    create: CreateSpace,
    *,
    origin: tuple[Path, Path] | None = None,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> Import:
    """Store vectors (n, d) as images of a collection, in one space.

    origin: the files of vectors and table, stored so that a damaged vector can be read again. on_progress is called
    with the rows that were checked or stored since. Raises VectorsFitError and what creating the space raises.
    """
    start = time.perf_counter()
    if len(array) != len(table.files):
        raise VectorsFitError(
            f"{_named(origin, 0)} has {counted(len(array), 'row')}, {_named(origin, 1)} {len(table.files):,}; "
            "each vector has one row of the table, in the same order"
        )
    before = {space.name for space in writer.manifest.spaces}
    definition = create(writer, array.shape[1])
    space = open_space(writer.path, definition, "throughput")
    step = _Import(writer, array, table, space, origin, on_progress)
    try:
        step.check()
    except BaseException:
        if definition.name not in before:
            writer.withdraw_space(definition.name)
        raise
    step.store()
    step.join_clusters()
    complete_derived_spaces(writer)
    step.done.seconds = time.perf_counter() - start
    return step.done


def imported_again(collection: Collection, definition: SpaceDefinition, ids: Sequence[int]) -> dict[int, NDArray[Any]]:
    """The vectors of images, by id, from the files of their import; of those alone that are what was stored."""
    images = collection.images
    wanted = {collection.file_of(image_id): image_id for image_id in ids}
    space = open_space(collection.path, definition)
    vectors: dict[int, NDArray[Any]] = {}
    for pair in space.imports:
        try:
            array, table = open_vectors(Path(pair["vectors"])), read_vector_table(Path(pair["table"]))
        except (VectorsError, TableError):  # no longer there, or another file
            continue
        if array.shape != (len(table.files), definition.dimension):
            continue
        rows = [at for at, file in enumerate(table.files) if file in wanted]
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            made, _ = space.import_rows(array[some])
            for at, vector in zip(some, made, strict=True):
                image_id = wanted[table.files[at]]
                if checksum(vector.tobytes()) == images.checksums[collection.position(image_id), definition.number]:
                    vectors[image_id] = vector
    return vectors


@dataclass
class _Faults:
    """Why rows cannot be stored: how many cannot, and the reasons of the first, by row."""

    count: int = 0
    first: dict[int, str] = field(default_factory=dict)

    def add(self, reasons: Mapping[int, str]) -> None:
        """Rows that cannot be stored, all after those before."""
        self.count += len(reasons)
        for row in sorted(reasons)[: _LISTED - len(self.first)]:
            self.first[row] = reasons[row]


class _Import:
    """One call of `import_vectors`: its steps, in order, and what they count."""

    def __init__(
        self,
        writer: CollectionWriter,
        array: NDArray[Any],
        table: VectorTable,
        space: Space,
        origin: tuple[Path, Path] | None,
        on_progress: Callable[[int], None],
    ) -> None:
        self.writer = writer
        self.array = array
        self.table = table
        self.space = space
        self.origin = origin
        self.done = Import(writer.path, space.name)
        self._progress = on_progress
        self._source = writer.source(writer.path.resolve() / "vectors", Vectors.kind)
        self._ids = np.full(len(array), -1, np.int64)
        self._unchanged = np.zeros(len(array), bool)

    def check(self) -> None:
        """Raise VectorsFitError unless every row can be stored."""
        definition = self.space.definition
        if self.array.shape[1] != definition.dimension:
            raise VectorsFitError(
                f"{_named(self.origin, 0)} has vectors of {self.array.shape[1]:,} numbers, the space "
                f"'{self.space.name}' of {definition.dimension:,}; give the vectors of the same encoder, or another "
                "--space NAME"
            )
        bad, other = _Faults(), _Faults()
        for start in range(0, len(self.array), _BLOCK):
            places = np.arange(start, min(start + _BLOCK, len(self.array)))
            rows, reasons = self._rows(places)
            bad.add({start + at: reason for at, reason in reasons.items()})
            files = map(self.table.files.__getitem__, places.tolist())
            for at, row, stored in zip(places.tolist(), rows, self.writer.imported(files), strict=True):
                if stored is not None:
                    self._compare(at, checksum(row.tobytes()), stored, other)
            self._progress(len(rows))
        if bad.count:
            self._raise(bad, "mend them where they were made, or leave these rows out of both files")
        if other.count:
            ids = " ".join(str(self._ids[at]) for at in other.first)
            self._raise(
                other,
                f"take those images out first (`kvasir remove {self.writer.path} {ids}`), or import into another "
                "collection",
            )

    def _compare(self, at: int, made: int, stored: ImportedImage, other: _Faults) -> None:
        """Note what is stored of a row, and the fault where that has another class or vector than the row states."""
        self._ids[at] = stored.id
        known = stored.checksum(self.space.definition)
        self._unchanged[at] = known == made
        if stored.class_name != self.table.class_of(at):
            other.add({at: f"is stored as image {stored.id} of {stored.class_name or 'no class'}"})
        elif known not in (0, made):
            other.add({at: f"is stored as image {stored.id} with another vector"})

    def store(self) -> None:
        """Write what is new, block by block; a stop leaves the blocks before it."""
        if self.origin is not None:
            self._record(self.origin)
        self.done.unchanged = int(self._unchanged.sum())
        self._progress(self.done.unchanged)
        lacking = np.flatnonzero((self._ids >= 0) & ~self._unchanged)
        for start in range(0, len(lacking), _BLOCK):
            some = lacking[start : start + _BLOCK]
            ids = self._ids[some].tolist()
            self.writer.fill({i: {self.space.name: row} for i, row in zip(ids, self._counted(some), strict=True)})
            self._progress(len(some))
        self.done.completed = len(lacking)
        new = np.flatnonzero(self._ids < 0)
        ids = self._new_ids(new)
        order = np.argsort(ids)
        new, ids = new[order], ids[order]
        self._ids[new] = ids
        for start in range(0, len(new), _BLOCK):
            some = new[start : start + _BLOCK]
            images = [self._image(at, row) for at, row in zip(some.tolist(), self._counted(some), strict=True)]
            self.writer.append(images, ids[start : start + len(some)].tolist())
            self._progress(len(some))
        self.done.added = len(new)

    def join_clusters(self) -> None:
        """Give the images of each cluster of the table one cluster, and those of each scene one scene."""
        clusters, scenes = _groups(self.table.clusters), _groups(self.table.scenes)
        if clusters and (changed := self._forest(clusters).changed()):
            self.writer.set_clusters(changed, {})
        if scenes and (joined := self._forest(scenes, by_scene=True).members()):
            self.writer.set_scenes(joined, self.writer.counter(COUNTER))
        self.done.clusters = len(clusters)
        if self.table.clusters is None:
            self.done.notes.append("the table has no column cluster, so each image is a cluster of its own")

    def _forest(self, groups: Sequence[Sequence[int]], by_scene: bool = False) -> ClusterForest:
        """The clusters or scenes of the collection as it is now, joined by groups of rows."""
        images = Collection.open(self.writer.path).images
        forest = ClusterForest(images, images.scenes if by_scene else None)
        places = np.searchsorted(images.ids, self._ids)
        for first, *others in groups:
            for other in others:
                forest.join(int(places[first]), int(places[other]))
        return forest

    def _rows(self, places: NDArray[np.int64]) -> tuple[NDArray[Any], dict[int, str]]:
        """Rows of the array as the space stores them, and by row why one cannot be stored."""
        consecutive = places[-1] - places[0] == len(places) - 1
        made = self.space.import_rows(self.array[places[0] : places[-1] + 1] if consecutive else self.array[places])
        release(self.array)
        return made

    def _counted(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Rows to store; those whose length was changed are counted."""
        rows, _ = self._rows(places)
        given = self.array[places]
        self.done.scaled += int((~np.isclose(rows, given, rtol=1e-3, atol=1e-6)).any(axis=1).sum())
        return rows

    def _image(self, at: int, row: NDArray[Any]) -> NewImage:
        file = self.table.files[at]
        return NewImage(
            source=self._source,
            file=file,
            class_name=self.table.class_of(at),
            width=SIZE[0],
            height=SIZE[1],
            file_size=0,
            stamp=0,
            sha256=hashlib.sha256(b"vectors " + file.encode()).digest(),  # no two images have the same
            vectors={self.space.name: row},
        )

    def _raise(self, faults: _Faults, remedy: str) -> NoReturn:
        listed = "; ".join(
            f"row {at}{self._line(at)}, {one_line(self.table.files[at])}, {reason}"
            for at, reason in faults.first.items()
        )
        more = f", and {faults.count - _LISTED:,} more" if faults.count > _LISTED else ""
        raise VectorsFitError(f"{_named(self.origin, 0)}: {listed}{more}; {remedy}")

    def _line(self, at: int) -> str:
        return "" if self.table.lines is None else f" (line {self.table.lines[at]} of the table)"

    def _new_ids(self, new: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids of new images: those of the table, but for ids that were given already, which never come back."""
        first = self.writer.counter("next image")
        if self.table.ids is None:
            return np.arange(first, first + len(new))
        ids = self.table.ids[new]
        given = np.flatnonzero(ids < first)
        ids[given] = np.arange(len(given)) + max(first, int(ids.max(initial=-1)) + 1)
        self.done.renumbered = len(given)
        if len(given):
            self.done.notes.append(
                f"{counted(len(given), 'image')} got another id than the table states: the collection has given it "
                "before, and no id comes back"
            )
        return ids

    def _record(self, origin: tuple[Path, Path]) -> None:
        """Store where the vectors came from in the space's recipe."""
        space = open_space(self.writer.path, self.writer.manifest.space(self.space.name))
        pair = {"vectors": str(origin[0]), "table": str(origin[1])}
        if pair not in space.imports:
            self.writer.update_recipe(space.name, space.definition.recipe | {IMPORTED: [*space.imports, pair]})


def _groups(names: FileNames | None) -> list[list[int]]:
    """Rows that have the same name, of each name that several have; "" is none."""
    if names is None:
        return []
    named = np.flatnonzero(names.lengths)
    return [named[group].tolist() for group in names.taken(named).equal()]


def _named(origin: tuple[Path, Path] | None, which: int) -> str:
    return str(origin[which]) if origin is not None else ("the array", "the table")[which]
