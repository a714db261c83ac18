"""Pictures of other sources as queries of a collection, without near duplicates of its images."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from indexer.datasets import open_dataset
from indexer.datasets.labels import ClassMap
from indexer.errors import DatasetError
from indexer.run import run_dataset
from retrieval.collection import Collection, CollectionWriter
from retrieval.evaluation.protocols import Protocol, Round


class NoTransferQueriesError(DatasetError):
    """A folder of queries has no picture of a class that could be read and is no near duplicate of the collection's."""


@contextmanager
def with_queries(
    opened: Collection, queries: Path, class_map: ClassMap | None
) -> Iterator[tuple[Collection, Protocol]]:
    """A temporary copy of a collection with further pictures, and the protocol by which these query the others.

    Queries get their vectors in every space by its own recipe, learned spaces included. Those that share a cluster with
    an image of the collection are left out. Raises NoTransferQueriesError and what indexing raises.
    """
    with tempfile.TemporaryDirectory(prefix="kvasir-queries-") as scratch:
        copy = Path(scratch) / opened.path.name
        shutil.copytree(opened.path, copy, ignore=shutil.ignore_patterns("index", "evaluations"))
        with open_dataset(queries, class_map=class_map) as dataset, CollectionWriter(copy) as writer:
            first = writer.counter("next image")
            run_dataset(dataset, writer)
        grown = Collection.open(copy)
        images = grown.images
        gallery = np.flatnonzero(images.ids < first)
        known = set(images.clusters[gallery].tolist())
        new = np.flatnonzero((images.ids >= first) & (images.labels >= 0))
        rows = np.array([row for row in new if int(images.clusters[row]) not in known], np.int64)
        if not len(rows):
            raise NoTransferQueriesError(f"{queries}: no picture of a class is left to query {opened.path} with")
        left_out = len(new) - len(rows)
        sentence = (
            f"{len(rows):,} pictures of {queries.name} query the collection; {left_out:,} near duplicates left out"
        )
        yield grown, Protocol("transfer", sentence, (Round(rows, gallery),), np.arange(len(images)))
