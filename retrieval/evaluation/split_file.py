"""A protocol read from a file that assigns images to parts or folds."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from posixpath import normpath

import numpy as np

from retrieval.errors import EvaluationError, TableError
from retrieval.evaluation.protocols import Protocol, Round, from_folds
from retrieval.names import nfc
from retrieval.tables import headings, rows_of

_TRAINING, _TEST = {"train", "training", "gallery"}, {"test", "testing", "query"}


class SplitFileError(EvaluationError):
    """A split file cannot be read, or does not fit the collection."""


def split_from_file(path: Path, files: Sequence[str]) -> Protocol:
    """The protocol that a CSV file states, for images with these paths.

    Columns by their headings (retrieval.tables): `file` or `file-name`, and `split` or `split-index`. Numbers are
    folds, of which each queries the other ones; otherwise `test` queries `train`, and images of another part, or that
    the file does not name, take no part. A file is matched by its whole path or, where only one has it, by its name,
    in NFC. Raises SplitFileError.
    """
    split_of = _read(path)
    row_of = _rows_by_name(files)
    parts = [""] * len(files)
    unknown = 0
    for file, split in split_of.items():
        rows = row_of.get(file) or row_of.get(PurePosixPath(file).name, [])
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

    def sentence(split: str, idle: int) -> str:
        return (
            f"{split}, as {path.name} (SHA-256 {digest}…) says; {idle:,} images take no part, and {unknown:,} of the "
            "file's are not here"
        )

    idle = len(files) - used.total()
    if all(part.isdecimal() and len(part) < 10 for part in used):
        if len(used) < 2:
            raise SplitFileError(f"{path}: all images are in fold {next(iter(used))}, so there is nothing to search")
        in_words = sentence(f"each of {len(used)} folds queries the other ones", idle)
        return from_folds("split file", in_words, np.array([int(part or -1) for part in parts]))
    test = np.array([row for row, part in enumerate(parts) if part.casefold() in _TEST], np.int64)
    training = np.array([row for row, part in enumerate(parts) if part.casefold() in _TRAINING], np.int64)
    if not len(test) or not len(training):
        raise SplitFileError(f"{path}: needs both `train` and `test`, or numbered folds, not {', '.join(used)}")
    return Protocol(
        "split file",
        sentence("the test part queries the training part", len(files) - len(test) - len(training)),
        (Round(test, training),),
        np.arange(len(files)),
    )


def _read(path: Path) -> dict[str, str]:
    """Part or fold of each file, as text."""
    try:
        rows = rows_of(path)
        line, heading = next(rows, (1, []))
        columns = headings(heading) or {}
        if "file" not in columns or "split" not in columns:
            raise SplitFileError(
                f"{path}: the first line must name the columns `file,split` or `file-name;class-name;split-index`"
            )
        split_of: dict[str, str] = {}
        lines: dict[str, int] = {}
        for line, row in rows:
            if len(row) <= max(columns["file"], columns["split"]):
                raise SplitFileError(f"{path}, line {line}: too few columns")
            file, split = _normalised(row[columns["file"]]), row[columns["split"]]
            if split_of.setdefault(file, split) != split:
                raise SplitFileError(f"{path}, lines {lines[file]} and {line}: {file} is in two parts")
            lines.setdefault(file, line)
    except TableError as error:
        raise SplitFileError(str(error)) from error
    return split_of


def _normalised(file: str) -> str:
    """A path with slashes, in NFC."""
    return nfc(normpath(file.replace("\\", "/")))


def _rows_by_name(files: Sequence[str]) -> dict[str, list[int]]:
    """Rows by whole path and, below that, by name alone."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    paths: defaultdict[str, list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        path = _normalised(file)
        rows[PurePosixPath(path).name].append(row)
        if "/" in path:
            paths[path].append(row)
    return rows | paths
