"""Builds, tunes, stores and loads the index that proposes candidates over int8 codes.

A build that was stopped goes on where its last checkpoint was. Nothing here holds up a search: the index that is being
built is another one than that which is searched.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.collection.vectors import release
from retrieval.cores import available_cores
from retrieval.disk import write_atomically
from retrieval.filters import among
from retrieval.index.int8_scan import Int8Index, Segment, code, code_query, padded_to
from retrieval.index.proposer import Proposer, Setting, Tuning, scan_milliseconds, tuned
from retrieval.index.protocol import Rows
from retrieval.index.reduction import reduction_of
from retrieval.index.shape import (
    TARGET_RECALL,
    TRAINING,
    Shape,
    codes_of,
    empty_index,
    name_of,
    padded,
    parts_of,
    shape_of,
)
from retrieval.index.storage import (
    CHECKPOINT_FILE,
    INDEX_FILE,
    WANTED_FILE,
    StoredIndex,
    building_lock,
    code_blocks,
    read_stored,
    write_stored,
)
from retrieval.json_digest import checked_fields, json_bytes

log = logging.getLogger(__name__)

_BLOCK = 4096
"""Vectors that are coded and added at once."""
_CHECKPOINT_SECONDS = 30.0
_OFFSET = 128
"""What FAISS stores a code of 0 as."""
_RANGES = 128
"""What stands in for the number of lists where a graph in a subspace is trained: the range of each coordinate."""
_COMPARED = 64
"""Vectors that a stored index is compared by when it is loaded."""
_SAMPLE = 400
"""Vectors of a large gallery that the index is tuned on, one in _SAMPLED of a small one, but _LEAST."""
_SAMPLED, _LEAST = 250, 100

Measure = Callable[[Proposer, Int8Index, int], tuple[NDArray[np.float32], Callable[[Setting], float]]]
"""(proposer, all codes, sample size) -> sample queries (q, d), and the recall of a setting on them."""
Report = Callable[[str, int, int], None]
"""Called with a step of a build, what is done of it, and of how much."""

_report: ContextVar[Report | None] = ContextVar("report", default=None)


@dataclass(frozen=True)
class Wanted:
    """What an index is built for. recall: share of the true nearest. memory: bytes it may take; None for any."""

    recall: float = TARGET_RECALL
    memory: int | None = None

    @property
    def is_exact(self) -> bool:
        """Whether every image is to be compared, so that nothing is built."""
        return self.recall >= 1


@contextmanager
def reported_to(report: Report) -> Iterator[None]:
    """Builds within report their progress."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def wanted_of(folder: Path | None) -> Wanted:
    """What the index of a folder is to be built for."""
    if folder is None or not (folder / WANTED_FILE).exists():
        return Wanted()
    try:
        return read_wanted(folder / WANTED_FILE)
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read (%s); the defaults are taken", folder / WANTED_FILE, error)
        return Wanted()


def read_wanted(file: Path) -> Wanted:
    """What is stored in a file. Raises OSError, ValueError where it is damaged."""
    try:
        return Wanted(**checked_fields(file.read_bytes()))
    except TypeError as error:
        raise ValueError(str(error)) from error


def store_wanted(folder: Path, wanted: Wanted) -> None:
    """Store what the index of a folder is to be built for. Raises OSError, DiskFullError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WANTED_FILE, json_bytes({"recall": wanted.recall, "memory": wanted.memory}))


def stored_tuning(folder: Path) -> Tuning | None:
    """How the stored index of a folder is searched; None where there is none. Does not load it."""
    stored = read_stored(folder / INDEX_FILE, load=False)
    return None if stored is None else Tuning.from_dict(stored.facts["tuning"])


def build_proposer(
    rows: Rows, ids: NDArray[np.int64], folder: Path | None, wanted: Wanted, measure: Measure
) -> tuple[Proposer, Segment] | None:
    """The index of images (n,) ascending, tuned and stored, and the codes that it was built on.

    None where another process builds it.
    """
    shape = shape_of(len(ids), rows.dimension, wanted.memory, wanted.recall)
    if wanted.memory is not None and shape.bytes > wanted.memory:
        log.warning(
            "%.0f MB are too few for %d vectors of %d numbers; the smallest index, %s, takes %.0f MB",
            wanted.memory / 1e6, len(ids), rows.dimension, shape.name, shape.bytes / 1e6,
        )  # fmt: skip
    with building_lock(folder) as locked:
        if not locked:
            log.info("the index in %s is being built by another process", folder)
            return None
        log.info("building %s of %d vectors takes about %.0f s", shape.name, len(ids), shape.seconds)
        start = time.perf_counter()
        build = _Build.resumed(rows, ids, folder, shape) or _Build.begun(rows, ids, folder, shape)
        build.add_rest()
        segment = build.segment()
        seconds = build.seconds + time.perf_counter() - start
        untuned = Tuning(name_of(shape, build.index), len(ids), wanted.recall, 0.0, (), seconds)
        proposer = Proposer(build.codes, build.index, segment.step, untuned)
        return _tuned(proposer, segment, rows, folder, measure), segment


def tuned_again(
    proposer: Proposer, segment: Segment, rows: Rows, folder: Path | None, recall: float, measure: Measure
) -> Proposer | None:
    """An index as it is, tuned for another recall and stored; None where another process builds one."""
    with building_lock(folder) as locked:
        if not locked:
            log.info("the index in %s is being built by another process", folder)
            return None
        untuned = replace(proposer, tuning=replace(proposer.tuning, target=recall, settings=()))
        return _tuned(untuned, segment, rows, folder, measure)


def _tuned(proposer: Proposer, segment: Segment, rows: Rows, folder: Path | None, measure: Measure) -> Proposer:
    """An index tuned, for the target that its tuning says, on a sample of the images that it covers, and stored."""
    tell("tuning", 0, 1)
    start, ids, codes = time.perf_counter(), segment.live, proposer.codes
    sample = max(_LEAST, min(_SAMPLE, len(ids) // _SAMPLED))
    queries, recall = measure(proposer, Int8Index.of_segments(rows, ids, (segment,)), sample)
    padded = padded_to(codes.d, np.concatenate([code_query(query).whole for query in queries]))
    settings, scan = tuned(proposer, padded, recall), scan_milliseconds(codes, padded)
    seconds = round(proposer.tuning.seconds + time.perf_counter() - start, 1)
    tuning = replace(proposer.tuning, count=len(ids), scan=scan, settings=settings, seconds=seconds)
    tell("tuning", 1, 1)
    if folder is not None:
        facts = {"step": segment.step, "lost": segment.lost, "length": segment.length, "tuning": tuning.to_dict()}
        write_stored(StoredIndex(_whole(proposer.index, codes), segment.ids, facts), folder / INDEX_FILE)
    return replace(proposer, tuning=tuning)


def load_proposer(folder: Path, rows: Rows, ids: NDArray[np.int64]) -> tuple[Proposer, Segment] | None:
    """The stored index and its codes, but for images that were removed since; None where there is no usable one."""
    stored = read_stored(folder / INDEX_FILE)
    if stored is None:
        return None
    facts = stored.facts
    index, codes = _parts(stored.index)
    if codes is None or codes.d < rows.dimension or codes.ntotal != len(stored.labels):
        return None
    alive = among(stored.labels, ids)
    if not _is_of(rows, stored.labels[alive], codes, np.flatnonzero(alive), facts["step"]):
        log.warning("the index in %s is of other vectors and is built again", folder)
        return None
    segment = Segment(
        stored.labels, codes, facts["step"], facts["lost"], facts["length"], None if alive.all() else alive
    )
    return Proposer(codes, index, segment.step, Tuning.from_dict(facts["tuning"])), segment


def _is_of(rows: Rows, ids: NDArray[np.int64], codes: Any, positions: NDArray[np.int64], step: float) -> bool:
    """Whether codes at positions (n,) are those of images (n,), by a sample of which a few may be damaged.

    A long build may store an index of vectors that were replaced meanwhile.
    """
    if not len(ids):
        return True
    some = np.linspace(0, len(ids) - 1, min(_COMPARED, len(ids)), dtype=np.int64)
    stored = faiss.rev_swig_ptr(codes.codes.data(), codes.codes.size()).reshape(-1, codes.d)
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged vectors
        expected = padded_to(codes.d, code(rows.take(ids[some]), step).whole)
    equal = (stored[positions[some]] == expected + _OFFSET).all(axis=1)
    return bool(2 * np.count_nonzero(equal) > len(equal))


def holds(file: Path, rows: Rows, ids: NDArray[np.int64]) -> bool:
    """Whether a file has the codes of the vectors of those of images (n,) that it knows."""
    stored, width = read_stored(file, load=False), padded(rows.dimension)
    if stored is None:
        return False
    try:
        for labels, codes in code_blocks(file, width):
            present = among(labels, ids)
            if not present.any():
                continue
            with np.errstate(over="ignore", invalid="ignore"):  # of damaged vectors
                expected = padded_to(width, code(rows.take(labels[present]), stored.facts["step"]).whole)
            if not np.array_equal(codes[present], expected + _OFFSET):
                return False
            release(rows.mapped(labels[present]))
    except ValueError:
        return False
    return True


class _Build:
    """An index that is being built. done: how many of the images it has, in the order of their ids."""

    def __init__(
        self, rows: Rows, ids: NDArray[np.int64], folder: Path | None, shape: Shape, step: float, parts: tuple[Any, Any]
    ) -> None:
        self.rows, self.ids, self.folder, self.shape, self.step = rows, ids, folder, shape, step
        self.index, self.codes = parts
        self.lost = self.length = self.seconds = 0.0
        self.done = 0

    @property
    def has_codes(self) -> bool:
        """Whether the index is a graph over the codes themselves."""
        return isinstance(self.index, faiss.IndexHNSW)

    @staticmethod
    def begun(rows: Rows, ids: NDArray[np.int64], folder: Path | None, shape: Shape) -> _Build:
        """A build that has read all vectors once, and trained what is to be trained."""
        start, largest = time.perf_counter(), 0.0
        for at in range(0, len(ids), _BLOCK):
            block = rows.take(ids[at : at + _BLOCK])
            largest = max(largest, float(block.max()), -float(block.min()))
            tell("reading", at + len(block), len(ids))
        basis = reduction_of(rows, ids, padded(rows.dimension))
        build = _Build(rows, ids, folder, shape, largest / 127, empty_index(shape, rows.dimension, basis))
        faiss.omp_set_num_threads(available_cores())
        if not build.has_codes:
            tell("training", 0, 1)
            count = min(len(ids), TRAINING * max(shape.lists, _RANGES))
            sample = np.sort(np.random.default_rng(0).choice(len(ids), count, replace=False))
            build.index.train(padded_to(build.codes.d, rows.take(ids[sample])))
            tell("training", 1, 1)
            build.checkpoint(time.perf_counter() - start)
        return build

    @staticmethod
    def resumed(rows: Rows, ids: NDArray[np.int64], folder: Path | None, shape: Shape) -> _Build | None:
        """The build of the last checkpoint, where it is of these images and this shape."""
        stored = None if folder is None else read_stored(folder / CHECKPOINT_FILE)
        if stored is None or stored.facts["shape"] != shape.name or not len(stored.labels) <= len(ids):
            return None
        index, codes = _parts(stored.index)
        if codes is None or not np.array_equal(stored.labels, ids[: len(stored.labels)]):
            return None
        places = np.arange(len(stored.labels))
        if codes.d < rows.dimension or not _is_of(rows, stored.labels, codes, places, stored.facts["step"]):
            return None
        build = _Build(rows, ids, folder, shape, stored.facts["step"], (index, codes))
        build.lost, build.length = stored.facts["lost"], stored.facts["length"]
        build.done, build.seconds = codes.ntotal, stored.facts["seconds"]
        log.info("going on with a build that was stopped: %d of %d vectors are in", build.done, len(ids))
        return build

    def add_rest(self) -> None:
        """Code and add the images that are not in yet."""
        faiss.omp_set_num_threads(available_cores())
        start = stored = time.perf_counter()
        while self.done < len(self.ids):
            block = self.rows.take(self.ids[self.done : self.done + _BLOCK])
            coded = code(block, self.step)
            whole = padded_to(self.codes.d, coded.whole)
            if self.has_codes:
                self.index.add(whole)
            else:
                self.codes.add(whole)
                self.index.add(padded_to(self.codes.d, block))
            self.lost, self.length = max(self.lost, coded.lost), max(self.length, coded.length)
            self.done += len(block)
            tell("adding", self.done, len(self.ids))
            if time.perf_counter() - stored > _CHECKPOINT_SECONDS and self.done < len(self.ids):
                self.checkpoint(time.perf_counter() - start)
                stored = time.perf_counter()

    def checkpoint(self, seconds: float) -> None:
        """Store what there is, to go on from after a stop."""
        if self.folder is not None:
            facts = {
                "shape": self.shape.name, "step": self.step, "lost": self.lost, "length": self.length,
                "seconds": self.seconds + seconds,
            }  # fmt: skip
            stored = StoredIndex(_whole(self.index, self.codes), self.ids[: self.done], facts)
            write_stored(stored, self.folder / CHECKPOINT_FILE)

    def segment(self) -> Segment:
        """The codes as the exact index reads them."""
        return Segment(self.ids, self.codes, self.step, self.lost, self.length)


def _whole(index: Any, codes: Any) -> Any:
    """What FAISS stores: a graph with its codes inside, or an index and the codes that refine it."""
    return index if isinstance(index, faiss.IndexHNSW) else faiss.IndexRefine(index, codes)


def _parts(index: Any) -> tuple[Any, Any | None]:
    """What proposes in a stored index, and its codes; None where it is of another kind."""
    if isinstance(index, faiss.IndexHNSWSQ):
        return index, codes_of(index)
    if isinstance(index, faiss.IndexRefine):
        return parts_of(index)
    return index, None


def tell(step: str, done: int, total: int) -> None:
    """Report what is done of a step of a build."""
    report = _report.get()
    if report is not None:
        report(step, done, total)
