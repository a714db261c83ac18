"""Tables as text: reading those that people write or save from a spreadsheet, and writing every CSV of the project.

Rows are read as text fields with the line that each stands on.

A first line `sep=;` states the separator; otherwise it is detected in the first row. A byte order mark may state
UTF-16. Empty lines are skipped, and so are lines that begin with `#`, unless they name a file.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import TableError
from retrieval.terminal import CONTROLS, one_line

Row = tuple[int, list[str]]
"""Number of the line, from 1, and its fields without blanks around them."""

Column = Literal["id", "file", "class", "split", "cluster", "scene"]
HEADINGS: dict[Column, tuple[str, ...]] = {
    "id": ("id", "query-id", "qid", "topic", "topic-id", "query-number"),
    "file": (
        "file",
        "file-name",
        "filename",
        "path",
        "file-path",
        "filepath",
        "image",
        "image-name",
        "image-path",
        "image-file",
        "imagename",
        "img",
        "img-name",
        "picture",
        "picture-name",
        "frame",
        "name",
        "image-id",
        "query",
    ),
    "class": (
        "class",
        "class-name",
        "classname",
        "label",
        "finding",
        "findings",
        "diagnosis",
        "category",
        "pathology",
        "classification",
        "ground-truth",
        "target",
        "query-class",
        "annotation",
    ),
    "split": ("split", "split-index", "fold", "part", "subset"),
    "cluster": ("cluster", "cluster-id", "group", "near-duplicates"),
    "scene": ("scene", "scene-id"),
}
"""Column -> headings that name it, the surest first, in lower case with hyphens for blanks and underscores."""

_SEPARATORS = ",;\t|"
_SEP_LINE = re.compile(r'[\s"]*sep=(.*)\s*', re.IGNORECASE)
_END = "\x1e"
"""Put behind the last line: within a field, it shows a quotation mark that is never closed."""


_RUN = ("=", "+", "-", "@")
"""What a cell begins with that a spreadsheet runs as a formula."""
_ESCAPED = re.compile(r"\\(\\|n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4})")


class UnreadableTableError(TableError):
    """A table cannot be read as text."""


def csv_rows(rows: Iterable[Iterable[object]], quote_texts: bool = False) -> str:
    r"""Rows as CSV, a line each, which no spreadsheet takes for formulas: every CSV of the project is written by this.

    A text that a spreadsheet would run, that has control characters, or that begins with an apostrophe is written with
    an apostrophe before it and control characters as `\n` or `\x1b`, backslashes doubled; `rows_of` reads it back.
    quote_texts: every text in quotes, so that blanks at its ends are seen.
    """
    file = io.StringIO()
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if quote_texts else csv.QUOTE_MINIMAL
    csv.writer(file, lineterminator="\n", quoting=quoting).writerows(
        [_cell(value) if isinstance(value, str) else value for value in row] for row in rows
    )
    return file.getvalue()


def _cell(text: str) -> str:
    runs = text.startswith(_RUN) and not _is_number(text)
    if not (runs or text.startswith("'") or CONTROLS.search(text)):
        return text
    return "'" + one_line(text.replace("\\", "\\\\"))


def _original(field: str) -> str:
    """The text of a field that `csv_rows` wrote; any other is left as it is."""
    rest = field[1:]
    if not field.startswith("'") or not (rest.startswith((*_RUN, "'")) or _ESCAPED.search(rest)):
        return field
    return _ESCAPED.sub(lambda match: "\\" if match[1] == "\\" else codecs.decode(match[0], "unicode_escape"), rest)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def rows_of(
    path: Path,
    separator: str | None = None,
    is_file: Callable[[str], bool] = lambda field: False,
    strip: bool = True,
) -> Iterator[Row]:
    """The rows of a table, read line by line.

    separator: None to detect it; an empty one makes each line one field. is_file: whether a line that begins with `#`
    or `sep=` names a file. strip: without the blanks around fields. A row is numbered by its first line.
    Raises UnreadableTableError.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        if head.startswith(b"PK"):
            raise UnreadableTableError(f"{path} is a zip or a spreadsheet, not text; save the table as CSV (UTF-8)")
        utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if b"\0" in head and not utf16:
            raise UnreadableTableError(f"{path}: not UTF-8 text, but perhaps UTF-16; save the table as UTF-8")
        with path.open(encoding="utf-16" if utf16 else "utf-8-sig", newline="") as lines:
            yield from _rows(lines, separator, is_file, strip, path)
    except UnicodeDecodeError as error:
        raise UnreadableTableError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save the table as UTF-8"
        ) from error
    except (OSError, csv.Error) as error:
        raise UnreadableTableError(f"{path}: cannot be read as a table ({error})") from error


def _rows(
    lines: Iterator[str], separator: str | None, is_file: Callable[[str], bool], strip: bool, path: Path
) -> Iterator[Row]:
    skipped = 0
    first = ""
    for first in lines:
        text = first.strip()
        if (stated := _SEP_LINE.fullmatch(first)) and not is_file(text):
            separator = _stated_separator(stated[1], f"{path}, line {skipped + 1}") or separator
        elif text and not (text.startswith("#") and not is_file(text)):
            break
        skipped += 1
    else:
        return
    rest = chain([first], lines)
    numbered: Iterator[Row]
    if separator == "":
        numbered = ((number, [line]) for number, line in enumerate(rest, 1))
    else:
        numbered = _numbered(csv.reader(chain(rest, [_END]), delimiter=separator or _separator(first)), skipped, path)
    for number, fields in numbered:
        row = [_original(field.strip() if strip else field) for field in fields]
        if any(row) and not (row[0].startswith("#") and not is_file(row[0])):
            yield skipped + number, row


def _numbered(rows: Any, skipped: int, path: Path) -> Iterator[Row]:
    """Rows of `csv.reader` with the line that each begins on, without the mark of the end."""
    line = 1
    try:
        for fields in rows:
            if fields and fields[-1].endswith(_END):
                if fields != [_END]:
                    raise UnreadableTableError(f"{path}, line {skipped + line}: a quotation mark is not closed")
                return
            yield line, fields
            line = rows.line_num + 1
    except csv.Error as error:  # a field that has no end in sight
        raise UnreadableTableError(
            f"{path}, line {skipped + line}: cannot be read as a row ({error}); is a quotation mark not closed?"
        ) from error


def _stated_separator(text: str, place: str) -> str | None:
    """What follows `sep=`: a character, perhaps repeated as spreadsheets fill a row; None where it is nothing."""
    text = text.replace('"', "").strip("\r\n")
    stated = "\t" if text.strip() == "\\t" else text.strip() or text.strip(" ")
    if not stated:
        return None
    if len(set(stated)) > 1 or stated.isalnum():
        raise UnreadableTableError(f"{place}: sep={text.strip()} states no separator; give one character, as in sep=;")
    return stated[0]


def _separator(line: str) -> str:
    """The separator that stands most often in a line outside of quotes, or a comma."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(_SEPARATORS, key=bare.count)


def require_one_line(place: str, *fields: str) -> None:
    """Raise UnreadableTableError where a name reaches over lines: its quotation mark was closed by that of another."""
    for field in fields:
        if "\n" in field or "\r" in field:
            raise UnreadableTableError(f"{place}: a quotation mark is not closed in this line ({one_line(field[:60])})")


def headings(row: Sequence[str]) -> dict[Column, int] | None:
    """Where a heading's columns are, or None where the row is none: it names neither a file nor a class column.

    Where it names a class but no file, the first column that it does not name is the file's.
    """
    names = [re.sub(r"[\s_]+", "-", field.casefold()) for field in row]
    places: dict[Column, int] = {}
    for column, known in HEADINGS.items():
        for name in known:
            if name in names:
                places[column] = names.index(name)
                break
    if "file" not in places and "class" not in places:
        return None
    if "file" not in places:
        free = [at for at in range(len(names)) if at not in places.values()]
        if not free:
            return None
        places["file"] = free[0]
    return places
