"""Query -> ranked hits, with precision@k and recall@k where the query's class is known."""

from __future__ import annotations

import threading
from collections.abc import Collection as Names
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import images
from retrieval.collection import Collection, Space, tower_folder
from retrieval.encoders import Encoder, Recipe
from retrieval.encoders.recipe import Resize
from retrieval.errors import QueryError
from retrieval.fusion import DEPTH, reciprocal_rank_fusion
from retrieval.hits import Hit, Hits, Quality
from retrieval.images import Picture, Region
from retrieval.index import Index, Metric, build_index, metric_named

QueryLike = int | str | Path | bytes | Image.Image | NDArray[Any] | Picture
"""An image id; a file; a file's bytes; a PIL image; pixels (h, w, 3) uint8; or a vector (d,) of the space searched."""


class BadQueryError(QueryError):
    """A query cannot be understood, or does not fit the spaces that it is to be searched in."""


class NoSuchClassError(QueryError):
    """The collection has no class of this name."""


class EmptySpaceError(QueryError):
    """There is nothing to search."""


class Searcher:
    """Answers queries on one collection. Safe to share between threads; encoders and indexes load on first use.

    purpose: "latency" lets one query use every core; "throughput" gives each of many queries at once a core of its own.
    """

    def __init__(self, collection: Collection, purpose: Literal["throughput", "latency"] = "latency") -> None:
        self.collection = collection
        self._purpose: Literal["throughput", "latency"] = purpose
        self._encoders: dict[str, Encoder] = {}
        self._indexes: dict[str, tuple[Metric, Index, NDArray[np.int64]]] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        spaces = ", ".join(space.name for space in self.collection.spaces)
        return f"<Searcher of {len(self.collection)} images in {self.collection.path}, spaces: {spaces}>"

    def search(
        self,
        query: QueryLike,
        k: int = 10,
        *,
        spaces: str | Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        classes: str | Names[str] | None = None,
        exclude_self: bool = True,
        exclude_cluster: bool = False,
        query_class: str | None = None,
        region: Region | None = None,
    ) -> Hits:
        """The k nearest images.

        spaces: one or several names, by default the collection's first space; several are fused by reciprocal ranks
        with the given weights. classes: only images of these. exclude_self and exclude_cluster leave out the query's
        own image and its near duplicates, where the query is an image of the collection. query_class: the class of
        the query where it is known; that of an image of the collection is known by itself. region: search only by
        this part of the query's picture.

        Raises BadQueryError, NoSuchClassError, NoSuchImageError, SpaceNameError, EmptySpaceError, a PictureError.
        """
        self._require_hits(k)
        if query_class is not None and not isinstance(query_class, str):
            raise BadQueryError(f"a class is given by name, not as {query_class!r}")
        names = self.space_names(spaces)
        image_id = int(query) if _is_whole(query) else None
        if image_id is not None and query_class is None:
            query_class = self.collection.class_of(image_id)
        shares = self._weights(weights, len(names))
        vectors = self.vectors_of(query, names, region)
        allowed = self._allowed(image_id, classes, exclude_self, exclude_cluster)
        return self._ranked(vectors, shares, k, allowed, image_id, query_class)

    def search_by_vectors(
        self,
        vectors: Mapping[str, NDArray[Any]],
        k: int = 10,
        *,
        weights: Sequence[float] | None = None,
        classes: str | Names[str] | None = None,
        query_class: str | None = None,
    ) -> Hits:
        """The k nearest images to a query from outside, whose vector (d,) in each space is as `vectors_of` makes it."""
        self._require_hits(k)
        allowed = self._allowed(None, classes, False, False)
        return self._ranked(vectors, self._weights(weights, len(vectors)), k, allowed, None, query_class)

    def _require_hits(self, k: int) -> None:
        if not _is_whole(k) or k < 1:
            raise BadQueryError(f"k is {k!r}; ask for a whole number of hits, at least 1")
        if not len(self.collection):
            raise EmptySpaceError(
                f"the collection {self.collection.path} is empty; "
                f"`kvasir index DATA {self.collection.path}` puts pictures into it"
            )

    def _ranked(
        self,
        vectors: Mapping[str, NDArray[Any]],
        shares: Sequence[float],
        k: int,
        allowed: NDArray[np.bool_],
        image_id: int | None,
        query_class: str | None,
    ) -> Hits:
        names = list(vectors)
        depth = k if len(names) == 1 else max(DEPTH, 10 * k)
        found = {name: self._nearest(name, vectors[name], depth, allowed) for name in names}
        if len(names) == 1:
            ids, nearest = found[names[0]]
            scores = self.metric(names[0]).scores(nearest)
        else:
            ids, scores = reciprocal_rank_fusion([found[name][0] for name in names], shares)
            ids, scores = ids[:k], scores[:k]
        distances = {name: self._distances(name, vectors[name], ids) for name in names}
        return self._answer(names, distances, ids, scores, allowed, image_id, query_class, k)

    def vectors_of(
        self, query: QueryLike, spaces: Sequence[str], region: Region | None = None
    ) -> dict[str, NDArray[Any]]:
        """The query's vector (d,) in each space, made by the space's own recipe from the region where one is given."""
        if region is not None and not (len(_listed(region)) == 4 and all(map(_is_number, region))):
            raise BadQueryError(f"a region is left, top, width and height as fractions between 0 and 1, not {region!r}")
        if isinstance(query, np.ndarray) and query.ndim == 1:
            if region is not None:
                raise BadQueryError("a vector has no region; give a picture")
            return {name: self._checked_vector(query, name) for name in spaces}
        if _is_whole(query):
            if region is None:
                return {name: self._stored_vector(int(query), name) for name in spaces}
            query = self.collection.read(int(query))
        vectors: dict[str, NDArray[Any]] = {}
        pictures: dict[tuple[int, int] | None, Picture] = {}
        for space in (self.collection.manifest.space(name) for name in spaces):
            # The draft that indexing gave this space: its vector must not depend on the others asked for.
            draft = self.encoder(space.name).recipe.draft if space.kind == "encoder" else None
            if draft is not None and region is not None:  # the region alone must have the pixels, turned or not
                draft = 2 * (round(max(draft) / max(min(region[2:]), 0.01)),)
            if draft not in pictures:
                picture = self._picture(query, draft)
                pictures[draft] = picture if region is None else picture.crop(region)
            vectors[space.name] = self._describe(pictures[draft], space)
        return vectors

    def reopened(self) -> Searcher:
        """A searcher on the collection as it is now; encoders that made the same spaces before are not loaded again."""
        later = Searcher(Collection.open(self.collection.path), self._purpose)
        kept = {space.name: space for space in self.collection.spaces}
        with self._lock:
            for space in later.collection.spaces:
                if space == kept.get(space.name) and space.name in self._encoders:
                    later._encoders[space.name] = self._encoders[space.name]
        return later

    def encoder(self, space: str) -> Encoder:
        """The encoder that made a space, ready to run."""
        definition = self.collection.manifest.space(space)
        with self._lock:
            if space not in self._encoders:
                self._encoders[space] = load_encoder(self.collection.path, definition, self._purpose)
            return self._encoders[space]

    def metric(self, space: str) -> Metric:
        """The native distance of a space."""
        return metric_named(self.collection.manifest.space(space).metric)

    def index(self, space: str) -> tuple[Metric, Index, NDArray[np.int64]]:
        """A space's distance, its index, and the positions in the collection's `images` of the index's rows."""
        with self._lock:
            if space not in self._indexes:
                metric = self.metric(space)
                ids, vectors = self.collection.vectors(space)
                folder = self.collection.path / "index"
                index = build_index(metric, vectors, ids, folder, space)
                self._indexes[space] = metric, index, self.collection.positions(space)
            return self._indexes[space]

    @cached_property
    def _resize(self) -> Resize | None:
        """What resizes pictures for encoders; one query alone is not worth loading the faster one, which compiles."""
        if self._purpose == "latency":
            return None
        from retrieval.encoders.resizing import resize

        return resize

    # The question

    def space_names(self, spaces: str | Sequence[str] | None) -> list[str]:
        """The spaces that are searched where these are asked for. Raises SpaceNameError, EmptySpaceError."""
        if not self.collection.spaces:
            raise EmptySpaceError(f"{self.collection.path} has no spaces yet; `kvasir index` makes them")
        if spaces is None:
            return [self.collection.spaces[0].name]
        names = [self.collection.manifest.space(name).name for name in _names(spaces, "spaces")]
        if not names or len(set(names)) != len(names):
            raise BadQueryError("name each space to search once, and at least one")
        return names

    def _weights(self, weights: Sequence[float] | None, count: int) -> list[float]:
        if weights is None:
            return [1.0] * count
        shares = [float(weight) if _is_number(weight) else 0.0 for weight in _listed(weights)]
        if len(shares) != count or not all(0 < share < float("inf") for share in shares):
            raise BadQueryError(f"give one positive number as weight for each space ({count}), not {weights!r}")
        return shares

    def _picture(self, query: QueryLike, draft: tuple[int, int] | None) -> Picture:
        if isinstance(query, Picture):
            return query
        if isinstance(query, bytes | bytearray | memoryview):
            return images.decode(bytes(query), draft=draft)
        if isinstance(query, str | Path):
            return images.read(Path(query), draft=draft)
        if isinstance(query, Image.Image):
            return images.from_image(query)
        if isinstance(query, np.ndarray):
            return images.from_array(query)
        raise BadQueryError(
            f"a {type(query).__name__} is not a query: give an image id, file, bytes, picture or vector"
        )

    def _describe(self, picture: Picture, space: Space) -> NDArray[Any]:
        if space.kind == "encoder":
            encoder = self.encoder(space.name)
            vector: NDArray[Any] = encoder.encode(encoder.recipe.prepare(picture, self._resize)[None])[0]
            return vector
        from retrieval.descriptors import descriptor_named
        from retrieval.descriptors.variant import parse_variant

        variant = parse_variant(space.recipe["variant"])
        return descriptor_named(space.recipe["descriptor"]).extract(picture.pixels(), variant)

    def _stored_vector(self, image_id: int, space: str) -> NDArray[Any]:
        vector = self.collection.vector(space, image_id)
        if vector is None:
            raise BadQueryError(f"image {image_id} has no vector in the space '{space}'")
        return vector

    def _checked_vector(self, query: NDArray[Any], name: str) -> NDArray[Any]:
        space = self.collection.manifest.space(name)
        if query.shape != (space.dimension,) or not np.issubdtype(query.dtype, np.number):
            raise BadQueryError(
                f"the space '{name}' takes vectors of {space.dimension} numbers, not of shape {query.shape}"
            )
        with np.errstate(over="ignore"):  # what does not fit is told as not finite
            vector = query.astype(space.dtype)
        if not np.isfinite(vector).all():
            raise BadQueryError("the vector has values that are not finite numbers")
        if space.kind == "encoder":
            length = float(np.linalg.norm(vector.astype(np.float64)))
            if length == 0:
                raise BadQueryError("the vector is zero, so it has no direction to compare")
            return (vector / length).astype(space.dtype)
        from retrieval.descriptors.native_distance import ForeignVectorError

        try:
            self.metric(name).distances(vector[None], vector[None])
        except ForeignVectorError as error:
            raise BadQueryError(f"the vector is none of the space '{name}': {error}") from error
        return vector

    def _allowed(
        self, image_id: int | None, classes: str | Names[str] | None, exclude_self: bool, exclude_cluster: bool
    ) -> NDArray[np.bool_]:
        """Which images may be hits, (n,) over the collection's `images`."""
        held = self.collection.images
        allowed = np.ones(len(held), bool)
        if classes is not None:
            wanted = set(_names(classes, "classes"))
            unknown = sorted(wanted - set(held.classes))
            if unknown:
                raise NoSuchClassError(f"no class '{unknown[0]}'; the classes: {', '.join(held.classes) or 'none'}")
            allowed &= np.isin(held.labels, [held.classes.index(name) for name in wanted])
        if image_id is not None:
            position = self.collection.position(image_id)
            if exclude_cluster:
                allowed &= (held.clusters != held.clusters[position]) | (held.ids == image_id)
            if exclude_self:
                allowed[position] = False
        return allowed

    # The answer

    def _nearest(
        self, space: str, vector: NDArray[Any], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        _, index, positions = self.index(space)
        there = allowed[positions]
        distances, rows = index.search(vector[None], min(k, len(positions)), None if there.all() else there)
        found = rows[0] >= 0
        # Unit vectors in single precision are of unit length but for rounding: their cosine may pass 1 by 1e-7.
        return self.collection.images.ids[positions[rows[0][found]]], np.maximum(distances[0][found], 0)

    def _answer(
        self,
        names: Sequence[str],
        distances: Mapping[str, Sequence[float | None]],
        ids: NDArray[np.int64],
        scores: NDArray[np.floating],
        allowed: NDArray[np.bool_],
        image_id: int | None,
        query_class: str | None,
        k: int,
    ) -> Hits:
        held = self.collection.images
        at = np.searchsorted(held.ids, ids)
        hits = tuple(
            Hit(
                rank=rank + 1,
                id=int(ids[rank]),
                score=float(scores[rank]),
                distance=next(d for name in names if (d := distances[name][rank]) is not None),
                distances={name: distances[name][rank] for name in names},
                class_name=held.classes[held.labels[position]] if held.labels[position] >= 0 else None,
                file=held.files[position],
                cluster=int(held.clusters[position]),
            )
            for rank, position in enumerate(at.tolist())
        )
        with_vector = np.zeros(len(held), bool)
        for name in names:
            with_vector[self.collection.positions(name)] = True
        searched = allowed & with_vector
        quality = None
        if query_class is not None:
            label = held.classes.index(query_class) if query_class in held.classes else -2
            relevant = int(np.count_nonzero(searched & (held.labels == label)))
            quality = Quality.of(sum(hit.class_name == query_class for hit in hits), relevant, k)
        return Hits(
            hits, tuple(names), int(np.count_nonzero(searched)), image_id, query_class, quality, self.collection
        )

    def _distances(self, space: str, query: NDArray[Any], ids: NDArray[np.int64]) -> list[float | None]:
        stored = [self.collection.vector(space, image_id) for image_id in ids.tolist()]
        there = [vector for vector in stored if vector is not None]
        computed = iter(self.metric(space).distances(query[None], np.array(there))[0].tolist() if there else [])
        return [None if vector is None else max(0.0, float(next(computed))) for vector in stored]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _names(value: Any, what: str) -> list[str]:
    names = _listed(value)
    if not all(isinstance(name, str) for name in names):
        raise BadQueryError(f"{what} are given by name, one or several, not as {value!r}")
    return names


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: object) -> TypeGuard[int | np.integer[Any]]:
    """Whether a value is a whole number; Python's True and False are ones, but nobody means them so."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def load_encoder(collection: Path, space: Space, purpose: Literal["throughput", "latency"] = "throughput") -> Encoder:
    """The encoder of a space: the converted one that lies in the collection's folder, or else built from its weights.

    Raises DamagedTowerError where the converted one is not as it was written, EncoderMismatchError where weights found
    under the same name are not those that made the space.
    """
    from retrieval.encoders import OpenVinoEncoder, TorchEncoder, build_tower
    from retrieval.encoders.running import MODEL, require_undamaged

    recipe = Recipe.from_json(space.recipe)
    folder = tower_folder(collection, space.name)
    if "converted" in space.recipe and (folder / MODEL).is_file():
        require_undamaged(folder, space.recipe["converted"], collection)
        return OpenVinoEncoder(folder, recipe, purpose)
    tower = build_tower(recipe.spec, recipe.fit, recipe.full_size)
    recipe.require(tower.recipe)
    return TorchEncoder(tower)


def open_collection(path: Path | str, purpose: Literal["throughput", "latency"] = "latency") -> Searcher:
    """Open a collection for searching.

    >>> import retrieval
    >>> engine = retrieval.open("kvasir.collection")
    >>> engine.search("picture.jpg", k=5)
    """
    return Searcher(Collection.open(path), purpose)
