"""Pictures -> vectors, by the same steps in one process and on the machines of a cluster: read, decode, embed.

Worker threads read, decode and prepare pictures ahead; one thread embeds a batch while the batch before it is stored.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.datasets import Item
from indexer.near_duplicates.alignment import small_grey
from retrieval.collection import KnownImage, SpaceDefinition
from retrieval.cores import prefetch
from retrieval.errors import RetrievalError
from retrieval.images import MAX_PIXELS, Draft, decode, rejection
from retrieval.large_pictures import LargePictures
from retrieval.marks import DRAFT, Marks, marks_of
from retrieval.spaces import Space, open_space, prepare_all

BATCH = 128
"""Pictures that are embedded and committed together, cut by position: every run of the same tasks cuts alike."""
LARGE_FILE = 64 * 2**20
"""Bytes of a file, or of what a zip's member expands to, beyond which one is in memory at a time."""

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


@dataclass(frozen=True)
class Task:
    """A picture to read. known: its image, if it is stored under the same class; stored: under whichever class.

    wanted: every space that the picture is to have a vector in; missing: those in which it has none yet.
    """

    item: Item
    stored: bool
    known: KnownImage | None
    wanted: frozenset[str]
    missing: frozenset[str]


@dataclass(frozen=True, eq=False)
class NewPicture:
    """A picture whose bytes are not those stored: what its row needs, and its small grey (SIDE, SIDE) uint8."""

    width: int
    height: int
    grey: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class EmbeddedPicture:
    """A picture that was read. new: None where its bytes are stored already, whatever its change mark says.

    vectors: by space; computed: the spaces whose vectors are not shipped ones. marks: of the device, None where they
    are stored already.
    """

    sha256: bytes
    new: NewPicture | None
    vectors: Vectors
    computed: frozenset[str]
    marks: Marks | None = None

    def with_copies(self, copies: Mapping[str, NDArray[Any]]) -> EmbeddedPicture:
        """The same with the vectors of a stored image of the same bytes, where its own were computed."""
        return replace(self, vectors=self.vectors | {name: copies[name] for name in self.computed & copies.keys()})


Result = EmbeddedPicture | RetrievalError
"""What came of a task: its picture's vectors, or why there are none."""
Embedded = list[tuple[Task, Result]]
"""Consecutive tasks with their results."""


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A picture to embed. inputs: what `Space.embed` takes, by space; vectors: shipped ones."""

    sha256: bytes
    new: NewPicture | None
    inputs: Mapping[str, NDArray[Any]]
    vectors: Mapping[str, NDArray[Any]]
    marks: Marks | None = None


_Read = tuple[Mapping[str, NDArray[Any]], NewPicture | None, Marks | None]
"""What the spaces' `embed` takes of a picture, what its row needs where it is new, and the device's marks on it."""


def _read(data: bytes, spaces: Sequence[Space], same: bool, marked: bool) -> _Read:
    """What is stored of a picture file. same, marked: whether its bytes, and its marks, are stored already."""
    # Each space sees its own draft, never a larger one that another needs: its vector must not depend on those.
    drafts: set[Draft] = {space.draft for space in spaces} or {DRAFT if same else None}
    pictures = {draft: decode(data, draft=draft) for draft in drafts}
    inputs = prepare_all(spaces, pictures)
    smallest = min(pictures.values(), key=lambda picture: picture.image.width)
    new = None if same else NewPicture(smallest.width, smallest.height, small_grey(smallest))
    return inputs, new, None if marked else marks_of(smallest.upright())


def _read_apart(data: bytes, folder: Path, definitions: Sequence[SpaceDefinition], same: bool, marked: bool) -> _Read:
    """The same in another process, which opens the spaces itself."""
    return _read(data, [open_space(folder, definition, "latency") for definition in definitions], same, marked)


@dataclass(frozen=True, eq=False)
class Embedder:
    """Reads and embeds the pictures of tasks.

    read: bytes of an item, from any thread. spaces: by name. folder: the collection's, or one with its encoders.
    """

    read: Callable[[Item], bytes]
    spaces: Mapping[str, Space]
    folder: Path
    shipped: ShippedVectors | None = None
    large: LargePictures | None = None
    _large_file: Lock = field(default_factory=Lock)

    def embedded(
        self, tasks: Iterable[Task], copies: Callable[[bytes], Mapping[str, NDArray[Any]]] = lambda sha256: {}
    ) -> Generator[Embedded, None, None]:
        """The results of tasks, BATCH at a time and in order, each made while the one before it is used.

        copies: the vectors of a stored image by the SHA-256 of its bytes, which are not computed again.
        """
        with ThreadPoolExecutor(1, "embed") as thread:
            embedding: deque[Future[Embedded]] = deque()
            for batch in _batches(prefetch(self._prepare, tasks, 3 * BATCH)):
                stored = {
                    prepared.sha256: copies(prepared.sha256)
                    for _, prepared in batch
                    if isinstance(prepared, _Prepared) and prepared.new is not None
                }
                embedding.append(thread.submit(self._embed, batch, stored))
                if len(embedding) > 1:
                    yield embedding.popleft().result()
            while embedding:
                yield embedding.popleft().result()

    def _prepare(self, task: Task) -> _Prepared | RetrievalError:
        """Read, decode and prepare one picture, in a worker thread; an error is returned, not raised."""
        with self._large_file if task.item.bytes > LARGE_FILE else nullcontext():
            return self._prepared(task)

    def _prepared(self, task: Task) -> _Prepared | RetrievalError:
        try:
            data = self.read(task.item)
            sha256 = hashlib.sha256(data).digest()
            # A changed file needs all its vectors anew; one with a new date but the same bytes only what it lacks.
            same = task.known is not None and task.known.sha256 == sha256
            missing = task.missing if same else task.wanted
            vectors: Mapping[str, NDArray[Any]] = {}
            computed = missing
            if self.shipped is not None and missing & self.shipped.spaces:
                given = self.shipped.vectors(task.item)
                vectors = {name: vector for name, vector in given.items() if name in missing}
                computed -= self.shipped.spaces if self.shipped.required else frozenset(vectors)
            members = [space for name, space in self.spaces.items() if name in computed]
            marked = same and task.known is not None and task.known.marked
            if marked and not members:
                return _Prepared(sha256, None, {}, vectors)
            if self.large is not None and self.large.takes(data, MAX_PIXELS):
                definitions = [space.definition for space in members]
                inputs, new, marks = self.large.run(_read_apart, data, self.folder, definitions, same, marked)
            else:
                inputs, new, marks = _read(data, members, same, marked)
            return _Prepared(sha256, new, inputs, vectors, marks)
        except Exception as error:
            return rejection(error)

    def _embed(
        self,
        batch: Sequence[tuple[Task, _Prepared | RetrievalError]],
        stored: Mapping[bytes, Mapping[str, NDArray[Any]]],
    ) -> Embedded:
        """The results of prepared pictures; vectors of a stored copy of the same bytes serve again."""
        pictures = [prepared for _, prepared in batch if isinstance(prepared, _Prepared)]
        vectors: list[Vectors] = []
        for picture in pictures:
            copy = stored.get(picture.sha256, {}) if picture.new is not None else {}
            vectors.append({name: copy[name] for name in picture.inputs if name in copy} | dict(picture.vectors))
        for name, space in self.spaces.items():
            rows = [row for row, picture in enumerate(pictures) if name in picture.inputs and name not in vectors[row]]
            if rows:
                for row, vector in zip(rows, space.embed([pictures[row].inputs[name] for row in rows]), strict=True):
                    vectors[row][name] = vector
        made = (
            EmbeddedPicture(picture.sha256, picture.new, by_space, frozenset(picture.inputs), picture.marks)
            for picture, by_space in zip(pictures, vectors, strict=True)
        )
        return [(task, next(made) if isinstance(prepared, _Prepared) else prepared) for task, prepared in batch]


def _batches(
    results: Iterator[tuple[Task, _Prepared | RetrievalError]],
) -> Iterator[list[tuple[Task, _Prepared | RetrievalError]]]:
    while batch := list(islice(results, BATCH)):
        yield batch
