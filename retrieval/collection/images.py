"""The rows of the catalog as arrays."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import device_marks, scene_rows
from retrieval.collection.file_names import FileNames
from retrieval.collection.row_digests import damaged_rows
from retrieval.names import nfc
from retrieval.sources import has_pictures
from retrieval.sources.address import stored_place

_COLUMNS = "class, cluster, width, height, file, source, checksums, sha256"
_UNMARKED = "SELECT NULL AS image, NULL AS bits WHERE 0"
"""In the place of the table of marks, which catalogs of older versions lack."""
_WITHOUT_SCENES = "SELECT NULL AS image, NULL AS scene, NULL AS digest WHERE 0"
"""The same for the table of scenes."""

_PACKED_FROM = 20_000
"""Images from which file names are packed; fewer are looked up faster as strings."""

_BLOCK = 8_192
"""Rows of the catalog that are read at once."""
_COUNTED = 1 << 16
"""Images whose labels are counted at once."""

COLUMNS = ("ids", "labels", "clusters", "sizes", "checksums", "contents", "marks", "scene_rows", "sources")
"""The arrays of `Images`; file names lie apart."""

Row = tuple[Any, ...]
"""(id, class, cluster, width, height, file, source, checksums, SHA-256, bits of its marks, scene, its digest)."""


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a collection as arrays of one length n, in order of their ids.

    ids (n,) int64; labels (n,) int32, an index into `classes` or -1 where the class is unknown; clusters (n,) int64;
    sizes (n, 2) int32, width and height; checksums (n, columns) uint32, 0 where the image has no vector in that space;
    contents (n, 32) uint8, the SHA-256 of each file; marks (n,) int32, bits of `retrieval.marks.NAMES`, -1 where they
    are not known; scene_rows (n,) int64, an image's stored scene or -1, see `scenes`;
    files: the path inside its source; sources (n,) int32, an index into `source_paths`. source_numbers: the catalog's
    number of each source. damaged: ids of rows that are not what was written, see `row_digests`.

    After a change of few rows a column is copied when it is first read as a whole, see `ChangedImages`; `at` and what
    else this class has reads some rows without that.
    """

    classes: tuple[str, ...]
    source_paths: tuple[tuple[Path, str], ...]
    source_numbers: tuple[int, ...]
    ids: NDArray[np.int64]
    labels: NDArray[np.int32]
    clusters: NDArray[np.int64]
    sizes: NDArray[np.int32]
    checksums: NDArray[np.uint32]
    contents: NDArray[np.uint8]
    marks: NDArray[np.int32]
    scene_rows: NDArray[np.int64]
    files: Sequence[str]
    sources: NDArray[np.int32]
    damaged: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, image_id: int) -> int | None:
        """Where an id stands in the arrays, or None."""
        if 0 <= image_id < len(self.ids) and self.ids[image_id] == image_id:  # no image before it was ever removed
            return image_id
        at = int(np.searchsorted(self.ids, image_id))
        return at if at < len(self.ids) and self.ids[at] == image_id else None

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where ids (m,) of images stand in the arrays, (m,)."""
        return np.searchsorted(self.ids, ids)

    def at(self, places: NDArray[np.int64]) -> ImageRows:
        """The images at places (m,)."""
        return ImageRows(self, places)

    def taken(self, column: str, places: NDArray[np.int64]) -> NDArray[Any]:
        """The values of a column at places (m,)."""
        return self.at(places).column(column)

    def value(self, column: str, place: int) -> Any:
        """The value of a column at one place."""
        return self.at(np.array([place])).column(column)[0]

    def file(self, place: int) -> str:
        """The path inside its source of the image at one place."""
        return self.at(np.array([place])).files[0]

    def has_picture(self, place: int) -> bool:
        """Whether the image at one place has a picture."""
        return has_pictures(self.source_paths[int(self.value("sources", place))][1])

    def part(self, start: int, stop: int) -> Images:
        """Images from one position up to another."""
        columns = {name: getattr(self, name)[start:stop] for name in COLUMNS}
        return replace(self, files=self.files[start:stop], damaged=(), **columns)

    @cached_property
    def with_pictures(self) -> NDArray[np.bool_]:
        """Which images have a picture, (n,); the others were stored as vectors alone."""
        kinds = np.array([has_pictures(kind) for _, kind in self.source_paths], bool)
        return np.full(len(self), kinds[0]) if len(kinds) and (kinds == kinds[0]).all() else kinds[self.sources]

    @cached_property
    def label_counts(self) -> NDArray[np.int64]:
        """How many images each class has, (classes + 1,), those without a class first."""
        counts = np.zeros(len(self.classes) + 1, np.int64)
        for start in range(0, len(self), _COUNTED):  # counting all at once copies them
            counts += np.bincount(self.labels[start : start + _COUNTED] + 1, minlength=len(counts))
        return counts

    def with_vector(self, number: int) -> NDArray[np.int64]:
        """Places of the images that have a vector in the space of a number, ascending."""
        if number not in self._with_vector:
            self._with_vector[number] = np.flatnonzero(self.checksums[:, number]).astype(np.int64)
        return self._with_vector[number]

    @cached_property
    def _with_vector(self) -> dict[int, NDArray[np.int64]]:
        return {}

    @cached_property
    def selections(self) -> dict[Any, Any]:
        """Cache of `Filter.select`."""
        return {}

    def ids_of_label(self, label: int) -> NDArray[np.int64]:
        """The ids of one class's images, ascending int64; -1 is the label of those without a class."""
        order, starts = self._by_label
        return order[starts[label + 1] : starts[label + 2]]

    def ids_of_cluster(self, cluster: int) -> NDArray[np.int64]:
        """The ids of one cluster's images, ascending int64; none where there is no such cluster."""
        order, sorted_clusters = self._by_cluster
        first, last = np.searchsorted(sorted_clusters, [cluster, cluster + 1])
        return order[first:last]

    @cached_property
    def scenes(self) -> NDArray[np.int64]:
        """The scene of each image, (n,) int64: its cluster, or the smallest scene stored for an image of its cluster.

        A scene is one place in one examination. It has whole clusters and is numbered, as they are, by its first image.
        """
        if not self.has_scene_rows:
            return self.clusters
        known = self.scene_rows >= 0
        clusters, cluster_of = np.unique(self.clusters, return_inverse=True)
        first = np.full(len(clusters), np.iinfo(np.int64).max)
        np.minimum.at(first, cluster_of[known], self.scene_rows[known])
        scenes: NDArray[np.int64] = np.minimum(first, clusters)[cluster_of]
        return scenes

    @cached_property
    def has_scene_rows(self) -> bool:
        """Whether a scene is stored for any image."""
        return bool((self.scene_rows >= 0).any())

    @cached_property
    def has_scenes(self) -> bool:
        """Whether a scene has more than one cluster, so that scenes and clusters are not the same."""
        return self.has_scene_rows and bool((self.scenes != self.clusters).any())

    def scene_at(self, place: int) -> int:
        """The scene of the image at one place."""
        return int(self.at(np.array([place])).scenes[0])

    def ids_of_content(self, digest: bytes) -> NDArray[np.int64]:
        """The ids of images whose file has a SHA-256, ascending int64."""
        first = np.flatnonzero(self.contents[:, 0] == digest[0])
        same: NDArray[np.int64] = self.ids[first[(self.contents[first] == np.frombuffer(digest, np.uint8)).all(axis=1)]]
        return same

    def ids_of_scene(self, scene: int) -> NDArray[np.int64]:
        """The ids of one scene's images, ascending int64; none where there is no such scene."""
        ids: NDArray[np.int64] = self.ids[self.scenes == scene]
        return ids

    def scene_of(self, image_id: int) -> NDArray[np.int64]:
        """The ids of all images of one's scene, ascending int64; none where there is no such image."""
        position = self.position(image_id)
        return self.ids[:0] if position is None else self.ids_of_scene(int(self.scenes[position]))

    @cached_property
    def _by_label(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids ordered by label, then by id, and where each label begins, that of -1 first."""
        order = np.argsort(self.labels, kind="stable")
        starts = np.searchsorted(self.labels[order], np.arange(-1, len(self.classes) + 1))
        return self.ids[order], starts.astype(np.int64)

    @cached_property
    def _by_cluster(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids ordered by cluster, then by id, and the cluster of each."""
        order = np.argsort(self.clusters, kind="stable")
        return self.ids[order], self.clusters[order]


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Some images of all, at places (m,), in that order; each column is read by itself."""

    images: Images
    places: NDArray[np.int64]

    def column(self, name: str) -> NDArray[Any]:
        """The values (m, ...) of a column."""
        values: NDArray[Any] = getattr(self.images, name)[self.places]
        return values

    @property
    def files(self) -> list[str]:
        """The path of each inside its source."""
        files = self.images.files
        return [files[place] for place in self.places.tolist()]

    @property
    def scenes(self) -> NDArray[np.int64]:
        """The scene of each, (m,)."""
        return self.images.scenes[self.places] if self.images.has_scene_rows else self.column("clusters")


def read_images(connection: sqlite3.Connection, columns: int, folder: Path) -> Images:
    """Every image; to be called within a transaction. Sources inside the collection's own folder move with it."""
    return together(list(read_blocks(connection, columns, folder)))


def read_blocks(connection: sqlite3.Connection, columns: int, folder: Path) -> Iterator[Images]:
    """Every image, some thousand at a time, at least one block; classes of a block are its own.

    To be called within a transaction. Rows are several times as large as their arrays, so few are in memory at once.
    """
    numbers, paths = read_sources(connection, folder)
    cursor = connection.execute(
        f"SELECT id, {_COLUMNS}, bits, scene, digest FROM images {_joined(connection)} ORDER BY id"  # noqa: S608
    )
    rows = cursor.fetchmany(_BLOCK)
    while True:
        yield from_rows(rows, columns, numbers, paths, damaged_ids(connection, rows))
        if not (rows := cursor.fetchmany(_BLOCK)):
            return


def count_images(connection: sqlite3.Connection) -> int:
    """How many images the catalog has."""
    (count,) = connection.execute("SELECT COUNT(*) FROM images").fetchone()
    return int(count)


def together(blocks: list[Images]) -> Images:
    """Blocks of images as one, each column in turn, so that no more than one of them is in memory twice."""
    if len(blocks) == 1:
        return blocks[0]
    classes = tuple(sorted({name for block in blocks for name in block.classes}))
    names = [block.files if isinstance(block.files, FileNames) else FileNames.of(block.files) for block in blocks]
    count = sum(map(len, blocks))
    columns: dict[str, Any] = {
        "labels": [translated(block.labels, block.classes, classes) for block in blocks],
        "files": names,
    }
    columns |= {name: [getattr(block, name) for block in blocks] for name in COLUMNS if name not in columns}
    first, damaged = blocks[0], tuple(image_id for block in blocks for image_id in block.damaged)
    blocks.clear()
    for name, parts in columns.items():
        columns[name] = FileNames.joined(parts) if name == "files" else np.concatenate(parts)
        parts.clear()
    if count < _PACKED_FROM:
        columns["files"] = tuple(columns["files"])
    return replace(first, classes=classes, damaged=damaged, **columns)


def read_rows(connection: sqlite3.Connection, changed: str, since: int) -> list[Row]:
    """The rows of the images whose ids `changed` selects, ascending; all but the id is None where there is no such row.

    changed: a query with one parameter, `since`, whose one column is called id.
    """
    return connection.execute(
        f"SELECT id, {_COLUMNS}, bits, scene, digest FROM ({changed}) LEFT JOIN images USING (id) "  # noqa: S608
        f"{_joined(connection)} ORDER BY id",
        (since,),
    ).fetchall()


def _joined(connection: sqlite3.Connection) -> str:
    marks = "marks" if device_marks.has_table(connection) else f"({_UNMARKED})"
    scenes = "scenes" if scene_rows.has_table(connection) else f"({_WITHOUT_SCENES})"
    return f"LEFT JOIN {marks} marks ON marks.image = id LEFT JOIN {scenes} scenes ON scenes.image = id"


def damaged_ids(connection: sqlite3.Connection, rows: Sequence[Row], consecutive: bool = True) -> tuple[int, ...]:
    """Ids of rows that are not what was written, those of the table of scenes as well; see `damaged_rows`."""
    scenes = scene_rows.damaged_scenes((row[0], row[10], row[11]) for row in rows)
    return tuple(sorted({*damaged_rows(connection, rows, consecutive), *scenes}))


def translated(codes: NDArray[np.int32], old: Sequence[Any], new: Sequence[Any]) -> NDArray[np.int32]:
    """Indexes into `old`, or -1, as indexes into `new`; -1 as well for what is not in it."""
    if old == new:
        return codes
    place = {value: at for at, value in enumerate(new)}
    table = np.array([*(place.get(value, -1) for value in old), -1], np.int32)
    return table[codes]


def read_sources(connection: sqlite3.Connection, folder: Path) -> tuple[tuple[int, ...], tuple[tuple[Path, str], ...]]:
    """The catalog's number of each source, and its path and kind."""
    rows = connection.execute("SELECT id, path, kind FROM sources ORDER BY id").fetchall()
    return tuple(number for number, _, _ in rows), tuple((stored_place(folder, path), kind) for _, path, kind in rows)


def from_rows(
    rows: Sequence[Row],
    width: int,
    numbers: tuple[int, ...],
    paths: tuple[tuple[Path, str], ...],
    damaged: tuple[int, ...],
) -> Images:
    """Rows as images. width: columns of checksums. numbers, paths: of `read_sources`. damaged: of `damaged_ids`."""
    columns: Any = zip(*rows, strict=True) if rows else ((),) * 12
    ids, names, clusters, widths, heights, files, sources, checksums, digests, bits, scenes, _ = columns
    composed = {name: nfc(name) for name in set(names) if name is not None}  # older catalogs hold other forms as well
    classes = tuple(sorted(set(composed.values())))
    label = {name: classes.index(form) for name, form in composed.items()} | {None: -1}
    place = {source: at for at, source in enumerate(numbers)}
    packed = b"".join(blob[: 4 * width].ljust(4 * width, b"\0") for blob in checksums)
    return Images(
        classes=classes,
        source_paths=paths,
        source_numbers=numbers,
        ids=np.array(ids, np.int64),
        labels=np.array([label[name] for name in names], np.int32),
        clusters=np.array(clusters, np.int64),
        sizes=np.array([widths, heights], np.int32).T.reshape(-1, 2),
        checksums=np.frombuffer(packed, "<u4").reshape(len(ids), width),
        contents=np.frombuffer(b"".join(digests), np.uint8).reshape(len(ids), 32),
        marks=np.array([-1 if number is None else number for number in bits], np.int32),
        scene_rows=np.array([-1 if number is None else number for number in scenes], np.int64),
        files=FileNames.of(files) if len(files) >= _PACKED_FROM else tuple(files),
        sources=np.array([place[source] for source in sources], np.int32),
        damaged=damaged,
    )
