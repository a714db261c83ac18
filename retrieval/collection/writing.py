"""The one writer of a collection. What it has reported as done survives a stop at any moment.

The order is what makes it so: vectors reach the disk before the catalog names them, the catalog commits as a whole, and
the manifest, which names spaces and their columns, is switched last. What a stop left unnamed is overwritten by the
next run.
"""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import catalog, changes, device_marks, row_digests, scene_rows, table_digests
from retrieval.collection.columns import FROM as COLUMNS_FROM
from retrieval.collection.folder import claim, delete_all, not_writable, remove_leftovers
from retrieval.collection.manifest import (
    GENERATION,
    NAME,
    SPACE_NAME,
    Manifest,
    SpaceDefinition,
    SpaceNameError,
    read_manifest,
    tower_folder,
    write_manifest,
)
from retrieval.collection.reading import Collection
from retrieval.collection.rows import (
    ImportedImage,
    KnownImage,
    KnownImages,
    NewImage,
    Sources,
    delete_image,
    image_places,
    imported_images,
    insert_images,
)
from retrieval.collection.vectors import VectorFile, vectors_path
from retrieval.disk import full_disk, sync_directory
from retrieval.errors import CollectionError
from retrieval.marks import Marks

log = logging.getLogger(__name__)

_ADVICE = "make room and run the same command again: what was reported as done is stored, and it goes on from there"


class CollectionWriter:
    """Opens a collection for writing, making it where there is none.

    One that it made is deleted again where an error ends the `with` block before an image was stored.

    advice: what to do where the disk is full.

    Raises CollectionBusyError where another writer is at work, NotACollectionError where the folder holds other things,
    NotWritableError, DiskFullError; the last one ends a `with` block as well where the disk is full within.
    """

    def __init__(
        self, path: Path | str, *, name: str | None = None, create: bool = False, advice: str = _ADVICE
    ) -> None:
        self.path = Path(path).absolute()
        self._advice = advice
        self._files: dict[str, VectorFile] = {}
        self._new = not (self.path / NAME).exists()
        try:
            self._lock = claim(self.path, create)
        except OSError as error:
            self._raise_full_disk(error)
            raise not_writable(self.path, f"{error.strerror or error}: {error.filename or self.path}") from error
        try:
            self._open(name)
        except BaseException as error:
            full = full_disk(error, self.path / catalog.NAME, advice)
            if full is not None and self._new:
                delete_all(self.path)
            self._lock.release()
            if full is not None:
                raise full from error
            if isinstance(error, sqlite3.OperationalError):
                raise not_writable(self.path, f"{catalog.NAME}: {error}") from error
            raise

    def _open(self, name: str | None) -> None:
        if not (self.path / NAME).exists():
            catalog.connect(self.path, create=True).close()
            created = datetime.now(UTC).isoformat(timespec="seconds")
            write_manifest(self.path, Manifest(name=name or self.path.name, created=created))
        self.manifest = read_manifest(self.path)
        remove_leftovers(self.path)
        self._catalog = catalog.connect(self.path)
        with catalog.transaction(self._catalog):  # a file for reading only is opened without complaint
            if not changes.has_log(self._catalog):
                changes.create_log(self._catalog)
                if not self._new:
                    log.warning(
                        "%s: catalog upgraded, it now logs its changes; older versions still read it", self.path
                    )
            device_marks.create_table(self._catalog)
            scene_rows.create_table(self._catalog)
            row_digests.create_table(self._catalog)
            table_digests.create_sums(self._catalog)
        row_digests.follow_changes(self._catalog)
        table_digests.follow_table_changes(self._catalog)
        self._sources = Sources(self._catalog, self.path)

    def _raise_full_disk(self, error: BaseException) -> None:
        """Raise DiskFullError where that is what an error means: SQLite's names no file."""
        if (full := full_disk(error, self.path / catalog.NAME, self._advice)) is not None:
            raise full from error

    def __enter__(self) -> CollectionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self.discard_if_nothing_stored()
        finally:
            self.close()
        if error is not None:
            self._raise_full_disk(error)

    def close(self) -> None:
        """Close the files and let the next writer in."""
        try:
            self._store_columns()
        finally:
            self._close_files()
            self._lock.release()

    def _store_columns(self) -> None:
        """Store the catalog as columns, where it is large; without them the next reader takes longer, and no more."""
        try:
            if self.counter("next image") >= COLUMNS_FROM:
                Collection.store_columns(self.path)
        except (sqlite3.Error, OSError, CollectionError) as error:  # what is damaged or closed is told by who reads it
            log.info("the columns of %s were not stored (%s)", self.path, error)

    def discard_if_nothing_stored(self) -> None:
        """Delete a collection that this writer made and that never got an image; only `close` may follow."""
        if self._new and not self.counter("next image"):
            self._close_files()
            delete_all(self.path)

    # Spaces

    def add_space(
        self,
        name: str,
        kind: str,
        dimension: int,
        metric: str,
        recipe: dict[str, Any],
        dtype: Literal["float32", "float64"] = "float32",
        vectors: Iterable[tuple[NDArray[np.int64], NDArray[np.generic]]] | None = None,
    ) -> SpaceDefinition:
        """Add a space; images get their vectors by `append` or `fill`. Raises SpaceNameError.

        vectors: those of images that are stored already, see `replace_space`; readers see all of them or no space.
        """
        if not SPACE_NAME.fullmatch(name):
            raise SpaceNameError(f"'{name}' cannot name a space: use letters, digits, '.', '_' and '-'")
        if any(space.name == name for space in self.manifest.spaces):
            raise SpaceNameError(f"the collection has a space '{name}' already")
        space = SpaceDefinition(name, self._free_column(), kind, dimension, dtype, metric, recipe)
        if vectors is not None:
            self._write_all(space, vectors)
        self._replace_manifest(replace(self.manifest, spaces=(*self.manifest.spaces, space)))
        return space

    def withdraw_space(self, name: str) -> None:
        """Take the last space out again, before any image has a vector in it."""
        *others, last = self.manifest.spaces
        if last.name != name:
            raise SpaceNameError(f"only the last space can be withdrawn, '{last.name}'")
        self._replace_manifest(replace(self.manifest, spaces=tuple(others)))
        shutil.rmtree(tower_folder(self.path, name), ignore_errors=True)

    def has_vectors(self, name: str) -> bool:
        """Whether an image has a vector in a space."""
        start = 4 * self.manifest.space(name).number + 1
        row = self._catalog.execute(
            "SELECT 1 FROM images WHERE LENGTH(checksums) >= ? AND SUBSTR(checksums, ?, 4) != ? LIMIT 1",
            (start + 3, start, bytes(4)),
        ).fetchone()
        return row is not None

    def update_recipe(self, name: str, recipe: dict[str, Any]) -> None:
        """Replace what is recorded about how a space was made."""
        old = self.manifest.space(name)
        spaces = tuple(replace(space, recipe=recipe) if space is old else space for space in self.manifest.spaces)
        self._replace_manifest(replace(self.manifest, spaces=spaces))

    def replace_space(
        self,
        name: str,
        dimension: int,
        recipe: dict[str, Any],
        vectors: Iterable[tuple[NDArray[np.int64], NDArray[np.generic]]],
    ) -> SpaceDefinition:
        """Give a space other vectors, and the dimension and recipe that they have.

        vectors: blocks of image ids (m,) and their vectors (m, dimension). They get a file and a column of the catalog
        of their own, which the manifest then names: readers see all of the old or all of the new, and so does the next
        run after a stop. The old file stays until the next replacement, for readers that have not mapped it yet.
        """
        old = self.manifest.space(name)
        generation = old.generation + 1
        new = replace(old, number=self._free_column(), dimension=dimension, recipe=recipe | {GENERATION: generation})
        for file in self._generations(new):
            if file != vectors_path(self.path, old):
                file.unlink()
        self._write_all(new, vectors)
        for index in (self.path / "index" / old.name).glob("*.faiss"):  # not of the new vectors
            index.unlink(missing_ok=True)
        spaces = tuple(new if space is old else space for space in self.manifest.spaces)
        self._replace_manifest(replace(self.manifest, spaces=spaces))
        if (stored := self._files.pop(old.name, None)) is not None:
            stored.close()
        return new

    def _generations(self, space: SpaceDefinition) -> list[Path]:
        """The files of a space's vectors, of all generations."""
        first = vectors_path(self.path, replace(space, recipe={}))
        later = re.compile(rf"{re.escape(space.name)}~\d+\.{space.dtype}")
        return [file for file in first.parent.glob("*") if file == first or later.fullmatch(file.name)]

    def _write_all(
        self, space: SpaceDefinition, blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.generic]]]
    ) -> None:
        """Write vectors of a space that the manifest does not name yet, and their checksums in one transaction."""
        made: list[tuple[int, int]] = []
        with closing(VectorFile(self.path, space)) as file:
            for ids, vectors in blocks:
                rows = zip(ids.tolist(), vectors, strict=True)
                made += [(image_id, file.put(image_id, [vector])[0]) for image_id, vector in rows]
            file.sync()
        sync_directory(self.path / "vectors")
        with self._transaction():
            stored = dict(self._catalog.execute("SELECT id, checksums FROM images").fetchall())
            self._catalog.executemany(
                "UPDATE images SET checksums = ? WHERE id = ?",
                [(_with_checksum(stored[image_id], space.number, crc), image_id) for image_id, crc in made],
            )

    def _free_column(self) -> int:
        """The first column of the catalog that no space has, emptied of what replaced vectors or a stop left in it."""
        taken = {space.number for space in self.manifest.spaces}
        number = next(number for number in range(len(taken) + 1) if number not in taken)
        rows = self._catalog.execute(
            "SELECT id, checksums FROM images WHERE LENGTH(checksums) > ?", (4 * number,)
        ).fetchall()
        left = [(i, packed) for i, packed in rows if any(packed[4 * number : 4 * number + 4])]
        if left:
            with self._transaction():
                self._catalog.executemany(
                    "UPDATE images SET checksums = ? WHERE id = ?",
                    [(_with_checksum(packed, number, 0), i) for i, packed in left],
                )
        return number

    def _replace_manifest(self, manifest: Manifest) -> None:
        write_manifest(self.path, manifest)
        self.manifest = manifest

    def adopt_tower(self, space: str, folder: Path) -> Path:
        """Move a converted encoder to its place in the collection, in one step; returns the place."""
        place = tower_folder(self.path, space)
        place.parent.mkdir(exist_ok=True)
        if place.exists():
            shutil.rmtree(place)
        folder.replace(place)
        sync_directory(place.parent)
        return place

    # Images

    def source(self, path: Path, kind: str) -> int:
        """The number of a folder or zip that pictures lie in; stored with the first image that is appended from it."""
        return self._sources.number(path, kind)

    def known(self, source: int, files: Sequence[str] | None = None) -> Mapping[str, KnownImage]:
        """What is stored from one source, by file: of all files, or only of some; read as it is looked up."""
        return KnownImages(self._catalog, source, files, self._spaces_in)

    def imported(self, files: Iterable[str]) -> Iterator[ImportedImage | None]:
        """What is stored as vectors alone under each of these files, None where nothing is."""
        return imported_images(self._catalog, files)

    def vectors_of_content(self, sha256: bytes) -> dict[str, NDArray[np.generic]]:
        """The vectors, by space, of an image of the same bytes; damaged ones are left out."""
        row = self._catalog.execute(
            "SELECT id, checksums FROM images WHERE sha256 = ? ORDER BY id LIMIT 1", (sha256,)
        ).fetchone()
        if row is None:
            return {}
        packed = np.frombuffer(row[1], "<u4")
        vectors = {name: self._file(name).read(row[0]) for name in self._spaces_in(row[1])}
        return {
            name: np.frombuffer(data, self.manifest.space(name).dtype)
            for name, data in vectors.items()
            if catalog.checksum(data) == packed[self.manifest.space(name).number]
        }

    def copies(self, since: int) -> list[tuple[int, int]]:
        """Images from an id on whose very bytes were stored before them: (id, id of the first that has these bytes)."""
        rows = self._catalog.execute(
            "SELECT new.id, MIN(old.id) FROM images new JOIN images old ON old.sha256 = new.sha256 AND old.id < new.id "
            "WHERE new.id >= ? GROUP BY new.id ORDER BY new.id",
            (since,),
        )
        return [(int(copy), int(original)) for copy, original in rows]

    def append(self, images: Sequence[NewImage], ids: Sequence[int] | None = None) -> list[int]:
        """Store images and return their ids; when this returns they are on disk.

        ids: the ids to store them under, ascending, none that was ever given; by default the next ones. A file that is
        stored already is replaced under a new id: an id never changes its picture. An exact copy of a stored image
        joins its cluster.
        """
        if not images:
            return []
        first = self.counter("next image")
        numbers = list(range(first, first + len(images)) if ids is None else ids)
        if numbers[0] < first or any(b <= a for a, b in pairwise(numbers)) or len(numbers) != len(images):
            raise ValueError(f"ids must ascend from {first} on, one for each of {len(images)} images")
        checksums = np.zeros((len(images), self.manifest.columns), "<u4")
        for space in self.manifest.spaces:
            vectors = [image.vectors.get(space.name) for image in images]
            # One write for each run of consecutive ids that have a vector in the space.
            keys = [
                (vector is not None, number - at)
                for at, (vector, number) in enumerate(zip(vectors, numbers, strict=True))
            ]
            for (has_vector, _), run in groupby(range(len(images)), keys.__getitem__):
                rows = list(run)
                if has_vector:
                    made = [vector for row in rows if (vector := vectors[row]) is not None]
                    checksums[rows, space.number] = self._file(space.name).put(numbers[rows[0]], made)
        self._sync_files()
        with self._transaction():
            self._sources.store({image.source for image in images})
            insert_images(self._catalog, numbers, images, (packed.tobytes() for packed in checksums))
        return numbers

    def fill(
        self,
        vectors: Mapping[int, Mapping[str, NDArray[np.generic]]],
        stamps: Mapping[int, tuple[int, int]] | None = None,
        marks: Mapping[int, Marks] | None = None,
    ) -> None:
        """Give stored images vectors in spaces where they have none or a damaged one; on disk when this returns.

        stamps: by image the size in bytes and the stamp of a file whose change mark is new though its bytes are not.
        marks: of the device, by image.
        """
        packed = {image_id: self._filled(image_id, by_space) for image_id, by_space in vectors.items() if by_space}
        if not packed and not stamps and not marks:
            return
        self._sync_files()
        with self._transaction():
            self._catalog.executemany(
                "UPDATE images SET checksums = ? WHERE id = ?", [(blob, image_id) for image_id, blob in packed.items()]
            )
            self._catalog.executemany(
                "UPDATE images SET bytes = ?, stamp = ? WHERE id = ?",
                [(size, stamp, image_id) for image_id, (size, stamp) in (stamps or {}).items()],
            )
            device_marks.store_marks(self._catalog, marks or {})

    def _filled(self, image_id: int, vectors: Mapping[str, NDArray[np.generic]]) -> bytes:
        """Write an image's vectors; returns its checksums as they are then."""
        (stored,) = self._catalog.execute("SELECT checksums FROM images WHERE id = ?", (image_id,)).fetchone()
        for name, vector in vectors.items():
            stored = _with_checksum(
                stored, self.manifest.space(name).number, self._file(name).put(image_id, [vector])[0]
            )
        return bytes(stored)

    def places(self, ids: Sequence[int]) -> dict[int, tuple[Path, str]]:
        """Where images lie, by id: the folder or zip, and the file in it; of those that there are."""
        return image_places(self._catalog, self.path.resolve(), ids)

    def remove(self, ids: Sequence[int]) -> int:
        """Remove images; other ids stay as they are and no removed id comes back. Returns how many there were."""
        with self._transaction():
            return sum(delete_image(self._catalog, int(image_id)) for image_id in ids)

    def set_clusters(self, clusters: Mapping[int, int], counters: Mapping[str, int]) -> None:
        """Give images (by id) other clusters, and counters their values, all or nothing."""
        with self._transaction():
            self._catalog.executemany(
                "UPDATE images SET cluster = ? WHERE id = ?", [(cluster, i) for i, cluster in clusters.items()]
            )
            self._catalog.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", list(counters.items()))

    def set_scenes(self, scenes: Mapping[int, int], compared: int) -> None:
        """Give images (by id) their scenes, and note up to which id images have been compared, all or nothing."""
        with self._transaction():
            scene_rows.store_scenes(self._catalog, scenes)
            self._catalog.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (scene_rows.COUNTER, compared))

    def forget_scenes(self) -> None:
        """Make every scene a cluster again, as if scenes had never been looked for."""
        with self._transaction():
            self._catalog.execute("DELETE FROM scenes")
            self._catalog.execute("DELETE FROM counters WHERE name = ?", (scene_rows.COUNTER,))

    def add_row_digests(self) -> int:
        """Give rows that an older version wrote a digest of what they say now; returns how many."""
        with self._transaction():
            table_digests.renew_sums(self._catalog, table_digests.unchecked_tables(self._catalog))
            return row_digests.add_missing(self._catalog)

    def forget_marks(self) -> None:
        """Delete the marks of all images, so that the next run looks for them again."""
        with self._transaction():
            self._catalog.execute("DELETE FROM marks")
            table_digests.renew_sums(self._catalog, [table_digests.MARKS])

    def counter(self, name: str) -> int:
        """A counter of the catalog; 0 where it was never set."""
        row = self._catalog.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with catalog.transaction(self._catalog):
            yield
            changes.trim_log(self._catalog)

    def _spaces_in(self, checksums: bytes) -> frozenset[str]:
        return frozenset(
            space.name for space in self.manifest.spaces if any(checksums[4 * space.number : 4 * space.number + 4])
        )

    def _file(self, space: str) -> VectorFile:
        if space not in self._files:
            self._files[space] = VectorFile(self.path, self.manifest.space(space))
            sync_directory(self.path / "vectors")
        return self._files[space]

    def _sync_files(self) -> None:
        for file in self._files.values():
            file.sync()

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._catalog.close()


def _with_checksum(packed: bytes, number: int, crc: int) -> bytes:
    """An image's checksums with that of one space replaced."""
    padded = packed.ljust(4 * number + 4, b"\0")
    return padded[: 4 * number] + crc.to_bytes(4, "little") + padded[4 * number + 4 :]
