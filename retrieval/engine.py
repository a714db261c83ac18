"""The engine as Python has it: a searcher that also adds pictures and evaluates."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from retrieval.collection import Collection, CollectionWriter
from retrieval.images import MAX_PIXELS, Picture, from_array, read_bytes
from retrieval.index.engines import connect
from retrieval.large_pictures import LargePictures
from retrieval.query import BadQueryError, PictureLike, as_list
from retrieval.search import Searcher
from retrieval.search_options import class_name_of
from retrieval.spaces import Purpose

if TYPE_CHECKING:
    from retrieval.evaluation import Evaluation

_UPLOADS = "indexer.uploads"
"""The module that indexes pictures, loaded by name as the commands are, so that no import runs upward."""


class Engine(Searcher):
    """A searcher of one state of a collection, with what else Python users do with one."""

    def add(self, picture: PictureLike, class_name: str | None = None) -> int:
        """Store a picture in the collection's folder and index it in every space; returns its id.

        The same bytes and class again are the same image. This engine goes on searching the state that it has;
        `refreshed` has the new image. Raises UnsupportedQueryError, a PictureError, CollectionBusyError.
        """
        data, class_name = _file_of(picture), class_name_of(class_name)
        with CollectionWriter(self.collection.path) as writer:
            image_id, _ = import_module(_UPLOADS).add_picture(writer, self, data, class_name)
        return int(image_id)

    def evaluate(
        self,
        spaces: str | Sequence[str] = (),
        fusions: str | Sequence[str] = (),
        *,
        protocol: str = "leave-cluster-out",
        folds: int = 5,
        samples: int = 1000,
        query_ids: Iterable[int] | None = None,
    ) -> Evaluation:
        """Measure retrieval as `kvasir evaluate` does; the result's `best_first()` ranks spaces and fusions.

        spaces: names, all that are compared where none is given. fusions: as `A+B` or `zscore:A=2+B`. folds: of k-fold.
        samples: of the bootstrap, 0 for no intervals. query_ids: only these images query. Raises SpaceNameError, an
        EvaluationError.
        """
        from retrieval.evaluation.collection import evaluate_collection
        from retrieval.evaluation.options import EvaluationOptions, Fusion, MeasureOptions

        options = EvaluationOptions(
            spaces=tuple(self.collection.manifest.space(name).name for name in as_list(spaces)),
            protocol=protocol,
            folds=folds,
            measures=MeasureOptions(samples=samples),
            fusions=tuple(map(Fusion.parse, as_list(fusions))),
            query_ids=None if query_ids is None else frozenset(as_list(query_ids)),
        )
        return evaluate_collection(self.collection, self.collection.path.name, options)


def open_engine(
    path: Path | str,
    purpose: Purpose = "latency",
    max_pixels: int = MAX_PIXELS,
    large: LargePictures | None = None,
    engine: str | None = None,
) -> Engine:
    """Open a collection; engine: the address of a vector engine that it was pushed to.

    >>> import retrieval
    >>> engine = retrieval.open("kvasir.collection")
    >>> engine.search("picture.jpg", k=5)
    """
    return Engine(Collection.open(path), purpose, max_pixels, large, None if engine is None else connect(engine))


def _file_of(picture: PictureLike) -> bytes:
    """The bytes of a picture's file; pixels become a PNG."""
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | Path):
        return read_bytes(Path(picture))
    if isinstance(picture, np.ndarray):
        picture = from_array(picture)
    if isinstance(picture, Picture):
        picture = picture.bare()
    if not isinstance(picture, Image.Image):
        raise BadQueryError(f"a {type(picture).__name__} is no picture: give a file, bytes, a PIL image or pixels")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
