"""Query + filter -> ranked hits, with precision@k and recall@k where the query's class is known."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from retrieval.backgrounds import Backgrounds
from retrieval.collection import Collection, Difference
from retrieval.embedder import EmbeddedQuery, Embedder
from retrieval.errors import QueryError
from retrieval.feedback import Feedback, moved
from retrieval.filters import Filter, Selection, among, ascending, known_classes
from retrieval.fusion import DEFAULT_METHOD, Method, method_named
from retrieval.gallery import Gallery
from retrieval.hits import Hit, Hits
from retrieval.images import MAX_PIXELS, Picture, Region
from retrieval.index import Index, open_index
from retrieval.index.cosine import Cosine
from retrieval.index.engines import Engine, connect
from retrieval.index.protocol import Metric
from retrieval.large_pictures import LargePictures
from retrieval.learn.calibration_store import (
    NotCalibratedError,
    StoredCalibration,
    calibrated_name,
    calibration_path,
    load_calibration,
)
from retrieval.learn.fitted_files import FittedFiles
from retrieval.learn.novelty import Detector, Novelty, detector_path, load_detector, novelties
from retrieval.names import nfc
from retrieval.query import BadQueryError, Part, Query, QueryLike, as_list, is_number, is_unordered, is_whole
from retrieval.query_vectors import QueryVectors
from retrieval.ranking import Ranking
from retrieval.rerank import Reranker, reranker_named
from retrieval.search_options import SearchOptions, Weights, class_name_of, names_of, shares_of
from retrieval.space_search import SpaceSearch
from retrieval.spaces import Purpose, Space, UnsupportedQueryError, VectorError, metric_of

if TYPE_CHECKING:
    from retrieval.reasons.seen import SeenPictures
    from retrieval.reasons.telling import Reasons

_NONE = np.empty(0, np.int64)


class EmptySpaceError(QueryError):
    """There is nothing to search."""


class Searcher:
    """Searches one state of a collection.

    Safe to share between threads. Encoders and indexes load with their first use, each under a lock of its own.
    purpose: "latency" lets one query use every core; "throughput" gives each of many queries at once a core of its own.
    max_pixels: the largest width x height of a picture from outside that is decoded. large: decodes large pictures in
    another process, for a server. engine: searches the spaces that it serves in the place of the local indexes.
    """

    def __init__(
        self,
        collection: Collection,
        purpose: Purpose = "latency",
        max_pixels: int = MAX_PIXELS,
        large: LargePictures | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.collection = collection
        self.engine = engine
        self._purpose: Purpose = purpose
        self._max_pixels = max_pixels
        self.large_pictures = large
        self._embedder = Embedder(collection, purpose, max_pixels, large)
        self._indexes: dict[str, Index] = {}
        self._searches: dict[str, SpaceSearch] = {}
        self._galleries: dict[tuple[str, ...], Gallery] = {}
        self._calibrations = FittedFiles(calibration_path, load_calibration)
        self._detectors = FittedFiles(detector_path, load_detector)
        self._building = {space.name: Lock() for space in collection.spaces}

    def __repr__(self) -> str:
        spaces = ", ".join(space.name for space in self.collection.spaces)
        return f"<{type(self).__name__} of {len(self.collection)} images in {self.collection.path}, spaces: {spaces}>"

    def __len__(self) -> int:
        return len(self.collection)

    @overload
    def search(self, query: list[Any], k: int = 10, **options: Unpack[SearchOptions]) -> list[Hits]: ...
    @overload
    def search(self, query: QueryLike, k: int = 10, **options: Unpack[SearchOptions]) -> Hits: ...
    def search(
        self,
        query: QueryLike | list[Any],
        k: int = 10,
        *,
        spaces: str | Sequence[str] | None = None,
        weights: Weights | None = None,
        fusion: str = DEFAULT_METHOD,
        rerank: str | None = None,
        filter: Filter | None = None,  # noqa: A002  # the term
        classes: str | Names[str] | None = None,
        exclude_self: bool = True,
        exclude_cluster: bool = False,
        exclude_scene: bool = False,
        query_class: str | None = None,
        region: Region | None = None,
        min_chance: float | None = None,
        fold: bool = False,
        feedback: Feedback | None = None,
    ) -> Hits | list[Hits]:
        """The k nearest images to a query; a list of queries is searched together, with one index call a space.

        spaces: one or several names, by default the spaces of the query's vectors or else the collection's first;
        several are fused with the given weights, in their order or by name. A text is searched by a space's text
        encoder or else by the mean vectors of the classes that it describes, see `Hits.text_matches`. fusion: rrf,
        zscore or minmax, see `retrieval.fusion`. rerank: how the first 1,000 images of one space are ranked anew, see
        `retrieval.rerank`.
        filter and classes: only images that meet the filter and are of these classes. exclude_self, exclude_cluster and
        exclude_scene leave out the images of the collection among the query's parts, their near duplicates, and these
        with all other frames of their scenes, as far as `kvasir scenes` has found them. query_class: the class of the
        query where it is known; that of an image of the collection is known by itself. region: the part of the query's
        picture that counts. min_chance: only hits that show the query's finding with this chance at least, from 0 to 1;
        `kvasir calibrate` makes what chances need. fold: near duplicates of a hit fold into it, see `Hit`. feedback:
        images marked as fitting or not, which move a single query in each space; see `retrieval.feedback`.

        Raises BadQueryError, NotCalibratedError, NoSuchClassError, NoSuchImageError, SpaceNameError, EmptySpaceError,
        UnknownFusionError, UnknownWordsError, UnsupportedQueryError, VectorError, a PictureError.
        """
        queries = query if isinstance(query, list) else [query]
        self._require_hits(k)
        parsed = [Query.of(value, region) for value in queries]
        names = self._default_spaces(parsed) if spaces is None else self.space_names(spaces)
        if feedback is not None and not isinstance(feedback, Feedback):
            raise BadQueryError(f"feedback is a retrieval.Feedback, not {feedback!r}")
        if feedback is not None and isinstance(query, list):
            raise BadQueryError("feedback belongs to one query, not to a list of them")
        embedded = [self._embed(each, names, query_class, feedback) for each in parsed]
        results = self.search_embedded(
            embedded,
            k,
            weights=weights,
            fusion=fusion,
            rerank=rerank,
            filter=filter,
            classes=classes,
            exclude_self=exclude_self,
            exclude_cluster=exclude_cluster,
            exclude_scene=exclude_scene,
            min_chance=min_chance,
            fold=fold,
        )
        return results if isinstance(query, list) else results[0]

    def nearest_of_classes(self, query: QueryLike, k: int = 4, **options: Unpack[SearchOptions]) -> dict[str, Hits]:
        """The k nearest images of each class, by class, that of the nearest image first.

        options: those of `search`; `classes` names the only ones. The query is embedded once. Raises as `search`.
        """
        parsed = Query.of(query, options.pop("region", None))
        spaces, query_class = options.pop("spaces", None), options.pop("query_class", None)
        names = self._default_spaces([parsed]) if spaces is None else self.space_names(spaces)
        embedded = self._embed(parsed, names, query_class, options.pop("feedback", None))
        return self.nearest_of_classes_embedded(embedded, k, **options)

    def refine(
        self,
        query: Hits | QueryLike,
        relevant: Sequence[int] = (),
        irrelevant: Sequence[int] = (),
        k: int | None = None,
        *,
        unseen: bool = False,
        **options: Unpack[SearchOptions],
    ) -> Hits:
        """Search again, with some images marked as fitting the query or not; see `retrieval.feedback`.

        query: hits, whose query, spaces, fusion and earlier marks are taken over, or a query. k: as many as there were
        by default. unseen: leave out these hits, those before them and all marked images. options: those of `search`.
        Raises as `search`, BadQueryError for hits that do not know their query.
        """
        feedback, shown = Feedback(tuple(as_list(relevant)), tuple(as_list(irrelevant))), 0
        if not isinstance(query, Hits):
            parsed = Query.of(query, options.pop("region", None))
        else:
            parsed, feedback = _query_of(query), (query.feedback or Feedback()).followed_by(feedback)
            shown = len(query)
            options.setdefault("spaces", query.spaces)
            options.setdefault("query_class", query.query_class)
            if query.fusion is not None:
                options.setdefault("fusion", query.fusion)
        if unseen:
            ids = query.ids if isinstance(query, Hits) else []
            marked = (*feedback.relevant, *feedback.irrelevant)
            feedback = feedback.followed_by(Feedback(seen=(*ids, *marked)))
        options["feedback"] = feedback
        return self.search(parsed, (shown or 10) if k is None else k, **options)

    def nearest_of_classes_embedded(
        self, query: EmbeddedQuery, k: int, classes: str | Names[str] | None = None, **options: Any
    ) -> dict[str, Hits]:
        """The same for a query that is embedded already."""
        wanted = self.collection.classes if classes is None else dict.fromkeys(map(nfc, names_of(classes, "classes")))
        nearest = {name: self.search_embedded([query], k, classes=[name], **options)[0] for name in wanted}
        return dict(sorted(nearest.items(), key=lambda pair: -pair[1][0].score if len(pair[1]) else float("inf")))

    def search_by_vectors(
        self,
        vectors: Mapping[str, NDArray[Any]],
        k: int = 10,
        *,
        weights: Weights | None = None,
        fusion: str = DEFAULT_METHOD,
        rerank: str | None = None,
        classes: str | Names[str] | None = None,
        query_class: str | None = None,
    ) -> Hits:
        """The k nearest images to a query from outside, whose vector (d,) in each space is as `vectors_of` makes it.

        Raises VectorError for a vector that is not, such as an embedding that is not of unit length.
        """
        if not isinstance(vectors, Mapping) or not vectors:  # type: ignore[redundant-expr]
            raise BadQueryError("give the query's vectors by space, at least one: {name: vector}")
        made = {}
        for name, vector in vectors.items():
            space = self.space(name)
            given = np.asarray(vector)
            if not np.allclose(space.validate(given), given, rtol=0, atol=1e-4):
                raise VectorError(
                    f"the vector is not of unit length as the space '{space.name}' stores vectors; "
                    "search(vector) brings it to that length"
                )
            if space.name in made:
                raise BadQueryError(f"there are two vectors for the space '{space.name}'; give one")
            made[space.name] = QueryVectors(given.astype(space.definition.dtype)[None], np.ones(1))
        query = EmbeddedQuery(made, class_name=class_name_of(query_class))
        options: dict[str, Any] = {"weights": weights, "fusion": fusion, "rerank": rerank, "classes": classes}
        return self.search_embedded([query], k, **options)[0]

    def search_embedded(
        self,
        queries: Sequence[EmbeddedQuery],
        k: int,
        *,
        weights: Weights | None = None,
        fusion: str = DEFAULT_METHOD,
        rerank: str | None = None,
        filter: Filter | None = None,  # noqa: A002  # what it is
        classes: str | Names[str] | None = None,
        exclude_self: bool = True,
        exclude_cluster: bool = False,
        exclude_scene: bool = False,
        min_chance: float | None = None,
        fold: bool = False,
    ) -> list[Hits]:
        """Search for queries that are embedded already, all in the same spaces, with one index call a space.

        The checksums of the hits' vectors are compared. Raises DamagedVectorError and what `search` raises.
        """
        self._require_hits(k)
        if not queries:
            return []
        if fold:
            options: dict[str, Any] = {"weights": weights, "fusion": fusion, "rerank": rerank, "filter": filter}
            options |= {"classes": classes, "exclude_self": exclude_self, "exclude_cluster": exclude_cluster}
            return self._folded(queries, k, options | {"exclude_scene": exclude_scene, "min_chance": min_chance})
        names = list(queries[0].vectors)
        if any(set(query.vectors) != set(names) for query in queries):
            raise BadQueryError("queries that are searched for together are embedded in the same spaces")
        method = method_named(fusion)
        shares = shares_of(weights, names, self.collection.manifest)
        selection = self._selection(filter, classes)
        groups = self._groups(exclude_cluster, exclude_scene)
        without = [self._left_out(query, exclude_self, groups) for query in queries]
        gallery = self._gallery(names).restricted_to(selection)
        searches = {name: self._space_search(name) for name in names}
        reranker = None if rerank is None else self._reranker(rerank, names)
        of_pictures = not any(query.is_signed or query.has_text for query in queries)
        ranking = Ranking(
            k,
            self.collection,
            searches,
            gallery,
            selection,
            method,
            shares,
            self.backgrounds,
            reranker,
            self._calibration(names, shares, method, reranker, min_chance, of_pictures),
            min_chance,
        )
        return ranking.hits(queries, without)

    def _folded(self, queries: Sequence[EmbeddedQuery], k: int, options: Mapping[str, Any]) -> list[Hits]:
        """Hits without a second image of any cluster; searches deeper until there are k of each query, or no more."""
        depth = k + k // 2 + 1
        while True:
            results = self.search_embedded(queries, min(depth, len(self.collection)), **options)
            folded = [hits.folded(k) for hits in results]
            ended = [len(one) == k or len(hits) < depth for one, hits in zip(folded, results, strict=True)]
            if all(ended) or depth >= len(self.collection):
                return folded
            depth *= 2

    def refreshed(self) -> Self:
        """A searcher on the collection as it is now; this one where nothing has changed.

        Encoders of unchanged spaces are shared, and indexes are copied and changed by the difference: neither is loaded
        or built again. This searcher goes on searching the state that it has.
        """
        collection, difference = self.collection.refreshed()
        if collection is self.collection:
            return self
        later = type(self)(collection, self._purpose, self._max_pixels, self.large_pictures, self.engine)
        later._embedder = self._embedder.refreshed(collection)
        if difference is not None:
            for name, building in self._building.items():
                if self._is_remote(name):  # opened again, since it knows the state that it is searched for
                    continue
                with building:  # an index that is being built is taken over once it is complete
                    if name in self._indexes:
                        later._indexes[name] = _changed(self._indexes[name], difference, collection, name)
        return later

    # Vectors and what makes them

    def vectors_of(
        self, query: QueryLike, spaces: str | Sequence[str], region: Region | None = None
    ) -> dict[str, NDArray[Any]]:
        """The vector (d,) of a query of one part in each space, made by the space's own recipe.

        Raises BadQueryError for a query of several parts, and what `search` raises.
        """
        parsed = Query.of(query, region)
        if len(parsed.parts) > 1:
            raise BadQueryError("a query of several parts has a vector for each; give one part")
        made = self._embedder.vectors(parsed, self.space_names(spaces))
        return {name: query_vectors.vectors[0] for name, query_vectors in made.items()}

    def embed(
        self,
        query: QueryLike,
        spaces: str | Sequence[str] | None = None,
        class_name: str | None = None,
        feedback: Feedback | None = None,
    ) -> EmbeddedQuery:
        """A query as `search_embedded` takes it; spaces, class and feedback as in `search`."""
        parsed = Query.of(query)
        names = self._default_spaces([parsed]) if spaces is None else self.space_names(spaces)
        return self._embed(parsed, names, class_name, feedback)

    def reasons(
        self,
        query: Hits | QueryLike,
        image: Hit | int,
        spaces: str | Sequence[str] | None = None,
        region: Region | None = None,
    ) -> Reasons:
        """Why an image is near the first picture of a query: where the two agree, and what their distance is made of.

        query: hits, whose query and spaces are taken over, or a query. image: a hit, or an id. spaces: names, by
        default the collection's first. A space of embeddings shows agreement where it passed the test of `kvasir
        reasons` on this collection, and else says why not. Raises NoSuchImageError, SpaceNameError,
        UnsupportedQueryError, BadQueryError, a PictureError.
        """
        from retrieval.reasons.telling import reasons_for

        if isinstance(query, Hits):
            spaces = query.spaces if spaces is None else spaces
            query = _query_of(query)
        image_id = image.id if isinstance(image, Hit) else image
        if not is_whole(image_id):
            raise BadQueryError(f"the image to compare with is a hit or an id, not {image!r}")
        parsed = Query.of(query, region)
        names = self._default_spaces([parsed]) if spaces is None else self.space_names(spaces)
        return reasons_for(self.collection, self._embedder, self._seen, parsed, image_id, names)

    @cached_property
    def backgrounds(self) -> Backgrounds:
        """What score fusion normalises by, and texts with pictures: the background of each space."""
        return Backgrounds(self.collection, self._embedder, self.index)

    @cached_property
    def _seen(self) -> SeenPictures:
        from retrieval.reasons.seen import SeenPictures  # searches need not load what takes encoders apart

        return SeenPictures()

    def prepared_apart(self, data: bytes, spaces: Sequence[str]) -> dict[str, NDArray[Any]] | None:
        """What each space embeds of a large picture, decoded in another process; None for one that is not large.

        Raises what `LargePictures.run` raises.
        """
        large = self.large_pictures
        if large is None or not large.takes(data, self._max_pixels):
            return None
        return self._embedder.prepared_apart(large, data, None, spaces, self._max_pixels)

    def pictures(self, query: QueryLike, spaces: Sequence[str]) -> dict[str, Picture]:
        """A query's picture as each space embeds it, for timing or batching the steps to its vectors."""
        pictures = self._embedder.pictures(Query.of(query).parts[0], spaces)
        return {name: pictures[self.space(name).draft] for name in spaces}

    def space(self, name: str) -> Space:
        """A space, ready to embed pictures. Raises SpaceNameError."""
        return self._embedder.space(self.collection.manifest.space(name).name)

    def metric(self, space: str) -> Metric:
        """The native distance of a space."""
        return metric_of(self.collection.manifest.space(space))

    def vectors(self, space: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The ids (m,) ascending and vectors (m, d) of all images that have one in a space."""
        return self.collection.vectors(space)

    def index(self, space: str) -> Index:
        """The index of a space, built or loaded with the first call."""
        name = self.collection.manifest.space(space).name
        with self._building[name]:
            if name not in self._indexes:
                if self.engine is not None and self._is_remote(name):
                    self._indexes[name] = self.engine.open_index(self.collection, self.collection.manifest.space(name))
                else:
                    self._indexes[name] = open_index(self.collection, name, self.metric(name))
            return self._indexes[name]

    def _is_remote(self, name: str) -> bool:
        return self.engine is not None and self.engine.serves(self.collection.manifest.space(name))

    def flush(self) -> None:
        """Rebuild loaded indexes that are outdated, and store them for the next start.

        May take minutes, in which searches go on with the indexes as they are.
        """
        for name in list(self._indexes):
            self._indexes[name].flush()

    # The query

    def space_names(self, spaces: str | Sequence[str] | None) -> list[str]:
        """The names of spaces as the collection spells them; its first where none is given.

        Raises SpaceNameError, EmptySpaceError, BadQueryError where one is given twice.
        """
        if not self.collection.spaces:
            raise EmptySpaceError(f"{self.collection.path} has no spaces yet; `kvasir index` makes them")
        if spaces is None:
            default = self.collection.manifest.default
            assert default is not None  # there are spaces
            return [default.name]
        if is_unordered(spaces):
            raise BadQueryError(f"spaces are given in an order, as a list, not as {spaces!r}")
        names = [self.collection.manifest.space(name).name for name in names_of(spaces, "spaces")]
        if not names or len(set(names)) != len(names):
            raise BadQueryError("name each space to search once, and at least one")
        return names

    def text_spaces(self) -> list[str]:
        """The names of the spaces that have a text encoder."""
        return [space.name for space in self.collection.spaces if self.space(space.name).embeds_texts]

    def spaces_of_text(self, text: str) -> list[str]:
        """The names of the spaces in which a text has a vector, by a text encoder or by the classes it describes."""
        return [space.name for space in self.collection.spaces if self._embedder.has_vector(text, space.name)]

    def require_words(self, text: str, spaces: str | Sequence[str] | None) -> None:
        """Raise UnknownWordsError where a text cannot be searched in these spaces, before anything is embedded."""
        query = Query((Part(text=text),))
        self._embedder.text_matches(
            query, self._default_spaces([query]) if spaces is None else self.space_names(spaces)
        )

    def _default_spaces(self, queries: Sequence[Query]) -> list[str]:
        """The spaces of the queries' vectors; for texts one with a text encoder, where there is one; else the first."""
        named = list(dict.fromkeys(space for query in queries for space in query.spaces))
        if not named and any(query.has_text for query in queries):
            named = self.text_spaces()[:1]
        return self.space_names(named or None)

    def _embed(
        self, query: Query, names: Sequence[str], class_name: str | None, feedback: Feedback | None = None
    ) -> EmbeddedQuery:
        class_name = class_name_of(class_name)
        if class_name is None and query.image_id is not None:
            class_name = self.collection.class_of(query.image_id)
        parts = tuple(
            part if part.space is None else replace(part, space=self.collection.manifest.space(part.space).name)
            for part in query.parts
        )
        spelled = Query(parts) if query.spaces else query
        detector = self._detector(parts, names)
        embedded = names if detector is None else list(dict.fromkeys([*names, detector.space]))
        vectors = self._embedder.vectors(spelled, embedded, self.backgrounds.deviations)
        strange = None if detector is None else novelties(detector, vectors[detector.space].vectors)[0]
        by_space = {name: vectors[name] for name in names}
        zero_shot = self._embedder.zero_shot(query, by_space)
        if feedback:
            by_space = {name: self._moved(name, made, feedback) for name, made in by_space.items()}
        matches = self._embedder.text_matches(query, names)
        return EmbeddedQuery(
            by_space, query.image_ids, query.image_id, class_name, strange, query, feedback or None, matches, zero_shot
        )

    def _moved(self, name: str, made: QueryVectors, feedback: Feedback) -> QueryVectors:
        """A query's vectors in a space, moved by the marked images that have one there. Raises NoSuchImageError."""

        def stored(image_ids: Sequence[int]) -> NDArray[Any]:
            vectors = [self.collection.vector(name, image_id) for image_id in image_ids]
            return np.array([made.vectors[0], *(vector for vector in vectors if vector is not None)])[1:]

        deviations = None if made.texts is None else self.backgrounds.deviations(name)
        marks = stored(feedback.relevant), stored(feedback.irrelevant)
        return moved(made, *marks, self.metric(name), deviations=deviations)

    def novelties(self, space: str, vectors: Mapping[str, NDArray[Any]]) -> list[Novelty | None] | None:
        """What is told of n whole pictures from outside that are searched in a space; None where nothing can be.

        vectors: (n, d) of the pictures by space, those in the space's sources among them.
        """
        detector = self._detector_of(space)
        return None if detector is None else novelties(detector, vectors[detector.space])

    def _detector(self, parts: Sequence[Part], names: Sequence[str]) -> Detector | None:
        """The out-of-collection detector for a query that is one whole picture from outside."""
        if len(parts) > 1 or parts[0].picture is None or parts[0].region is not None:
            return None
        return self._detector_of(names[0])

    def _detector_of(self, name: str) -> Detector | None:
        """What tells a strange picture, by the frozen space beside the one that is searched."""
        space = self.space(name)
        return self._detectors.get(self.collection, (space.sources or (space,))[0].name)

    def _require_hits(self, k: int) -> None:
        if not is_whole(k) or k < 1:
            raise BadQueryError(f"k is {k!r}; ask for a whole number of hits, at least 1")
        if not len(self.collection):
            raise EmptySpaceError(
                f"the collection {self.collection.path} is empty; "
                f"`kvasir index DATA {self.collection.path}` puts pictures into it"
            )

    def _selection(self, stated: Filter | None, classes: str | Names[str] | None) -> Selection | None:
        """Images that meet the filter and are of the classes; None for all."""
        if stated is not None and not isinstance(stated, Filter):
            raise BadQueryError(f"a filter is a retrieval.Filter, not {stated!r}")
        images = self.collection.images
        if classes is not None:
            wanted = known_classes(names_of(classes, "classes"), images)
            if stated is not None and stated.classes is not None:
                wanted &= known_classes(stated.classes, images)
            stated = replace(stated or Filter(), classes=wanted)
        return None if stated is None else stated.select(images)

    def _groups(self, exclude_cluster: bool, exclude_scene: bool) -> NDArray[np.int64] | None:
        """The scene or cluster (n,) of each image, whose other members a query leaves out; None for neither."""
        images = self.collection.images
        if exclude_scene:
            return images.scenes
        return images.clusters if exclude_cluster else None

    def _left_out(
        self, query: EmbeddedQuery, exclude_self: bool, groups: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Ids, ascending, that this query leaves out in addition to the filter."""
        if not query.image_ids and query.feedback is None:
            return _NONE
        images = self.collection.images
        own = np.array(sorted({*query.image_ids}), np.int64)
        seen = ascending(query.feedback.seen if query.feedback else ())
        if groups is None or not len(own):
            return np.union1d(own if exclude_self else own[:0], seen)
        numbers = {int(groups[self.collection.position(int(i))]) for i in own}
        of_number = images.ids_of_cluster if groups is images.clusters else images.ids_of_scene
        members = np.sort(np.concatenate([of_number(number) for number in numbers]))
        return np.union1d(members if exclude_self else members[~among(members, own)], seen)

    # The results

    def _space_search(self, name: str) -> SpaceSearch:
        if name not in self._searches:
            ids = self.collection.ids(name)
            self._searches[name] = SpaceSearch(
                name, self.metric(name), self.index(name), ids, partial(self.space, name)
            )
        return self._searches[name]

    def _gallery(self, names: Sequence[str]) -> Gallery:
        """Images with a vector in at least one of the spaces."""
        key = tuple(names)
        if key not in self._galleries:
            images = self.collection.images
            each = [self.collection.positions(name) for name in names]
            positions = each[0] if len(each) == 1 else np.unique(np.concatenate(each))
            self._galleries[key] = Gallery(
                images, images.ids if len(positions) == len(images) else images.ids[positions]
            )
        return self._galleries[key]

    def _reranker(self, name: str, names: Sequence[str]) -> Reranker:
        """The way of re-ranking of a name. Raises UnknownRerankingError, UnsupportedQueryError."""
        method = reranker_named(name)
        if len(names) > 1 or not isinstance(self.metric(names[0]), Cosine):
            raise UnsupportedQueryError(
                f"{name} ranks anew in one space of embeddings, not in {', '.join(names)}; name one by its own"
            )
        return method

    def _calibration(
        self,
        names: Sequence[str],
        weights: Sequence[float],
        method: Method,
        reranker: Reranker | None,
        min_chance: float | None,
        of_pictures: bool,
    ) -> StoredCalibration | None:
        """What scores in these spaces mean; None where that is not known. Raises NotCalibratedError, BadQueryError.

        of_pictures: whether all queries are of pictures with positive weights, as those that it was fitted on.
        """
        if min_chance is not None and not (is_number(min_chance) and 0 <= min_chance <= 1):
            raise BadQueryError(f"min_chance is {min_chance!r}; a chance is a number from 0 to 1")
        name = calibrated_name(names, [1.0] if len(names) == 1 else weights, method.name)
        stored = self._calibrations.get(self.collection, name) if reranker is None and of_pictures else None
        if stored is None and min_chance is not None:
            how = f"--fuse '{name}'" if len(names) > 1 else f"--space {name}"
            raise NotCalibratedError(
                f"scores after re-ranking have no chances; search {name} without it"
                if reranker is not None
                else "scores of a query with words, negative weights or marks have no chances; leave min_chance out"
                if not of_pictures
                else f"{name} is not calibrated; `kvasir calibrate {self.collection.path} {how}` does it"
            )
        return stored


def _query_of(hits: Hits) -> Query:
    if hits.query is None:
        raise BadQueryError("these hits do not know what they were searched by; give the query itself")
    return hits.query


def _changed(index: Index, difference: Difference, collection: Collection, space: str) -> Index:
    """The index of a space for a later state of its collection."""
    later = index.copy()
    lost, gained = difference.lost[space], difference.gained[space]
    if len(lost):
        later.remove(lost)
    if len(gained):
        later.add(gained, collection.rows(space).take(gained))
    return later


def open_collection(
    path: Path | str,
    purpose: Purpose = "latency",
    max_pixels: int = MAX_PIXELS,
    large: LargePictures | None = None,
    engine: str | None = None,
) -> Searcher:
    """Open a collection for searching; engine: the address of a vector engine that it was pushed to.

    >>> import retrieval
    >>> engine = retrieval.open("kvasir.collection")
    >>> engine.search("picture.jpg", k=5)
    """
    return Searcher(Collection.open(path), purpose, max_pixels, large, None if engine is None else connect(engine))
