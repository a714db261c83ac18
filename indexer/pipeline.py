"""Data set -> collection: plan which pictures to read, embed them, store them; a stopped run can go on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from indexer.datasets import Dataset, Item
from indexer.embedding import Embedded, EmbeddedPicture, Embedder, NewPicture, ShippedVectors, Task, Vectors
from indexer.near_duplicates.greys import store_greys
from retrieval.collection import CollectionWriter, NewImage
from retrieval.errors import RetrievalError
from retrieval.large_pictures import LargePictures
from retrieval.marks import Marks
from retrieval.spaces import Space


class Machines(Protocol):
    """Machines that embed pictures, see `indexer.ray_cluster`."""

    def embedded(
        self,
        dataset: Dataset,
        tasks: Sequence[Task],
        writer: CollectionWriter,
        spaces: Sequence[Space],
        shipped: ShippedVectors | None,
    ) -> Generator[Embedded, None, None]:
        """The results of tasks, in order; the next ones are asked for once these are stored."""
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
    machines: Machines | None = None,
) -> Outcome:
    """Bring a collection up to date with a data set; what is stored is neither decoded nor embedded again.

    A bad picture never stops the run: it is listed in the outcome with its reason. whole: the data set is all of its
    source, so stored files that it lacks are no longer there. again: images by id that are read whatever their change
    mark says, each with the spaces in which its vector is damaged; that vector is overwritten once another is made, so
    a stop leaves it marked as damaged. machines: embed the pictures in place of this process, to the same collection.
    """
    indexing = _Indexing(dataset, writer, spaces, shipped)
    tasks = indexing.plan(whole, again or {})
    report = on_progress or (lambda outcome: None)
    report(indexing.outcome)
    if machines is not None:
        results = machines.embedded(dataset, tasks, writer, spaces, shipped)
    else:
        by_name = {space.name: space for space in spaces}
        embedder = Embedder(dataset.read, by_name, writer.path, shipped, large)
        results = embedder.embedded(tasks, writer.vectors_of_content)
    with closing(results):  # at once, whatever ends the loop: threads and workers end with it
        for batch in results:
            indexing.store(batch)
            report(indexing.outcome)
    report(indexing.outcome)
    return indexing.outcome


class _Indexing:
    """One call of `index_dataset`: its steps, in order, and what they count."""

    def __init__(
        self, dataset: Dataset, writer: CollectionWriter, spaces: Sequence[Space], shipped: ShippedVectors | None
    ) -> None:
        self.dataset = dataset
        self.writer = writer
        self.spaces = frozenset(space.name for space in spaces)
        self.shipped = shipped
        self.outcome = Outcome()
        self._source = writer.source(dataset.source, dataset.kind)

    def plan(self, whole: bool, again: Mapping[int, frozenset[str]]) -> list[Task]:
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
            wanted = self._wanted(item)
            missing = wanted - sound
            same_mark = known is not None and (known.file_size, known.stamp) == (item.bytes, item.stamp)
            if known and not missing and same_mark and known.marked and known.id not in again:
                self.outcome.unchanged += 1
            else:
                tasks.append(Task(item, of_file is not None, known, wanted, missing))
        return tasks

    def _wanted(self, item: Item) -> frozenset[str]:
        """Every space that a picture is to have a vector in."""
        if self.shipped is not None and self.shipped.required and item not in self.shipped:
            return self.spaces - self.shipped.spaces
        return self.spaces

    def store(self, batch: Embedded) -> None:
        """Write a batch; when this returns it is on disk."""
        new: list[tuple[Task, NewPicture, NewImage]] = []
        lacking: dict[int, Vectors] = {}
        stamps: dict[int, tuple[int, int]] = {}
        marks: dict[int, Marks] = {}
        for task, picture in batch:
            if isinstance(picture, RetrievalError):
                self.outcome.rejected.append((task.item.file, str(picture)))
            elif picture.new is not None:
                new.append((task, picture.new, self._image(task.item, picture, picture.new)))
            elif task.known is not None:
                lacking[task.known.id] = picture.vectors
                stamps[task.known.id] = (task.item.bytes, task.item.stamp)
                if picture.marks is not None:
                    marks[task.known.id] = picture.marks
        ids = self.writer.append([image for _, _, image in new])
        store_greys(self.writer.path, {i: picture.grey for i, (_, picture, _) in zip(ids, new, strict=True)})
        self.writer.fill(lacking, stamps, marks)
        self.outcome.added += len(new)
        self.outcome.new_images += [(image_id, image.file) for image_id, (_, _, image) in zip(ids, new, strict=True)]
        self.outcome.replaced += sum(task.stored for task, _, _ in new)
        completed = sum(map(bool, lacking.values()))
        self.outcome.completed += completed
        self.outcome.unchanged += len(lacking) - completed

    def _image(self, item: Item, picture: EmbeddedPicture, new: NewPicture) -> NewImage:
        return NewImage(
            source=self._source,
            file=item.file,
            class_name=item.class_name,
            width=new.width,
            height=new.height,
            file_size=item.bytes,
            stamp=item.stamp,
            sha256=picture.sha256,
            vectors=picture.vectors,
            marks=picture.marks,
        )
