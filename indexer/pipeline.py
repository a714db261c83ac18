"""Pictures -> vectors -> collection: read, decode once for all spaces, embed, append; a stopped run can go on.

Worker threads read, decode and prepare pictures ahead; one thread embeds a batch while the batch before it is written.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.datasets import Dataset, Item
from indexer.near_duplicates.alignment import small_grey
from indexer.near_duplicates.greys import store_greys
from retrieval.collection import CollectionWriter, KnownImage, NewImage, SpaceDefinition
from retrieval.cores import prefetch
from retrieval.errors import RetrievalError
from retrieval.images import MAX_PIXELS, Draft, decode, rejection
from retrieval.large_pictures import LargePictures
from retrieval.marks import DRAFT, Marks, marks_of
from retrieval.spaces import Space, open_space, prepare_all

BATCH = 128
"""Images that are embedded and committed together; a stop loses at most this many."""

Vectors = dict[str, NDArray[Any]]
"""One picture's vectors by space."""


class ShippedVectors(Protocol):
    """Vectors that come with a data set, and take the place of computed ones."""

    @property
    def spaces(self) -> frozenset[str]:
        """The spaces that they are of."""
        ...

    @property
    def required(self) -> bool:
        """Whether a picture without shipped vectors gets none in these spaces, rather than computed ones."""
        ...

    def __contains__(self, item: Item) -> bool: ...

    def vectors(self, item: Item) -> Mapping[str, NDArray[Any]]:
        """A picture's shipped vectors by space; none where they cannot be read. Called from several threads."""
        ...


@dataclass
class Outcome:
    """What a run did.

    replaced: how many of the added images took the place of one of the same file but another content or class.
    completed: images that got vectors that they lacked. new_images: (id, file) of each added image. rejected: (file,
    reason) of each picture that could not be used. no_longer_listed: stored files of the same source that a whole data
    set lacks.
    """

    added: int = 0
    replaced: int = 0
    completed: int = 0
    unchanged: int = 0
    new_images: list[tuple[int, str]] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    no_longer_listed: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Pictures dealt with, the rejected ones included."""
        return self.added + self.completed + self.unchanged + len(self.rejected)


@dataclass(frozen=True)
class _Task:
    """A picture to read. known: its image, if it is stored under the same class; stored: under whichever class."""

    item: Item
    stored: bool
    known: KnownImage | None
    missing: frozenset[str]


@dataclass(frozen=True, eq=False)
class _NewPicture:
    """A picture whose bytes are not those stored: what its row needs, and its small grey (SIDE, SIDE) uint8."""

    width: int
    height: int
    grey: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A picture that was read. new: None where its bytes are stored already, whatever its change mark says.

    vectors: shipped ones by space; inputs: what `Space.embed` takes, by space, for the others that it lacks. marks: of
    the device, None where they are stored already.
    """

    task: _Task
    sha256: bytes
    new: _NewPicture | None
    inputs: Mapping[str, NDArray[Any]]
    vectors: Mapping[str, NDArray[Any]]
    marks: Marks | None = None


def index_dataset(
    dataset: Dataset,
    writer: CollectionWriter,
    spaces: Sequence[Space],
    *,
    shipped: ShippedVectors | None = None,
    whole: bool = False,
    again: Mapping[int, frozenset[str]] | None = None,
    on_progress: Callable[[Outcome], None] | None = None,
    large: LargePictures | None = None,
) -> Outcome:
    """Bring a collection up to date with a data set; what is stored is neither decoded nor embedded again.

    A bad picture never stops the run: it is listed in the outcome with its reason. whole: the data set is all of its
    source, so stored files that it lacks are no longer there. again: images by id that are read whatever their change
    mark says, each with the spaces in which its vector is damaged; that vector is overwritten once another is made, so
    a stop leaves it marked as damaged.
    """
    indexing = _Indexing(dataset, writer, spaces, shipped, large)
    tasks = indexing.plan(whole, again or {})
    report = on_progress or (lambda outcome: None)
    report(indexing.outcome)
    with ThreadPoolExecutor(1, "embed") as thread:
        embedding: deque[tuple[list[_Prepared], Future[list[Vectors]]]] = deque()
        for batch in indexing.batches(prefetch(indexing.prepare, tasks, 3 * BATCH)):
            copies = [{} if picture.new is None else writer.vectors_of_content(picture.sha256) for picture in batch]
            embedding.append((batch, thread.submit(indexing.embed, batch, copies)))
            if len(embedding) > 1:  # the batch before is written while this one is embedded
                indexing.store(*embedding.popleft())
                report(indexing.outcome)
        while embedding:
            indexing.store(*embedding.popleft())
    report(indexing.outcome)
    return indexing.outcome


_Read = tuple[Mapping[str, NDArray[Any]], _NewPicture | None, Marks | None]
"""What the spaces' `embed` takes of a picture, what its row needs where it is new, and the device's marks on it."""


def _read(data: bytes, spaces: Sequence[Space], same: bool, marked: bool) -> _Read:
    """What is stored of a picture file. same, marked: whether its bytes, and its marks, are stored already."""
    # Each space sees its own draft, never a larger one that another needs: its vector must not depend on those.
    drafts: set[Draft] = {space.draft for space in spaces} or {DRAFT if same else None}
    pictures = {draft: decode(data, draft=draft) for draft in drafts}
    inputs = prepare_all(spaces, pictures)
    smallest = min(pictures.values(), key=lambda picture: picture.image.width)
    new = None if same else _NewPicture(smallest.width, smallest.height, small_grey(smallest))
    return inputs, new, None if marked else marks_of(smallest.upright())


def _read_apart(data: bytes, folder: Path, definitions: Sequence[SpaceDefinition], same: bool, marked: bool) -> _Read:
    """The same in another process, which opens the spaces itself."""
    return _read(data, [open_space(folder, definition, "latency") for definition in definitions], same, marked)


class _Indexing:
    """One call of `index_dataset`: its steps, in order, and what they count."""

    def __init__(
        self,
        dataset: Dataset,
        writer: CollectionWriter,
        spaces: Sequence[Space],
        shipped: ShippedVectors | None,
        large: LargePictures | None,
    ) -> None:
        self.large = large
        self.dataset = dataset
        self.writer = writer
        self.spaces = {space.name: space for space in spaces}
        self.shipped = shipped
        self.outcome = Outcome()
        self._source = writer.source(dataset.source, dataset.kind)

    def plan(self, whole: bool, again: Mapping[int, frozenset[str]]) -> list[_Task]:
        """The pictures to read; the others are counted as unchanged."""
        items = self.dataset.items
        stored = self.writer.known(self._source, None if whole else [item.file for item in items])
        if whole:
            self.outcome.no_longer_listed = sorted(stored.keys() - {item.file for item in items})
        tasks = []
        for item in items:
            of_file = stored.get(item.file)
            # A file that moved to another class counts as new.
            known = of_file if of_file is not None and of_file.class_name == item.class_name else None
            sound = known.spaces - again.get(known.id, frozenset()) if known else frozenset()
            missing = self._wanted(item) - sound
            same_mark = known is not None and (known.file_size, known.stamp) == (item.bytes, item.stamp)
            if known and not missing and same_mark and known.marked and known.id not in again:
                self.outcome.unchanged += 1
            else:
                tasks.append(_Task(item, of_file is not None, known, missing))
        return tasks

    def _wanted(self, item: Item) -> frozenset[str]:
        """Every space that a picture is to have a vector in."""
        wanted = frozenset(self.spaces)
        if self.shipped is not None and self.shipped.required and item not in self.shipped:
            return wanted - self.shipped.spaces
        return wanted

    def prepare(self, task: _Task) -> _Prepared | RetrievalError:
        """Read, decode and prepare one picture, in a worker thread; an error is returned, not raised."""
        try:
            data = self.dataset.read(task.item)
            sha256 = hashlib.sha256(data).digest()
            # A changed file needs all its vectors anew; one with a new date but the same bytes only what it lacks.
            same = task.known is not None and task.known.sha256 == sha256
            missing = task.missing if same else self._wanted(task.item)
            vectors: Mapping[str, NDArray[Any]] = {}
            computed = missing
            if self.shipped is not None and missing & self.shipped.spaces:
                given = self.shipped.vectors(task.item)
                vectors = {name: vector for name, vector in given.items() if name in missing}
                computed -= self.shipped.spaces if self.shipped.required else frozenset(vectors)
            members = [space for name, space in self.spaces.items() if name in computed]
            marked = same and task.known is not None and task.known.marked
            if marked and not members:
                return _Prepared(task, sha256, None, {}, vectors)
            if self.large is not None and self.large.takes(data, MAX_PIXELS):
                definitions = [space.definition for space in members]
                inputs, new, marks = self.large.run(_read_apart, data, self.writer.path, definitions, same, marked)
            else:
                inputs, new, marks = _read(data, members, same, marked)
            return _Prepared(task, sha256, new, inputs, vectors, marks)
        except Exception as error:
            return rejection(error)

    def batches(self, results: Iterable[tuple[_Task, _Prepared | RetrievalError]]) -> Iterator[list[_Prepared]]:
        """The prepared pictures, BATCH at a time; the others are listed as rejected."""
        batch: list[_Prepared] = []
        for task, result in results:
            if isinstance(result, RetrievalError):
                self.outcome.rejected.append((task.item.file, str(result)))
            else:
                batch.append(result)
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def embed(self, batch: Sequence[_Prepared], copies: Sequence[Mapping[str, NDArray[Any]]]) -> list[Vectors]:
        """The vectors of each picture; those of a stored copy of the same bytes serve again."""
        vectors = [
            {name: copy[name] for name in prepared.inputs if name in copy} | dict(prepared.vectors)
            for prepared, copy in zip(batch, copies, strict=True)
        ]
        for name, space in self.spaces.items():
            rows = [row for row, picture in enumerate(batch) if name in picture.inputs and name not in vectors[row]]
            if rows:
                for row, vector in zip(rows, space.embed([batch[row].inputs[name] for row in rows]), strict=True):
                    vectors[row][name] = vector
        return vectors

    def store(self, batch: Sequence[_Prepared], embedded: Future[list[Vectors]]) -> None:
        """Write a batch; when this returns it is on disk."""
        vectors = embedded.result()
        new = [
            (prepared, self._image(prepared, prepared.new, made))
            for prepared, made in zip(batch, vectors, strict=True)
            if prepared.new is not None
        ]
        ids = self.writer.append([image for _, image in new])
        greys = {
            image_id: picture.new.grey
            for image_id, (picture, _) in zip(ids, new, strict=True)
            if picture.new is not None
        }
        store_greys(self.writer.path, greys)
        lacking: dict[int, Vectors] = {}
        stamps: dict[int, tuple[int, int]] = {}
        marks: dict[int, Marks] = {}
        for prepared, made in zip(batch, vectors, strict=True):
            known = prepared.task.known
            if prepared.new is None and known is not None:
                lacking[known.id] = made
                stamps[known.id] = (prepared.task.item.bytes, prepared.task.item.stamp)
                if prepared.marks is not None:
                    marks[known.id] = prepared.marks
        self.writer.fill(lacking, stamps, marks)
        self.outcome.added += len(new)
        self.outcome.new_images += [(image_id, image.file) for image_id, (_, image) in zip(ids, new, strict=True)]
        self.outcome.replaced += sum(prepared.task.stored for prepared, _ in new)
        completed = sum(map(bool, lacking.values()))
        self.outcome.completed += completed
        self.outcome.unchanged += len(lacking) - completed

    def _image(self, prepared: _Prepared, new: _NewPicture, vectors: Vectors) -> NewImage:
        item = prepared.task.item
        return NewImage(
            source=self._source,
            file=item.file,
            class_name=item.class_name,
            width=new.width,
            height=new.height,
            file_size=item.bytes,
            stamp=item.stamp,
            sha256=prepared.sha256,
            vectors=vectors,
            marks=prepared.marks,
        )
