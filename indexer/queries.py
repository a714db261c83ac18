"""Queries from outside a collection: a folder or zip, a list of files, or topics as TREC writes them.

FOLDER  a folder or zip of pictures as `kvasir index` takes it; class folders give the classes
LIST    `.csv`: file[,class], separated by `,`, `;` or a tab; any other text file: one file a line
TEXTS   `.csv` whose heading has a column `text`, and `id` and `class` where they are known: words instead of pictures
TREC    `.tsv`, `.trec`, `.topics`: query id, a tab, file[, a tab, class]; as the topics of TREC's Deep Learning track,
        with a picture's file in the place of the text

Each may have a heading, which names its columns in any order (retrieval.tables), so HyperKvasir's split files will do.
Files are relative to the list's folder. Lists are read line by line, never as a whole.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from indexer.datasets import open_dataset
from indexer.datasets.classes import has_picture_magic
from retrieval.batch import BatchQuery
from retrieval.errors import QueryError, TableError
from retrieval.formats import HEAD_BYTES, format_of_content
from retrieval.names import nfc
from retrieval.sources import FileUnreadableError
from retrieval.sources.address import expanded, remote_reason
from retrieval.tables import Column, headings, require_one_line, rows_of

TOPICS = (".tsv", ".trec", ".topics")


class QueryListError(QueryError):
    """A list of queries cannot be read, contradicts itself, or holds none."""


@dataclass(frozen=True)
class Queries:
    """Queries that can be iterated again and again, always in one order.

    classes: those that the queries have. notes: what a reader should know.
    """

    source: Path
    total: int
    classes: frozenset[str]
    notes: tuple[str, ...]
    _each: Callable[[], Iterator[BatchQuery]] = field(repr=False)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    def __iter__(self) -> Iterator[BatchQuery]:
        return self._each()

    def __enter__(self) -> Queries:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def open_queries(path: Path, zip_encoding: str | None = None) -> Queries:
    """Queries from a path of any of the three forms.

    zip_encoding: see `retrieval.sources.open_source`. Raises QueryListError, and what `open_dataset` raises.
    """
    if reason := remote_reason(path):
        raise QueryListError(reason)
    path = expanded(path).absolute()
    head = _head(path)
    if has_picture_magic(head):
        raise QueryListError(f"{path} is a picture, not a list; search by it without --batch and --out")
    if kind := format_of_content(head):
        raise QueryListError(f"{path} is {kind.noun}, not a list; {kind.advised()}")
    if path.is_dir() or path.suffix.lower() == ".zip":
        return _from_dataset(path, zip_encoding)
    return _from_list(path)


def _head(path: Path) -> bytes:
    """The first bytes of a file; none of a folder, or of a file that cannot be read, which reading the list raises."""
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD_BYTES)
    except OSError:
        return b""


def _from_dataset(path: Path, zip_encoding: str | None) -> Queries:
    stack = ExitStack()
    dataset = stack.enter_context(open_dataset(path, zip_encoding=zip_encoding))

    def each() -> Iterator[BatchQuery]:
        for item in dataset.items:
            yield BatchQuery(item.file, item.class_name, lambda item=item: dataset.read(item))  # type: ignore[misc]

    return Queries(path, len(dataset.items), frozenset(dataset.classes), dataset.report.notes, each, stack)


def _from_list(path: Path) -> Queries:
    if (columns := _text_columns(path)) is not None:
        return _from_texts(path, columns)
    try:
        layout, notes = _layout(path)
        repeated = _repeated_lines(path, layout)
        total = 0
        classes = set()
        for entry in _entries(path, layout, repeated):
            total += 1
            classes.add(entry.class_name)
    except TableError as error:
        raise QueryListError(str(error)) from error
    if not total:
        raise QueryListError(f"{path}: the list holds no queries")
    if repeated:
        notes.append(
            f"lines that repeat an earlier one and are left out: {len(repeated):,}, the first is line {min(repeated)}"
        )

    def each() -> Iterator[BatchQuery]:
        for entry in _entries(path, layout, repeated):
            yield BatchQuery(entry.id or _shown(path.parent, entry), entry.class_name, _reader(path.parent, entry.file))

    return Queries(path, total, frozenset(name for name in classes if name is not None), tuple(notes), each)


# Words


def _text_columns(path: Path) -> dict[str, int] | None:
    """Where the columns of a list of texts are; None for a list of files."""
    if path.suffix.lower() != ".csv":
        return None
    try:
        _, row = next(rows_of(path), (0, [""]))
    except TableError:  # which reading it as a list of files tells
        return None
    names = [field.strip().casefold() for field in row]
    return {name: names.index(name) for name in ("text", "id", "class") if name in names} if "text" in names else None


def _from_texts(path: Path, columns: Mapping[str, int]) -> Queries:
    """Queries of words, each named by its id or else by its words. Raises QueryListError."""
    queries: dict[str, BatchQuery] = {}
    try:
        for line, row in islice(rows_of(path), 1, None):
            values = {name: nfc(row[at].strip()) for name, at in columns.items() if at < len(row)}
            require_one_line(f"{path}, line {line}", *values.values())
            text = values.get("text", "")
            if not text:
                raise QueryListError(f"{path}, line {line}: expected words in the column text")
            query = BatchQuery(values.get("id") or text, values.get("class") or None, bytes, text)
            if queries.setdefault(query.name, query) != query:
                raise QueryListError(f"{path}, line {line}: '{query.name}' stands for two queries")
    except TableError as error:
        raise QueryListError(str(error)) from error
    if not queries:
        raise QueryListError(f"{path}: the list holds no queries")
    classes = frozenset(query.class_name for query in queries.values() if query.class_name is not None)
    return Queries(path, len(queries), classes, (), lambda: iter(queries.values()))


# What a line of a list says


@dataclass(frozen=True, slots=True)
class _Entry:
    line: int
    id: str | None
    file: str
    class_name: str | None

    @property
    def key(self) -> str:
        """The file in the spelling that all its spellings have in common."""
        return nfc(posixpath.normpath(self.file.replace("\\", "/")))


@dataclass(frozen=True)
class _Layout:
    """Where a list's columns are. first: the line of the first query. lines: one file a line, with no separator."""

    columns: dict[Column, int]
    first: int
    lines: bool = False


_DEFAULTS: dict[str, dict[Column, int]] = {
    "topics": {"id": 0, "file": 1, "class": 2},
    "table": {"file": 0, "class": 1},
    "lines": {"file": 0},
}


def _form(path: Path) -> str:
    return "topics" if path.suffix.lower() in TOPICS else "table" if path.suffix.lower() == ".csv" else "lines"


def _rows(path: Path, form: str) -> Iterator[tuple[int, list[str]]]:
    separator = {"topics": "\t", "table": None, "lines": ""}[form]
    return rows_of(path, separator, lambda field: _exists(path.parent, field))


def _layout(path: Path) -> tuple[_Layout, list[str]]:
    """The columns of a list, from its heading or else from its form and first row, and notes about the heading."""
    form = _form(path)
    line, row = next(_rows(path, form), (0, [""]))
    parted = len(row) > 1 or any(sign in row[0] for sign in "\t;,")
    if form == "lines" and parted and not (len(row) == 1 and _exists(path.parent, row[0])):
        split_line, split_row = next(rows_of(path, None, lambda field: _exists(path.parent, field)))
        places = [at for at, value in enumerate(split_row) if _exists(path.parent, value)]
        if headings(split_row) or places[:1] in ([0], [1]):
            form, line, row = "table" if places[:1] != [1] else "topics", split_line, split_row
    columns = _DEFAULTS[form]
    stated = headings(row)
    if stated is None or _exists(path.parent, row[min(columns["file"], len(row) - 1)]):
        if form == "topics" and len(row) == 2 and _exists(path.parent, row[0]) and not _exists(path.parent, row[1]):
            columns = _DEFAULTS["table"]
        return _Layout(columns, line, form == "lines"), []
    notes = []
    unused = [name for at, name in enumerate(row) if name and at not in stated.values()]
    if "class" not in stated and unused:
        notes.append(f"no column is known as the queries' class, so there are no figures: {', '.join(unused)} not used")
    return _Layout(stated, line + 1, form == "lines"), notes


def _entries(path: Path, layout: _Layout, repeated: frozenset[int] = frozenset()) -> Iterator[_Entry]:
    form = _form(path)
    if form == "lines" and not layout.lines:
        rows = rows_of(path, None, lambda field: _exists(path.parent, field))
    else:
        rows = _rows(path, form)
    for line, row in rows:
        if line < layout.first or line in repeated:
            continue
        values = {column: row[at] for column, at in layout.columns.items() if at < len(row)}
        if not values.get("file") or ("id" in layout.columns and not values.get("id")):
            expected = "a query id, a tab and a file" if form == "topics" else "a file"
            raise QueryListError(f"{path}, line {line}: expected {expected}, not {' | '.join(row)!r}")
        require_one_line(f"{path}, line {line}", *values.values())
        class_name = nfc(values.get("class", "")) or None
        yield _Entry(line, nfc(values.get("id", "")) or None, values["file"].strip('"'), class_name)


def _repeated_lines(path: Path, layout: _Layout) -> frozenset[int]:
    """Lines that say the same as an earlier one. Raises QueryListError where one contradicts an earlier one.

    A query id or file that stands for two queries gives a run file that evaluation tools refuse, or miscount.
    """
    by_id: dict[str, _Entry] = {}
    by_file: dict[str, _Entry] = {}
    repeated = set()
    for entry in _entries(path, layout):
        by_key = by_file.setdefault(entry.key, entry)
        earlier = by_id.setdefault(entry.id, entry) if entry.id is not None else by_key
        for other in (earlier, by_key):
            if other is entry:
                continue
            lines = f"{path}, lines {other.line} and {entry.line}"
            if other.key != entry.key:
                raise QueryListError(f"{lines}: the query id {entry.id} stands for {other.file} and {entry.file}")
            if other.id != entry.id:
                raise QueryListError(f"{lines}: {entry.file} stands under two query ids, {other.id} and {entry.id}")
            if other.class_name != entry.class_name:
                classes = f"{other.class_name or 'no class'} and {entry.class_name or 'no class'}"
                raise QueryListError(f"{lines}: {entry.file} is of two classes, {classes}")
            repeated.add(entry.line)
    return frozenset(repeated)


# Files that a list names


def _exists(folder: Path, file: str) -> bool:
    return _find(folder, file) is not None


def _find(folder: Path, file: str) -> Path | None:
    """The file that a list names, or None: as written, with slashes for backslashes, or in another Unicode form."""
    for name in dict.fromkeys((file, file.strip('"'), file.strip('"').replace("\\", "/"))):
        path = folder / expanded(name)
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # too long, or with a NUL
            return None
    return _find_in_other_form(path)


def _find_in_other_form(path: Path) -> Path | None:
    """A file whose path is equal in NFC; None where there is none, or where several are."""
    if path.as_posix().isascii():
        return None
    place = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if (place / part).exists():
            place /= part
            continue
        try:
            same = [entry for entry in place.iterdir() if nfc(entry.name) == nfc(part)]
        except OSError:
            return None
        if len(same) != 1:
            return None
        place = same[0]
    return place if place.is_file() else None


def _shown(folder: Path, entry: _Entry) -> str:
    """A file's name in the output: as it is written, but with the slashes of a path."""
    if "\\" not in entry.file or (folder / entry.file).exists():
        return nfc(entry.file)
    return entry.key


def _reader(folder: Path, file: str) -> Callable[[], bytes]:
    def read() -> bytes:
        path = _find(folder, file)
        try:
            return (path or folder / file).read_bytes()
        except (OSError, ValueError) as error:
            reason = remote_reason(file) or f"{folder / file}: cannot be read ({getattr(error, 'strerror', error)})"
            raise FileUnreadableError(reason) from error

    return read
