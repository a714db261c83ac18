"""Pictures of other sources as queries of a collection, without near duplicates of its images."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from indexer.datasets import open_dataset
from indexer.datasets.labels import ClassMap, map_to_collection
from indexer.errors import DatasetError
from indexer.run import Say, run_dataset
from retrieval.collection import Collection, CollectionWriter
from retrieval.evaluation.protocols import Protocol, Round
from retrieval.terminal import counted, note, one_line


class NoTransferQueriesError(DatasetError):
    """A folder of queries has no picture of a class that could be read and is no near duplicate of the collection's."""


@contextmanager
def with_queries(
    opened: Collection, queries: Path, class_map: ClassMap | None, say: Say = note, by_scene: bool = False
) -> Iterator[tuple[Collection, Protocol]]:
    """A temporary copy of a collection with further pictures, and the protocol by which these query the others.

    Queries get their vectors in every space by its own recipe, learned spaces included. class_map: other names of their
    classes; known synonyms of the collection's are mapped without it. Those that share a cluster with an image of the
    collection are left out, and those of classes that it does not have; say: called with each note on them. by_scene:
    those that share a scene with one are left out too, where scenes are known.
    Raises NoTransferQueriesError, ClassMapError and what indexing raises.
    """
    class_map = map_to_collection(class_map, opened.classes)
    with tempfile.TemporaryDirectory(prefix="kvasir-queries-") as scratch:
        copy = Path(scratch) / opened.path.name
        shutil.copytree(opened.path, copy, ignore=shutil.ignore_patterns("index", "evaluations"))
        with open_dataset(queries, class_map=class_map) as dataset, CollectionWriter(copy) as writer:
            first = writer.counter("next image")
            for line in dataset.report.notes:
                say(line)
            rejected = run_dataset(dataset, writer).outcome.rejected
        if rejected:
            file, reason = rejected[0]
            count = counted(len(rejected), "picture")
            say(f"{count} of {queries.name} could not be used, the first {one_line(file)}: {reason}")
        grown = Collection.open(copy)
        images = grown.images
        gallery = np.flatnonzero(images.ids < first)
        groups = images.scenes if by_scene else images.clusters
        known = set(groups[gallery].tolist())
        new = np.flatnonzero((images.ids >= first) & (images.labels >= 0))
        of_class = new[np.isin(images.labels[new], images.labels[gallery])]
        rows = np.array([row for row in of_class if int(groups[row]) not in known], np.int64)
        others = sorted({images.classes[label] for label in images.labels[np.setdiff1d(new, of_class)]})
        if not len(rows):
            of = f"; its classes are {', '.join(map(one_line, others))}, see --map" if others else ""
            raise NoTransferQueriesError(f"{queries}: no picture of a class is left to query {opened.path} with{of}")
        if others:
            count = counted(len(new) - len(of_class), "picture")
            say(
                f"{count} of {queries.name} without figures, since no image of the collection is of their class: "
                f"{', '.join(map(one_line, others))}"
            )
        left_out = len(of_class) - len(rows)
        kind = "near duplicates and frames of its scenes" if by_scene and images.has_scenes else "near duplicates"
        sentence = f"{len(rows):,} pictures of {queries.name} query the collection; {left_out:,} {kind} left out"
        yield grown, Protocol("transfer", sentence, (Round(rows, gallery),), np.arange(len(images)))
