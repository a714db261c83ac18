"""Classes that are not folders' names: from a table of files, or mapped to other names, known synonyms among them."""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from posixpath import basename, normpath, splitext

from indexer.datasets.classes import similar_names
from retrieval.errors import TableError
from retrieval.names import nfc
from retrieval.sources.address import expanded, remote_reason
from retrieval.tables import headings, require_one_line, rows_of
from retrieval.terminal import counted, one_line


class LabelTableError(TableError):
    """A table of labels contradicts itself, is ambiguous, or names no picture of the data set."""


class ClassMapError(TableError):
    """A map of classes cannot be understood, or maps to a class that the collection does not have."""


# Labels from a table


def labels_from_table(table: Path, paths: Sequence[str], root: str = "") -> tuple[list[str | None], list[str]]:
    """The class of each picture as a table of files and classes states it, None where it names none; and notes.

    A file is matched by its path in the data set, or else by its name, or by its name without ending, in NFC; of
    several with that name, by the folders before it. One whose folders are others than the picture's counts for a
    picture that no other row names, with a note. root: the name of the data set's folder, in which pictures may lie
    without a folder of their own.
    Raises TableError.
    """
    table = expanded(table)
    finders = [_by(paths, key) for key in (_path, _name, _stem)]
    classes: dict[int, tuple[str | None, int]] = {}
    unknown: list[str] = []
    elsewhere: list[tuple[int, str, str | None, int]] = []

    def assign(at: int, line: int, file: str, class_name: str | None) -> None:
        known, earlier = classes.setdefault(at, (class_name, line))
        if known != class_name:
            raise LabelTableError(
                f"{table}, lines {earlier} and {line}: {file} is of two classes, {known or 'none'} and "
                f"{class_name or 'none'}"
            )

    for line, file, class_name in _label_rows(table):
        matched = _matching(file, finders)
        same = [at for at in matched if _folders_agree(file, paths[at], root)]
        if len(same) > 1:
            raise LabelTableError(
                f"{table}, line {line}: {file} may be {paths[same[0]]} or {paths[same[1]]}; give the whole path"
            )
        if same:
            assign(same[0], line, file, class_name)
        elif len(matched) == 1:
            elsewhere.append((line, file, class_name, matched[0]))
        else:
            unknown.append(file)
    by_path = set(classes)
    by_name = [row for row in elsewhere if row[3] not in by_path]
    unknown += [file for _, file, _, at in elsewhere if at in by_path]
    for line, file, class_name, at in by_name:
        assign(at, line, file, class_name)
    if not classes:
        example = f", such as {unknown[0]}" if unknown else ""
        raise LabelTableError(f"{table}: none of its {counted(len(unknown), 'file')}{example} is in the data set")
    notes = [f"classes from {table.name}: {counted(len(classes), 'picture')}"]
    if by_name:
        _, file, _, at = by_name[0]
        notes.append(
            f"files of {table.name} in other folders, matched by name alone: {len(by_name):,}, the first "
            f"{one_line(file)} as {one_line(paths[at])}"
        )
    if unknown:
        notes.append(f"files of {table.name} that are not here: {len(unknown):,}, the first {one_line(unknown[0])}")
    if missing := len(paths) - len(classes):
        notes.append(f"pictures that {table.name} does not name, left without a class: {missing:,}")
    return [classes.get(at, (None, 0))[0] for at in range(len(paths))], notes


def _label_rows(table: Path) -> list[tuple[int, str, str | None]]:
    """(line, file, class) of each row. Raises TableError."""
    if reason := remote_reason(table):
        raise LabelTableError(reason)
    file_at, class_at = 0, 1
    rows = []
    for number, (line, row) in enumerate(rows_of(table)):
        if number == 0 and (stated := headings(row)) is not None:
            if "class" not in stated:
                raise LabelTableError(
                    f"{table}, line {line}: no column is known as the class among {', '.join(row)}; name one of them "
                    "class, or give a table of file, class without a heading"
                )
            file_at, class_at = stated["file"], stated["class"]
            continue
        if len(row) <= max(file_at, class_at) or not row[file_at]:
            raise LabelTableError(f"{table}, line {line}: expected a file and a class, not {' | '.join(row)!r}")
        require_one_line(f"{table}, line {line}", row[file_at], row[class_at])
        rows.append((line, row[file_at], nfc(row[class_at]) or None))
    if not rows:
        raise LabelTableError(f"{table}: holds no labels")
    return rows


def _path(file: str) -> str:
    return nfc(normpath(file.replace("\\", "/")))


def _name(file: str) -> str:
    return basename(_path(file))


def _stem(file: str) -> str:
    return splitext(_name(file))[0]


Finder = tuple[Callable[[str], str], dict[str, list[int]]]
"""A key of a path, and the places of the pictures by it."""


def _by(paths: Sequence[str], key: Callable[[str], str]) -> Finder:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, path in enumerate(paths):
        places[key(path)].append(at)
    return key, places


def _matching(file: str, finders: Sequence[Finder]) -> list[int]:
    """The places of the pictures that a file may be, by the first key that any has; a path's end narrows several."""
    for key, places in finders:
        if key is _stem:  # the table may name files without an ending, in which a dot is part of the name
            candidates = places.get(_name(file)) or places.get(_stem(file), [])
        else:
            candidates = places.get(key(file), [])
        if candidates:
            return _of_longest_end(file, candidates, finders[0][1])
    return []


def _folders_agree(file: str, path: str, root: str) -> bool:
    """Whether a row of the table can mean a picture: the folders of one path are the last ones of the other."""
    one, other = (_path(name).strip("/").split("/")[:-1] for name in (file, path))
    other = other or [nfc(root)] * bool(root)
    shared = min(len(one), len(other))
    return one[len(one) - shared :] == other[len(other) - shared :]


def _of_longest_end(file: str, candidates: list[int], by_path: dict[str, list[int]]) -> list[int]:
    """Those of several pictures whose path is the end of a file's path, or ends with all of it; else all of them."""
    parts = _path(file).split("/")
    for start in range(1, len(parts) - 1):
        if same := by_path.get("/".join(parts[start:])):
            return same
    whole = "/" + "/".join(parts)
    ending = [at for path, places in by_path.items() if path.endswith(whole) for at in places]
    return ending if len(candidates) > 1 and ending else candidates


# Classes by other names


@dataclass(frozen=True)
class ClassMap:
    """New names of classes.

    names: old name -> new name, None for no class. targets: classes that any other class is mapped to where it is a
    known synonym of one of them, or a part of it.
    """

    names: Mapping[str, str | None]
    targets: frozenset[str] = frozenset()

    def get(self, name: str | None) -> str | None:
        """The new name of a class; its own where it has no other."""
        if name is None or name in self.names:
            return None if name is None else self.names[name]
        return name if name in self.targets else synonym_among(name, self.targets) or name

    def changes(self, names: Iterable[str | None]) -> dict[str, str | None]:
        """Those of the classes that get another name, with it."""
        return {name: new for name in dict.fromkeys(names) if name is not None and (new := self.get(name)) != name}

    def apply(self, names: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
        """The names after mapping, and notes: what was mapped, and what the map names that nothing has."""
        changes = self.changes(names)
        counts = Counter(name for name in names if name in changes)
        notes = [
            f"class {old} counted as {changes[old] or 'no class'}: {counted(counts[old], 'picture')}"
            for old in sorted(changes)
        ]
        if unused := sorted(self.names.keys() - set(names)):
            notes.append(f"classes that the map names and that nothing has: {', '.join(unused)}")
        return [None if name is None else changes.get(name, name) for name in names], notes


KNOWN = "known"
"""What stands for the known synonyms in the place of a map."""


def parse_class_map(values: Sequence[str], targets: Collection[str] = ()) -> ClassMap | None:
    """A map from `OLD=NEW,…`, tables of old and new names, and `known`; None where there are no values.

    `OLD=` takes the class away; `known` maps synonyms to one of `targets`. Raises ClassMapError and TableError.
    """
    names: dict[str, str | None] = {}
    for value in values:
        for where, old, new in [] if value == KNOWN else _pairs(value):
            if not old:
                raise ClassMapError(f"{where}: expected OLD=NEW,…, a table of old and new names, or `{KNOWN}`")
            if names.setdefault(old, new or None) != (new or None):
                raise ClassMapError(f"{where}: the class {old} is mapped to {names[old] or 'no class'} already")
    return ClassMap(names, frozenset(targets if KNOWN in values else ())) if values else None


def _pairs(value: str) -> list[tuple[str, str, str]]:
    """(where it stands, old name, new name) of each mapping."""
    table = expanded(value)
    exists = _is_file(table)
    if "=" in value and not exists:
        pairs = [pair.partition("=") for pair in value.split(",")]
        return [(f"--map {value}", nfc(old.strip()) if sign else "", nfc(new.strip())) for old, sign, new in pairs]
    if not exists:
        raise ClassMapError(f"--map {value}: neither OLD=NEW nor a table that exists")
    rows = list(rows_of(table))
    if rows and {field.casefold() for field in rows[0][1][:2]} <= {"old", "new", "from", "to", "class", "name"}:
        del rows[0]
    for line, row in rows:
        if len(row) < 2:
            raise ClassMapError(f"{table}, line {line}: expected an old and a new name, not {row[0]!r}")
    return [(f"{table}, line {line}", nfc(row[0]), nfc(row[1])) for line, row in rows]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # pairs that are longer than a file's name can be
        return False


def map_to_collection(stated: ClassMap | None, classes: Collection[str]) -> ClassMap:
    """How queries' classes map to a collection's: as stated, and else by known synonyms.

    Raises ClassMapError where the stated map leads to a class that the collection does not have.
    """
    names = {} if stated is None else stated.names
    for old, new in names.items():
        if new is not None and new != old and new not in classes:
            near = get_close_matches(new, classes, 1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            known = ", ".join(sorted(classes)) or "none"
            raise ClassMapError(f"--map {old}={new}: the collection has no class {new}{meant}; its classes: {known}")
    return ClassMap(names, frozenset(classes))


def class_notes(new: Collection[str], stored: Collection[str]) -> list[str]:
    """Notes on classes that join a collection that has others: likely the same, but named otherwise."""
    added = set(new) - set(stored)
    groups = [group for group in similar_names({*added, *stored}) if added.intersection(group)]
    notes = [
        f"classes that differ only in spelling from the collection's: {', '.join(map(one_line, group))}"
        for group in groups
        if not added.issuperset(group)
    ]
    synonyms = {name: synonym_among(name, stored) for name in sorted(added)}
    pairs = ", ".join(f"{name} ({synonym})" for name, synonym in synonyms.items() if synonym is not None)
    if pairs:
        notes.append(f"classes that the collection has under other names: {pairs}; `--map {KNOWN}` counts them as one")
    return notes


@cache
def _synonyms() -> tuple[dict[str, frozenset[str]], dict[str, str]]:
    """Class -> all its names, and part of a class -> the general class."""
    table = tomllib.loads(files("indexer.datasets").joinpath("synonyms.toml").read_text("utf-8"))
    same = {name: frozenset(names) for names in table["same"] for name in names}
    general = {part: whole for whole, parts in table["parts"].items() for part in parts}
    return same, general


def synonym_among(name: str, classes: Collection[str]) -> str | None:
    """The one of these classes that a class of Kvasir or HyperKvasir is the same as, or else a part of; or None."""
    same, general = _synonyms()
    for wanted in (name, general.get(name)):
        if wanted is None:
            continue
        for other in sorted(same.get(wanted, frozenset()) | {wanted}):
            if other in classes and other != name:
                return other
    return None
