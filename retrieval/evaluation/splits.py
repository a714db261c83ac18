"""Dividing images into parts: by class shares without parting a cluster, or as a file says."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import QueryError

if TYPE_CHECKING:
    from retrieval.evaluation.protocols import Protocol

_TRAINING, _TEST = {"train", "training", "gallery"}, {"test", "testing", "query"}


class SplitFileError(QueryError):
    """A split file cannot be read, or does not fit the collection."""


def stratified_parts(
    labels: NDArray[np.integer], clusters: NDArray[np.int64], shares: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """The part of each image, (n,) int: every class is shared out as `shares` say, and a cluster stays together.

    labels (n,) int, -1 being shared out like a class; clusters (n,) numbered from 0. Large clusters are placed first,
    in seeded order within a size, each where its classes are furthest from full (as scikit-learn's StratifiedGroupKFold
    does, but for any shares).
    """
    labels = np.asarray(labels, np.int64) + 1
    counts = np.zeros((int(clusters.max(initial=-1)) + 1, int(labels.max(initial=0)) + 1))
    np.add.at(counts, (clusters, labels), 1)
    wanted = np.maximum(np.outer(shares, counts.sum(axis=0)), 1e-9)
    filled = np.zeros_like(wanted)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    part_of = np.empty(len(counts), np.int64)
    for cluster in order:
        fullness = (filled + counts[cluster]) / wanted
        part = int(np.argmin(fullness @ counts[cluster]))
        part_of[cluster] = part
        filled[part] += counts[cluster]
    return part_of[clusters]


def split_from_file(path: Path, files: Sequence[str]) -> Protocol:
    """The protocol that a file describes for images with these paths.

    Columns by their headings: `file` or `file-name`, and `split` or `split-index`, separated by commas or, as in the
    official files of HyperKvasir, by semicolons. Numbers are folds, of which each queries the other ones; otherwise
    `test` queries `train`, and images of another part, or that the file does not name, take no part.
    A file is found by its whole path or, where that is the only one, by its name. Raises SplitFileError.
    """
    from retrieval.evaluation.protocols import Protocol, Round, from_folds

    split_of = _read(path)
    row_of = _rows_by_name(files)
    parts = [""] * len(files)
    unknown = 0
    for file, split in split_of.items():
        rows = row_of.get(_normal(file)) or row_of.get(PurePosixPath(_normal(file)).name, [])
        if len(rows) > 1:
            raise SplitFileError(f"{path}: {file} may be {files[rows[0]]} or {files[rows[1]]}; give the whole path")
        unknown += not rows
        for row in rows:
            parts[row] = split
    used = Counter(part for part in parts if part)
    if unknown == len(split_of):
        raise SplitFileError(f"{path}: none of its {len(split_of):,} files is in the collection")
    if not used:
        raise SplitFileError(f"{path}: none of its files in the collection has a part")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]

    def sentence(parted: str, idle: int) -> str:
        return (
            f"{parted}, as {path.name} (SHA-256 {digest}…) says; {idle:,} images take no part, and {unknown:,} of the "
            "file's are not here"
        )

    idle = len(files) - used.total()
    if all(part.isdecimal() for part in used):
        if len(used) < 2:
            raise SplitFileError(f"{path}: all images are in fold {next(iter(used))}, so there is nothing to search")
        said = sentence(f"each of {len(used)} folds queries the other ones", idle)
        return from_folds("split file", said, np.array([int(part or -1) for part in parts]))
    test = np.array([row for row, part in enumerate(parts) if part.casefold() in _TEST], np.int64)
    training = np.array([row for row, part in enumerate(parts) if part.casefold() in _TRAINING], np.int64)
    if not len(test) or not len(training):
        raise SplitFileError(f"{path}: needs both `train` and `test`, or numbered folds; found {', '.join(used)}")
    return Protocol(
        "split file",
        sentence("the test part queries the training part", len(files) - len(test) - len(training)),
        (Round(test, training),),
        np.arange(len(files)),
    )


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            header = lines.readline().strip()
            separator = ";" if header.count(";") > header.count(",") else ","
            headings = [heading.strip().casefold() for heading in header.split(separator)]
            try:
                file_at = next(headings.index(name) for name in ("file", "file-name") if name in headings)
                split_at = next(headings.index(name) for name in ("split", "split-index") if name in headings)
            except StopIteration:
                raise SplitFileError(
                    f"{path}: the first line must name the columns `file,split` or `file-name;class-name;split-index`"
                ) from None
            found: dict[str, str] = {}
            for number, row in enumerate(csv.reader(lines, delimiter=separator), 2):
                if not row:
                    continue
                if len(row) <= max(file_at, split_at):
                    raise SplitFileError(f"{path}, line {number}: too few columns")
                file, split = row[file_at].strip(), row[split_at].strip()
                if found.setdefault(file, split) != split:
                    raise SplitFileError(f"{path}, line {number}: {file} is in two parts")
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SplitFileError(f"{path} cannot be read: {error}") from error


def _normal(file: str) -> str:
    return file.replace("\\", "/").removeprefix("./")


def _rows_by_name(files: Sequence[str]) -> dict[str, list[int]]:
    """Rows by whole path and, below that, by name alone."""
    rows: dict[str, list[int]] = {}
    for row, file in enumerate(files):
        name = PurePosixPath(_normal(file)).name
        rows.setdefault(name, []).append(row)
    rows.update({_normal(file): [row] for row, file in enumerate(files) if "/" in _normal(file)})
    return rows
