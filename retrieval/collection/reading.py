"""A collection as its readers see it: one consistent state, whatever a writer does meanwhile."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import catalog
from retrieval.collection.changed_images import updated
from retrieval.collection.changes import (
    Difference,
    LogPosition,
    difference,
    log_position,
    read_changed_ids,
    read_changed_rows,
)
from retrieval.collection.columns import FROM as COLUMNS_FROM
from retrieval.collection.columns import load_images, renew_columns, stored_position, uncached_images
from retrieval.collection.device_marks import read_marks
from retrieval.collection.images import Images, count_images, read_images
from retrieval.collection.manifest import Manifest, SpaceDefinition, read_manifest
from retrieval.collection.pictures import read_picture
from retrieval.collection.table_digests import MARKS, NAMES, damaged_tables
from retrieval.collection.vectors import COPIED_UP_TO, GatheredVectors, StoredRows, vectors_path
from retrieval.errors import CollectionError, QueryError
from retrieval.marks import Marks
from retrieval.sources import has_pictures
from retrieval.sources.address import expanded

_LISTED = 20
"""Ids that a message names."""


class NoSuchImageError(QueryError):
    """The collection has no image of this id."""


class DamagedRowError(catalog.DamagedCatalogError):
    """A row of the catalog is not what was written: a class or a cluster may be another."""


class DamagedVectorError(CollectionError):
    """A stored vector is not the one that the catalog knows."""


@dataclass(frozen=True, eq=False)
class Collection:
    """The images that are searched, as they were when it was opened; `refreshed` gives their later state."""

    path: Path
    manifest: Manifest
    images: Images
    _position: LogPosition | None = field(default=None, repr=False)
    damaged_tables: tuple[str, ...] = field(default=(), repr=False)

    @staticmethod
    def open(path: Path | str, *, damaged_rows: bool = False) -> Collection:
        """Open a collection for reading.

        damaged_rows: open it as well where rows or tables of the catalog are not what was written, to tell or repair
        them. Raises NotACollectionError, FormatError, DamagedCatalogError, DamagedRowError.
        """
        folder = expanded(path).absolute()
        # The manifest is read first: what the catalog has by then includes all vectors that it names.
        manifest = read_manifest(folder)
        with closing(catalog.connect(folder)) as connection, catalog.raising_damage(folder):
            opened = Collection._read(folder, manifest, connection, cached=not damaged_rows)
        return opened if damaged_rows else opened._require_sound_rows()

    @staticmethod
    def _read(folder: Path, manifest: Manifest, connection: sqlite3.Connection, cached: bool = True) -> Collection:
        """cached: read from the columns of a large catalog, where they are stored, instead of from the catalog."""
        with catalog.reading(connection):
            images = None
            position, width = log_position(connection, folder / catalog.NAME), manifest.columns
            if cached and position is not None:
                images = load_images(connection, width, folder.resolve(), position)
            from_columns = images is not None
            if images is None and position is not None and count_images(connection) >= COLUMNS_FROM:
                if not cached:
                    images = uncached_images(connection, width, folder.resolve())
                elif renew_columns(connection, width, folder.resolve(), position):
                    images = load_images(connection, width, folder.resolve(), position)
            if images is None:
                images = read_images(connection, width, folder.resolve())
            # Of marks there are as many as images: what the columns say was compared when they were written.
            tables = damaged_tables(connection, set(NAMES) - {MARKS} if from_columns else set(NAMES))
        return Collection(folder, manifest, images, position, tables)

    @staticmethod
    def store_columns(path: Path) -> None:
        """Bring the stored columns of a large catalog up to date, where they are far behind; for the writer's end."""
        with (
            closing(catalog.connect(path)) as connection,
            catalog.raising_damage(path),
            catalog.reading(connection),
        ):
            position, stored = log_position(connection, path / catalog.NAME), stored_position(path)
            is_near = position is None or (stored is not None and stored.is_near(position))
            if position is not None and not is_near and count_images(connection) >= COLUMNS_FROM:
                renew_columns(connection, read_manifest(path).columns, path.resolve(), position)

    def _require_sound_rows(self) -> Collection:
        if self.images.damaged:
            raise DamagedRowError(damaged_rows_sentence(self.path, self.images.damaged))
        if self.damaged_tables:
            raise DamagedRowError(damaged_table_sentence(self.path, self.damaged_tables[0]))
        return self

    def refreshed(self) -> tuple[Collection, Difference | None]:
        """The collection as it is now, and how it differs from this one; itself where nothing changed.

        Reads only the rows that changed and shares what did not. The difference is None where everything was read
        again: after a new space or recipe, a change of more images than the log has, or for a collection that only an
        older version has written to. Raises what `open` raises.
        """
        manifest = read_manifest(self.path)
        with closing(catalog.connect(self.path)) as connection, catalog.raising_damage(self.path):
            if self._position is None or manifest != self.manifest:
                return self._read(self.path, manifest, connection)._require_sound_rows(), None
            with catalog.reading(connection):
                position = log_position(connection, self.path / catalog.NAME)
                rows = None if position is None else read_changed_rows(connection, self._position, position)
                if rows:
                    images = updated(self.images, rows, connection, self.path.resolve())
                    tables = damaged_tables(connection, set(NAMES) - {MARKS})  # of marks there are as many as images
            if rows is None:
                return self._read(self.path, manifest, connection)._require_sound_rows(), None
        if not rows:
            return self, difference(self.images, self.images, np.empty(0, np.int64), self._numbers)
        later = replace(self, images=images, _position=position, damaged_tables=tables)._require_sound_rows()
        later._stored.update(self._stored)
        ids = np.array([row[0] for row in rows], np.int64)
        return later, difference(self.images, images, ids, self._numbers)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def position_in_log(self) -> LogPosition | None:
        """Position of this state in the change log; None for a collection that only an older version has written to."""
        return self._position

    def changed_between(self, positions: Sequence[LogPosition]) -> NDArray[np.int64] | None:
        """Ids (m,) ascending of images that changed between the first and the last of positions and this state.

        None where that is not known: a position is of another catalog, or too far behind.
        """
        own = self._position
        if own is None or any((one.log, one.inode) != (own.log, own.inode) for one in positions):
            return None
        sequences = [own.sequence, *(one.sequence for one in positions)]
        with closing(catalog.connect(self.path)) as connection, catalog.raising_damage(self.path):
            return read_changed_ids(connection, min(sequences), max(sequences))

    @property
    def spaces(self) -> tuple[SpaceDefinition, ...]:
        """The spaces, the oldest first."""
        return self.manifest.spaces

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, sorted; a label is an index into them."""
        return self.images.classes

    @property
    def _numbers(self) -> dict[str, int]:
        return {space.name: space.number for space in self.spaces}

    def positions(self, space: str) -> NDArray[np.int64]:
        """Which images (positions in `images`) have a vector in a space, (m,) ascending."""
        return self.images.with_vector(self.manifest.space(space).number)

    def ids(self, space: str) -> NDArray[np.int64]:
        """The ids of the images that have a vector in a space, (m,) int64 ascending."""
        positions = self.positions(space)
        return self.images.ids if len(positions) == len(self.images) else self.images.ids[positions]

    def rows(self, space: str) -> StoredRows:
        """The stored vectors of a space by image id, memory-mapped. Raises SpaceNameError.

        Rows of ids that have no vector hold anything.
        """
        definition = self.manifest.space(space)
        if definition.name not in self._stored:
            inode = None if self._position is None else self._position.inode
            self._stored[definition.name] = StoredRows(self.path, definition, inode)
        return self._stored[definition.name]

    def vectors(self, space: str) -> tuple[NDArray[np.int64], NDArray[np.generic]]:
        """The ids (m,) ascending and vectors (m, d) of all images that have one in a space.

        Where no image in between was removed, the vectors are a view of the file, else a copy or, of many, the
        `GatheredVectors` that are read as they are indexed; see `rows`.
        Raises SpaceNameError, FormatError where the file is shorter than the catalog says.
        """
        ids, rows = self.ids(space), self.rows(space)
        gathered = GatheredVectors(rows, ids)
        if len(ids) and int(ids[-1]) - int(ids[0]) >= len(ids) and gathered.nbytes > COPIED_UP_TO:
            return ids, cast(NDArray[np.generic], gathered)
        return ids, rows.take(ids)

    def vector(self, space: str, image_id: int) -> NDArray[np.generic] | None:
        """One image's vector (d,), or None where it has none in this space.

        Its checksum is compared, which takes microseconds; `vectors` leaves that to `kvasir verify`.
        Raises SpaceNameError, NoSuchImageError, FormatError, DamagedVectorError.
        """
        definition = self.manifest.space(space)
        expected = self.images.value("checksums", self.position(image_id))[definition.number]
        if not expected:
            return None
        vector = self.rows(space).row(image_id)
        if catalog.checksum(vector.tobytes()) != expected:
            raise self._damaged(definition, image_id)
        return vector

    def require_undamaged(self, space: str, ids: NDArray[np.int64]) -> None:
        """Compare the checksums of the vectors that images (m,) have in a space; ids must exist.

        To be called right after `require_whole` of the space's rows.
        Raises SpaceNameError, FormatError, DamagedVectorError.
        """
        definition = self.manifest.space(space)
        expected = self.images.taken("checksums", self.images.places(ids))[:, definition.number]
        present = expected != 0
        vectors = self.rows(space).take_unchecked(ids[present])
        for at, checksum in enumerate(expected[present].tolist()):
            if catalog.checksum(vectors[at].data) != checksum:
                raise self._damaged(definition, int(ids[present][at]))

    def _damaged(self, definition: SpaceDefinition, image_id: int) -> DamagedVectorError:
        return DamagedVectorError(
            f"the vector of image {image_id} in {vectors_path(self.path, definition)} is damaged; "
            f"`kvasir verify --repair {self.path}` makes it anew"
        )

    def position(self, image_id: int) -> int:
        """Where an id stands in `images`, or NoSuchImageError."""
        position = self.images.position(image_id)
        if position is None:
            raise NoSuchImageError(f"the collection {self.path} has no image {image_id}")
        return position

    def class_of(self, image_id: int) -> str | None:
        """The class of an image, or None where it is unknown."""
        label = int(self.images.value("labels", self.position(image_id)))
        return self.classes[label] if label >= 0 else None

    def file_of(self, image_id: int) -> str:
        """The path of an image inside its source."""
        return self.images.file(self.position(image_id))

    def marks_of(self, image_id: int) -> Marks | None:
        """The marks of the device on an image, with their regions; None where they are not known."""
        with closing(catalog.connect(self.path)) as connection, catalog.raising_damage(self.path):
            return read_marks(connection, [image_id]).get(image_id)

    def source_of(self, image_id: int) -> Path:
        """The folder or zip that an image was indexed in."""
        path, _ = self._source_of(image_id)
        return path

    def path_of(self, image_id: int) -> Path | None:
        """The file of an image; None for one inside a zip, and for an image that was stored as vectors alone."""
        path, kind = self._source_of(image_id)
        return path / self.file_of(image_id) if kind == "folder" else None

    def _source_of(self, image_id: int) -> tuple[Path, str]:
        return self.images.source_paths[int(self.images.value("sources", self.position(image_id)))]

    def read(self, image_id: int) -> bytes:
        """The bytes of an image's file, from the folder or zip that it was indexed in.

        Raises PictureGoneError where it is no longer there, its subclass SourceGoneError where the folder or zip is
        not, FileUnreadableError where it cannot be read, and NoStoredPictureError where it was stored as vectors alone.
        """
        path, kind = self._source_of(image_id)
        return read_picture(path, kind, self.file_of(image_id))

    def display(self, image_id: int) -> bytes:
        """The bytes of a picture to show: the image's file, or a placeholder where it was stored as vectors alone.

        Raises PictureGoneError, FileUnreadableError.
        """
        _, kind = self._source_of(image_id)
        if has_pictures(kind):
            return self.read(image_id)
        from retrieval.placeholder import placeholder  # few collections need it

        return placeholder(self.class_of(image_id), self.file_of(image_id))

    @cached_property
    def _stored(self) -> dict[str, StoredRows]:
        """Spaces' vectors, mapped once: to map a file for each vector takes longer than a search."""
        return {}


def stored_count(path: Path) -> int:
    """How many images a collection has; opens nothing but its catalog. Raises what `Collection.open` raises."""
    folder = expanded(path).absolute()
    read_manifest(folder)
    with closing(catalog.connect(folder)) as connection, catalog.raising_damage(folder):
        return count_images(connection)


def damaged_rows_sentence(folder: Path, ids: Sequence[int]) -> str:
    """What is wrong with rows of the catalog, and what helps."""
    listed = " ".join(map(str, ids[:_LISTED])) + (" …" if len(ids) > _LISTED else "")
    rows = "the row of 1 image is" if len(ids) == 1 else f"the rows of {len(ids):,} images are"
    return (
        f"{folder / catalog.NAME}: {rows} not what was written (class, cluster, scene, size, file or hash of "
        f"{listed}); "
        f"{catalog.REMEDY}, or take the images out with `kvasir remove {shlex.quote(str(folder))} {listed}` "
        "and index them again"
    )


def damaged_table_sentence(folder: Path, name: str) -> str:
    """What is wrong with a small table of the catalog, and what helps."""
    if name == MARKS:
        remedy = f"`kvasir verify --repair {shlex.quote(str(folder))}` looks for the marks again"
    else:
        remedy = catalog.REMEDY
    return f"{folder / catalog.NAME}: the table '{name}' is not what was written; {remedy}"
