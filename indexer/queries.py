"""Queries from outside a collection: a folder or zip, a list of files, or topics as TREC writes them.

FOLDER  a folder or zip of pictures as `kvasir index` takes it; class folders give the classes
LIST    `.csv`: file[,class], separated by `,` or `;`, with or without a heading (file or file-name, class or
        class-name), so HyperKvasir's split files will do; any other text file: one file a line
TREC    `.tsv`, `.trec`, `.topics`: query id, a tab, file; as the topics of TREC's Deep Learning track, a picture's file
        standing in the place of the text

Files are looked for from the place of the list. Lists are read line by line, never as a whole.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from indexer.datasets import open_dataset
from retrieval.batch import BatchQuery
from retrieval.errors import QueryError
from retrieval.sources import FileUnreadableError

TOPICS = (".tsv", ".trec", ".topics")
_FILE = ("file", "file-name", "filename", "path", "image")
_CLASS = ("class", "class-name", "label")


class QueryListError(QueryError):
    """A list of queries cannot be read, or holds none."""


@dataclass(frozen=True)
class Queries:
    """Queries that can be gone through again and again, always in one order."""

    source: Path
    total: int
    _each: Callable[[], Iterator[BatchQuery]] = field(repr=False)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    def __iter__(self) -> Iterator[BatchQuery]:
        return self._each()

    def __enter__(self) -> Queries:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def open_queries(path: Path) -> Queries:
    """Queries from a path of any of the three forms. Raises QueryListError, and what `open_dataset` raises."""
    path = path.expanduser().absolute()
    if path.is_dir() or path.suffix.lower() == ".zip":
        return _from_dataset(path)
    form = path.suffix.lower()
    rows = _topics if form in TOPICS else _table if form == ".csv" else _lines
    try:
        total = sum(1 for _ in rows(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise QueryListError(f"{path}: cannot be read as a list of queries ({error})") from error
    if not total:
        raise QueryListError(f"{path}: the list holds no queries")

    def each() -> Iterator[BatchQuery]:
        for name, file, class_name in rows(path):
            yield BatchQuery(name, class_name, _reader(path.parent / file))

    return Queries(path, total, each)


def _from_dataset(path: Path) -> Queries:
    stack = ExitStack()
    dataset = stack.enter_context(open_dataset(path))

    def each() -> Iterator[BatchQuery]:
        for item in dataset.items:
            yield BatchQuery(item.file, item.class_name, lambda item=item: dataset.read(item))  # type: ignore[misc]

    return Queries(path, len(dataset.items), each, stack)


def _reader(file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return file.read_bytes()
        except OSError as error:
            raise FileUnreadableError(f"{file}: cannot be read ({error.strerror})") from error

    return read


Row = tuple[str, str, str | None]
"""Name, file, class."""


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            if file := line.strip():
                yield file, file, None


def _topics(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            topic, tab, file = line.rstrip("\r\n").partition("\t")
            if not tab or not topic.strip() or not file.strip():
                raise QueryListError(f"{path}, line {number}: expected a query id, a tab and a file")
            yield topic.strip(), file.strip(), None


def _table(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        first = next(lines, "")
        separator = ";" if first.count(";") > first.count(",") else ","
        rows = csv.reader(chain([first], lines), delimiter=separator)
        file_at, class_at = 0, 1
        for number, row in enumerate(rows):
            fields = [value.strip() for value in row]
            if number == 0 and (heading := [value.lower() for value in fields]) and set(heading) & set(_FILE):
                file_at = next(at for at, name in enumerate(heading) if name in _FILE)
                class_at = next((at for at, name in enumerate(heading) if name in _CLASS), len(heading))
            elif len(fields) > file_at and fields[file_at]:
                yield fields[file_at], fields[file_at], (fields[class_at] or None) if class_at < len(fields) else None
