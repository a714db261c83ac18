"""A collection as its readers see it: one consistent state, whatever a writer does meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import catalog
from retrieval.collection.catalog import Images
from retrieval.collection.manifest import FormatError, Manifest, SpaceDefinition, read_manifest
from retrieval.collection.pictures import read_picture
from retrieval.collection.vectors import map_vectors, vectors_path
from retrieval.errors import CollectionError, QueryError


class NoSuchImageError(QueryError):
    """The collection has no image of this id."""


class DamagedVectorError(CollectionError):
    """A stored vector is not the one that the catalog knows."""


@dataclass(frozen=True)
class Collection:
    """The images that are searched, as they were when it was opened. Open it again to see what came since."""

    path: Path
    manifest: Manifest
    images: Images

    @staticmethod
    def open(path: Path | str) -> Collection:
        """Open a collection for reading.

        Raises NotACollectionError, FormatError, DamagedCatalogError.
        """
        folder = Path(path).expanduser().absolute()
        # The manifest names every space that the catalog knows of, because it is written before a space's first vector.
        connection = None
        try:
            manifest = read_manifest(folder)
            connection = catalog.connect(folder)
            with catalog.damage_told(folder):
                images = catalog.load_images(connection, len(manifest.spaces), folder.resolve())
                return Collection(folder, manifest, images)
        finally:
            if connection is not None:
                connection.close()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def spaces(self) -> tuple[SpaceDefinition, ...]:
        """The spaces, the oldest first."""
        return self.manifest.spaces

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, sorted; a label is an index into them."""
        return self.images.classes

    @cached_property
    def _rows(self) -> int:
        return int(self.images.ids[-1]) + 1 if len(self.images) else 0

    def positions(self, space: str) -> NDArray[np.int64]:
        """Which images (positions in `images`) have a vector in a space."""
        number = self.manifest.space(space).number
        return np.flatnonzero(self.images.checksums[:, number]).astype(np.int64)

    def vectors(self, space: str) -> tuple[NDArray[np.int64], NDArray[np.generic]]:
        """The ids (m,) ascending and vectors (m, d) of all images that have one in a space.

        Where no image in between was removed, the vectors are a view of the file, not a copy.
        Raises SpaceNameError, FormatError where the file is shorter than the catalog says.
        """
        definition = self.manifest.space(space)
        ids = self.images.ids[self.positions(space)]
        matrix = self._mapped(definition)
        if len(ids) and len(ids) == ids[-1] - ids[0] + 1:
            return ids, matrix[ids[0] : ids[-1] + 1]
        return ids, matrix[ids]

    def vector(self, space: str, image_id: int) -> NDArray[np.generic] | None:
        """One image's vector (d,), or None where it has none in this space.

        Its checksum is compared, which takes microseconds; `vectors` leaves that to `kvasir verify`.
        Raises SpaceNameError, NoSuchImageError, FormatError, DamagedVectorError.
        """
        definition = self.manifest.space(space)
        expected = self.images.checksums[self.position(image_id), definition.number]
        if not expected:
            return None
        vector = np.array(self._mapped(definition)[image_id])
        if catalog.checksum(vector.tobytes()) != expected:
            raise DamagedVectorError(
                f"the vector of image {image_id} in {vectors_path(self.path, definition)} is damaged; "
                f"`kvasir verify --repair {self.path}` makes it anew"
            )
        return vector

    def position(self, image_id: int) -> int:
        """Where an id stands in `images`, or NoSuchImageError."""
        position = self.images.position(image_id)
        if position is None:
            raise NoSuchImageError(f"the collection {self.path} has no image {image_id}")
        return position

    def class_of(self, image_id: int) -> str | None:
        """The class of an image, or None where it is unknown."""
        label = int(self.images.labels[self.position(image_id)])
        return self.classes[label] if label >= 0 else None

    def file_of(self, image_id: int) -> str:
        """The path of an image inside its source."""
        return self.images.files[self.position(image_id)]

    def source_of(self, image_id: int) -> Path:
        """The folder or zip that an image was indexed in."""
        return self.images.source_paths[self.images.sources[self.position(image_id)]][0]

    def read(self, image_id: int) -> bytes:
        """The bytes of an image's file, from the folder or zip that it was indexed in.

        Raises PictureGoneError where it is no longer there, its subclass SourceGoneError where the folder or zip is
        not, and FileUnreadableError where it cannot be read.
        """
        return read_picture(self.source_of(image_id), self.file_of(image_id))

    def _mapped(self, space: SpaceDefinition) -> NDArray[np.generic]:
        if space.name not in self._maps:
            self._maps[space.name] = self._map(space)
        return self._maps[space.name]

    @cached_property
    def _maps(self) -> dict[str, NDArray[np.generic]]:
        """Spaces' vectors, mapped once: to map a file for each vector takes longer than a search."""
        return {}

    def _map(self, space: SpaceDefinition) -> NDArray[np.generic]:
        positions = self.positions(space.name)
        rows = int(self.images.ids[positions[-1]]) + 1 if len(positions) else 0
        try:
            # As a plain array: indexing numpy's own class for maps takes ten times as long.
            return map_vectors(self.path, space, rows).view(np.ndarray)
        except (OSError, ValueError) as error:
            raise FormatError(
                f"{vectors_path(self.path, space)} does not hold the vectors that the catalog lists ({error}); "
                f"`kvasir verify --repair {self.path}` makes them anew"
            ) from error
