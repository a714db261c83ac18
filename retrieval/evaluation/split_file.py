"""A protocol read from a file that assigns images to parts or folds."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from retrieval.errors import EvaluationError
from retrieval.evaluation.protocols import Protocol, Round, from_folds

_TRAINING, _TEST = {"train", "training", "gallery"}, {"test", "testing", "query"}


class SplitFileError(EvaluationError):
    """A split file cannot be read, or does not fit the collection."""


def split_from_file(path: Path, files: Sequence[str]) -> Protocol:
    """The protocol that a CSV file states, for images with these paths.

    Columns by their headings: `file` or `file-name`, and `split` or `split-index`, separated by commas or, as in the
    official files of HyperKvasir, by semicolons. Numbers are folds, of which each queries the other ones; otherwise
    `test` queries `train`, and images of another part, or that the file does not name, take no part.
    A file is matched by its whole path or, where only one has it, by its name. Raises SplitFileError.
    """
    split_of = _read(path)
    row_of = _rows_by_name(files)
    parts = [""] * len(files)
    unknown = 0
    for file, split in split_of.items():
        rows = row_of.get(_normalised(file)) or row_of.get(PurePosixPath(_normalised(file)).name, [])
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
            split_of: dict[str, str] = {}
            for number, row in enumerate(csv.reader(lines, delimiter=separator), 2):
                if not row:
                    continue
                if len(row) <= max(file_at, split_at):
                    raise SplitFileError(f"{path}, line {number}: too few columns")
                file, split = row[file_at].strip(), row[split_at].strip()
                if split_of.setdefault(file, split) != split:
                    raise SplitFileError(f"{path}, line {number}: {file} is in two parts")
            return split_of
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SplitFileError(f"{path} cannot be read: {error}") from error


def _normalised(file: str) -> str:
    return file.replace("\\", "/").removeprefix("./")


def _rows_by_name(files: Sequence[str]) -> dict[str, list[int]]:
    """Rows by whole path and, below that, by name alone."""
    rows: dict[str, list[int]] = {}
    for row, file in enumerate(files):
        name = PurePosixPath(_normalised(file)).name
        rows.setdefault(name, []).append(row)
    rows.update({_normalised(file): [row] for row, file in enumerate(files) if "/" in _normalised(file)})
    return rows
