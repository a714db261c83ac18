"""Pictures -> vectors -> collection: read, decode once for every space, encode, append; resumable.

Worker threads read and decode ahead while the encoders run; one batch at a time is written, while the next one is
encoded, and then it is done.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.alignment import small_grey
from indexer.datasets import Dataset, Item
from indexer.greys import keep_greys
from retrieval.collection import CollectionWriter, KnownImage, NewImage
from retrieval.cores import prefetch
from retrieval.encoders import Encoder
from retrieval.encoders.resizing import resize
from retrieval.errors import RetrievalError
from retrieval.images import Draft, Picture, decode, decode_drafts, rejection

BATCH = 128
"""Images that are encoded and committed together; a stop loses at most this many."""

_FULL = ""
"""Stands beside the encoders' spaces for all that see a picture at full size."""

Describe = Callable[[Item, Picture | None], Mapping[str, NDArray[Any]]]
"""(item, the picture at full size or None where it is not needed) -> vectors by descriptor space."""


@dataclass(frozen=True)
class Spaces:
    """What makes the vectors of a run.

    encoders: by space. describe: makes the vectors of all descriptor spaces at once; descriptors: their names;
    full_size: whether `describe` needs the picture's every pixel; describable: whether it can describe a picture.
    """

    encoders: Mapping[str, Encoder]
    descriptors: tuple[str, ...] = ()
    describe: Describe | None = None
    full_size: bool = False
    describable: Callable[[Item], bool] = lambda item: True

    def wanted(self, item: Item) -> frozenset[str]:
        """Every space that a picture is to have a vector in."""
        described = self.descriptors if self.descriptors and self.describable(item) else ()
        return frozenset(self.encoders).union(described)


@dataclass
class Outcome:
    """What a run did.

    replaced: how many of the added ones took the place of a stored image of the same file but another content or class.
    rejected: (file, reason) of each picture that could not be used. no_longer_listed: files of the same source that are
    stored but not in the data set.
    """

    added: int = 0
    replaced: int = 0
    completed: int = 0
    unchanged: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)
    no_longer_listed: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Pictures dealt with, the rejected ones included."""
        return self.added + self.completed + self.unchanged + len(self.rejected)


@dataclass(frozen=True)
class _Task:
    item: Item
    stored: bool  # under whichever class
    known: KnownImage | None
    missing: frozenset[str]


@dataclass(frozen=True)
class _Prepared:
    task: _Task
    sha256: bytes
    width: int
    height: int
    grey: NDArray[np.uint8]
    inputs: Mapping[str, NDArray[np.uint8]]
    vectors: Mapping[str, NDArray[Any]]

    @property
    def unchanged(self) -> bool:
        """Whether the file's bytes are those already stored, whatever its change mark says."""
        return self.task.known is not None and self.task.known.sha256 == self.sha256


def index_dataset(
    dataset: Dataset,
    writer: CollectionWriter,
    spaces: Spaces,
    on_progress: Callable[[Outcome], None] | None = None,
    again: Mapping[int, frozenset[str]] | None = None,
) -> Outcome:
    """Bring a collection up to date with a data set; what is stored already is neither decoded nor encoded again.

    A bad picture never stops the run: it is listed in the outcome with its reason.
    again: images by id that are looked at whatever their change mark says, each with the spaces in which its vector is
    damaged; that vector is overwritten once another is made, so a stop leaves it known as damaged.
    """
    again = again or {}
    outcome = Outcome()
    source = writer.source(dataset.source, dataset.kind)
    tasks = []
    stored = writer.known(source)
    outcome.no_longer_listed = sorted(stored.keys() - {item.file for item in dataset.items})
    for item, known in _with_known(dataset.items, stored):
        sound = known.spaces - again.get(known.id, frozenset()) if known else frozenset()
        missing = spaces.wanted(item) - sound
        same_mark = known is not None and (known.file_size, known.stamp) == (item.bytes, item.stamp)
        if known and not missing and same_mark and known.id not in again:
            outcome.unchanged += 1
        else:
            tasks.append(_Task(item, item.file in stored, known, missing))
    report = on_progress or (lambda outcome: None)
    report(outcome)
    with ThreadPoolExecutor(1, "encode") as thread:
        results = prefetch(partial(_prepare, dataset, spaces), tasks, 3 * BATCH)
        encoding: deque[tuple[list[_Prepared], Future[list[dict[str, NDArray[Any]]]]]] = deque()
        for batch in _batches(results, outcome):
            twins = [{} if prepared.unchanged else writer.vectors_of_content(prepared.sha256) for prepared in batch]
            encoding.append((batch, thread.submit(_encode, batch, twins, spaces)))
            if len(encoding) > 1:  # while one batch is encoded, the one before it is written
                _store(*encoding.popleft(), source, writer, outcome)
                report(outcome)
        while encoding:
            _store(*encoding.popleft(), source, writer, outcome)
    report(outcome)
    return outcome


def _with_known(items: Sequence[Item], known: Mapping[str, KnownImage]) -> Iterator[tuple[Item, KnownImage | None]]:
    """Pair each item with what is stored of it; a file that moved to another class counts as new."""
    for item in items:
        stored = known.get(item.file)
        yield item, stored if stored and stored.class_name == item.class_name else None


def _batches(
    results: Iterable[tuple[_Task, _Prepared | RetrievalError]], outcome: Outcome
) -> Iterator[list[_Prepared]]:
    """The prepared pictures, BATCH at a time; the others are noted as rejected."""
    batch: list[_Prepared] = []
    for task, result in results:
        if isinstance(result, RetrievalError):
            outcome.rejected.append((task.item.file, str(result)))
        else:
            batch.append(result)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _prepare(dataset: Dataset, spaces: Spaces, task: _Task) -> _Prepared | RetrievalError:
    try:
        data = dataset.read(task.item)
        sha256 = hashlib.sha256(data).digest()
        # A changed file needs all its vectors anew; one with a new date but the same bytes only what it lacks.
        same = task.known is not None and task.known.sha256 == sha256
        missing = task.missing if same else spaces.wanted(task.item)
        recipes = {name: encoder.recipe for name, encoder in spaces.encoders.items() if name in missing}
        described = bool(missing.intersection(spaces.descriptors))
        drafts: dict[str, Draft] = {name: recipe.draft for name, recipe in recipes.items()}
        if not drafts or (described and spaces.full_size):
            drafts[_FULL] = None
        pictures = decode_drafts(lambda draft: decode(data, draft=draft), drafts)
        picture = min(pictures.values(), key=lambda drafted: drafted.image.width)
        inputs = {name: recipe.prepare(pictures[name], resize) for name, recipe in recipes.items()}
        vectors: Mapping[str, NDArray[Any]] = {}
        if described and spaces.describe is not None:
            made = spaces.describe(task.item, pictures[_FULL] if spaces.full_size else None)
            vectors = {name: vector for name, vector in made.items() if name in missing}
        return _Prepared(task, sha256, picture.width, picture.height, small_grey(picture), inputs, vectors)
    except Exception as error:
        return rejection(error)


def _encode(
    batch: Sequence[_Prepared], twins: Sequence[Mapping[str, NDArray[Any]]], spaces: Spaces
) -> list[dict[str, NDArray[Any]]]:
    """The vectors of each picture by space; a twin's, where the same bytes are stored already, serve again."""
    vectors: list[dict[str, NDArray[Any]]] = [dict(prepared.vectors) for prepared in batch]
    for name, encoder in spaces.encoders.items():
        for made, twin in zip(vectors, twins, strict=True):
            if name in twin:
                made[name] = twin[name]
        rows = [row for row, prepared in enumerate(batch) if name in prepared.inputs and name not in vectors[row]]
        if rows:
            embeddings = encoder.encode(np.stack([batch[row].inputs[name] for row in rows]))
            for row, embedding in zip(rows, embeddings, strict=True):
                vectors[row][name] = embedding
    return vectors


def _store(
    batch: Sequence[_Prepared],
    encoded: Future[list[dict[str, NDArray[Any]]]],
    source: int,
    writer: CollectionWriter,
    outcome: Outcome,
) -> None:
    vectors = encoded.result()
    new = [row for row, prepared in enumerate(batch) if not prepared.unchanged]
    ids = writer.append([_image(batch[row], source, vectors[row]) for row in new])
    keep_greys(writer.path, {image_id: batch[row].grey for image_id, row in zip(ids, new, strict=True)})
    lacking: dict[int, dict[str, NDArray[Any]]] = {}
    for row, prepared in enumerate(batch):
        known = prepared.task.known
        if prepared.unchanged and known is not None:
            lacking[known.id] = vectors[row]
            writer.touch(known.id, prepared.task.item.bytes, prepared.task.item.stamp)
    writer.fill(lacking)
    outcome.added += len(new)
    outcome.replaced += sum(batch[row].task.stored for row in new)
    completed = sum(map(bool, lacking.values()))
    outcome.completed += completed
    outcome.unchanged += len(lacking) - completed


def _image(prepared: _Prepared, source: int, vectors: Mapping[str, NDArray[Any]]) -> NewImage:
    item = prepared.task.item
    return NewImage(
        source=source,
        file=item.file,
        class_name=item.class_name,
        width=prepared.width,
        height=prepared.height,
        file_size=item.bytes,
        stamp=item.stamp,
        sha256=prepared.sha256,
        vectors=vectors,
    )
