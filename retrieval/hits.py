"""The result of a query: ranked hits, with precision and recall where the query's class is known."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import images
from retrieval.class_words import TextMatch
from retrieval.collection import Collection, PictureGoneError
from retrieval.embedder import decoded
from retrieval.errors import PictureError
from retrieval.feedback import Feedback
from retrieval.findings import Findings
from retrieval.learn.novelty import Novelty
from retrieval.marks import names_of
from retrieval.query import Part, Query
from retrieval.sources.vectors import NoStoredPictureError

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class Hit:
    """One neighbour of a query.

    score: larger is more similar; `Hits.score_kind` says what it is. distance: in the first space that was searched;
    distances: in every one of them. None where the image has no vector there. cluster: near duplicates share it.
    scene: frames of one place in one examination share it, near duplicates as well. marks: names of `retrieval.marks`.
    chance: that it has the query's class, where what was searched is calibrated. near_duplicates: ids of farther images
    of its cluster that were folded into it, nearest first.
    """

    rank: int
    id: int
    score: float
    distance: float | None
    distances: dict[str, float | None] = field(hash=False)
    class_name: str | None
    file: str
    cluster: int
    scene: int
    marks: tuple[str, ...] = ()
    chance: float | None = None
    near_duplicates: tuple[int, ...] = ()
    collection: Collection | None = field(default=None, repr=False, compare=False)

    @property
    def picture(self) -> Image.Image:
        """The picture, upright as a person sees it.

        Raises PictureGoneError, NoStoredPictureError where the image was stored as vectors alone, a PictureError.
        """
        return images.decode(self._opened.read(self.id)).bare()

    @property
    def path(self) -> Path | None:
        """The picture's file; None for one inside a zip, and for an image that was stored as vectors alone."""
        return self._opened.path_of(self.id)

    @property
    def _opened(self) -> Collection:
        if self.collection is None:
            raise NoStoredPictureError(f"image {self.id} is of no opened collection")
        return self.collection

    def to_dict(self) -> dict[str, Any]:
        """The hit as plain values, under the names of its attributes."""
        values = vars(self) | {"marks": list(self.marks), "near_duplicates": list(self.near_duplicates)}
        del values["collection"]
        return values


def hits_of(
    collection: Collection,
    ids: NDArray[np.int64],
    scores: NDArray[np.floating[Any]],
    distances: Mapping[str, NDArray[np.float64]],
    chances: NDArray[np.float64] | None = None,
) -> tuple[Hit, ...]:
    """Hits from ids (m,), best first, their scores (m,) and distances (m,) by space, NaN where there is no vector.

    chances: (m,), NaN where a hit has none.
    """
    stored = collection.images
    images = stored.at(stored.places(ids))
    by_space = {
        space: [None if value != value else value for value in values.tolist()] for space, values in distances.items()
    }
    first = next(iter(by_space))
    chance_of = [None] * len(ids) if chances is None else [None if c != c else c for c in chances.tolist()]
    rows = zip(
        ids.tolist(),
        np.asarray(scores, np.float64).tolist(),
        images.files,
        images.column("labels").tolist(),
        images.column("clusters").tolist(),
        images.scenes.tolist(),
        images.column("marks").tolist(),
        strict=True,
    )
    return tuple(
        _hit(
            rank=at + 1,
            id=image_id,
            score=score,
            distance=by_space[first][at],
            distances={space: values[at] for space, values in by_space.items()},
            class_name=stored.classes[label] if label >= 0 else None,
            file=file,
            cluster=cluster,
            scene=scene,
            marks=names_of(marks),
            chance=chance_of[at],
            near_duplicates=(),
            collection=collection,
        )
        for at, (image_id, score, file, label, cluster, scene, marks) in enumerate(rows)
    )


def _hit(**values: Any) -> Hit:
    """A hit of all its attributes, in a third of the time that the constructor of a frozen dataclass takes."""
    hit = object.__new__(Hit)
    vars(hit).update(values)
    return hit


@dataclass(frozen=True)
class Quality:
    """Precision and recall of the hits of a query whose class is known (definitions: retrieval.metrics).

    relevant: images of the query's class among all that were searched.
    """

    k: int
    relevant: int
    precision: float
    recall: float | None
    recall_ceiling: float | None

    @staticmethod
    def of(hits: int, relevant: int, k: int) -> Quality:
        """From k and the numbers of relevant hits and relevant images; recall is None where nothing is relevant."""
        if not relevant:
            return Quality(k, 0, hits / k, None, None)
        return Quality(k, relevant, hits / k, hits / relevant, min(k, relevant) / relevant)


SCORE_KINDS = (
    *("similarity", "text similarity", "class similarity", "balance", "re-ranked similarity"),
    *("fused ranks", "fused scores"),
)
"""What a score is. Of one space: similarity to pictures; to words by a text encoder, or to the mean of the classes that
they describe, each averaged with that to the query's pictures; with negative weights, similarity to what is wanted less
that to what is not; or after re-ranking. Or of several spaces."""


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """Ranked hits of one query, with what was searched and how.

    score_kind: one of SCORE_KINDS; fusion: the method that fused several spaces, or None. findings: what the query
    shows, where what was searched is calibrated. novelty: of a query that is like no image here. query: what was
    searched for, and feedback the marks that moved it. Equality ignores both and which opened collection it was.
    text_matches: texts of the query that were searched by the classes they describe, for want of a text encoder.
    zero_shot: shares of the classes for a query of one picture, by its cosines with captions of the classes, which no
    label was used for; the largest first; None where no space searched has a text encoder.
    """

    hits: tuple[Hit, ...]
    spaces: tuple[str, ...]
    searched: int
    query_id: int | None
    query_class: str | None
    quality: Quality | None
    collection: Collection = field(repr=False, compare=False)
    score_kind: str = "similarity"
    fusion: str | None = None
    findings: Findings | None = None
    novelty: Novelty | None = None
    query: Query | None = field(default=None, repr=False, compare=False)
    feedback: Feedback | None = field(default=None, repr=False, compare=False)
    text_matches: tuple[TextMatch, ...] = ()
    zero_shot: Mapping[str, float] | None = field(default=None, hash=False)

    def __repr__(self) -> str:
        query = "a query from outside" if self.query_id is None else f"image {self.query_id}"
        best = f", best {self.score_kind} {self.hits[0].score:.2f}: {self.hits[0].file}" if self.hits else ""
        return f"<Hits: {len(self)} of {self.searched:,} for {query} in {' + '.join(self.spaces)}{best}>"

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    @property
    def ids(self) -> list[int]:
        """The hits' image ids, best first."""
        return [hit.id for hit in self.hits]

    @property
    def class_counts(self) -> dict[str | None, int]:
        """How many hits each class has, the most frequent first."""
        return dict(Counter(hit.class_name for hit in self.hits).most_common())

    @property
    def scene_notes(self) -> dict[int, str]:
        """In words, by id, of hits that show the query's picture or scene, or those of an earlier hit."""
        images, notes = self.collection.images, {}
        pictures: dict[int, str] = {}
        scenes: dict[int, str] = {}
        if self.query_id is not None:
            position = self.collection.position(self.query_id)
            pictures[int(images.value("clusters", position))] = "same picture as the query"
            scenes[images.scene_at(position)] = "same examination as the query?"
        for hit in self.hits:
            note = pictures.get(hit.cluster) or scenes.get(hit.scene)
            if note is not None and hit.id != self.query_id:
                notes[hit.id] = note
            pictures.setdefault(hit.cluster, f"same picture as hit {hit.rank}")
            scenes.setdefault(hit.scene, f"same examination as hit {hit.rank}?")
        return notes

    def folded(self, k: int) -> Hits:
        """The first k clusters of near duplicates: the nearest image of each is a hit, and the others fold into it."""
        first: dict[int, Hit] = {}
        others: dict[int, list[int]] = {}
        for hit in self.hits:
            if hit.cluster in first:
                others[hit.cluster].append(hit.id)
            elif len(first) < k:
                first[hit.cluster], others[hit.cluster] = hit, []
        hits = tuple(
            replace(hit, rank=rank, near_duplicates=tuple(others[hit.cluster]))
            for rank, hit in enumerate(first.values(), 1)
        )
        quality = self.quality
        if quality is not None:
            quality = Quality.of(sum(hit.class_name == self.query_class for hit in hits), quality.relevant, k)
        return replace(self, hits=hits, quality=quality)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, under the names of the attributes."""
        return {
            "spaces": list(self.spaces),
            "fusion": self.fusion,
            "score_kind": self.score_kind,
            "searched": self.searched,
            "query_id": self.query_id,
            "query_class": self.query_class,
            "quality": None if self.quality is None else dict(vars(self.quality)),
            "findings": None if self.findings is None else asdict(self.findings),
            "novelty": None if self.novelty is None else asdict(self.novelty),
            "zero_shot": None if self.zero_shot is None else dict(self.zero_shot),
            "text_matches": [match.to_dict() for match in self.text_matches],
            "hits": [hit.to_dict() for hit in self.hits],
        }

    def _repr_html_(self) -> str:
        """The query and a grid of pictures, for notebooks; one that cannot be shown is replaced by the reason."""
        cells = [(hit, *_thumbnail(self.collection, Part(image_id=hit.id))) for hit in self.hits]
        parts = self.query.parts if self.query is not None else ()
        queries = [(_caption(part), *_thumbnail(self.collection, part)) for part in parts]
        return _grid_template().render(hits=self, cells=cells, queries=queries)


def _caption(part: Part) -> str:
    """What a part of a query is, in a word, with its weight where that is not 1."""
    if part.image_id is not None:
        name = f"#{part.image_id}"
    elif part.text is not None:
        name = f"“{part.text}”"
    elif part.vector is not None:
        name = "vector" if part.space is None else f"vector of {part.space}"
    else:
        name = Path(part.picture).name if isinstance(part.picture, str | Path) else "picture"
    return name if part.weight == 1 else f"{name}, weight {part.weight:g}"


def _thumbnail(collection: Collection, part: Part) -> tuple[str, str]:
    """A small JPEG in base64 of an image or a picture, or else the reason why there is none."""
    try:
        value = part.picture if part.image_id is None else collection.display(int(part.image_id))
        if value is None:
            return "", ""
        picture = decoded(value, images.small_draft((320, 320), part.region), images.MAX_PIXELS)
        picture = picture if part.region is None else picture.crop(part.region)
        return base64.b64encode(images.thumbnail(picture, 160)).decode(), ""
    except (PictureError, PictureGoneError) as error:
        return "", str(error)


@cache
def _grid_template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only notebooks need it

    from retrieval.terminal import finalize

    environment = Environment(loader=PackageLoader("retrieval"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.finalize = finalize
    return environment.get_template("hits.html")
