"""The `.features` archive that ships with Kvasir: six global descriptors of LIRE for each picture, as text.

A file is `<class>/<picture's name>.features`, and each of its six lines `NAME:v,v,...`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from posixpath import basename, splitext
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from indexer.datasets.classes import class_names
from indexer.datasets.dataset import Item
from indexer.errors import FeaturesError
from retrieval.descriptors import DESCRIPTORS
from retrieval.disk import write_atomically
from retrieval.names import nfc
from retrieval.sources import FileUnreadableError, Source, open_source

SHIPPED: Mapping[str, tuple[int, DTypeLike]] = {d.name: (d.length, d.dtype) for d in DESCRIPTORS.values()}
"""Descriptor -> (dimension, dtype), in the order of the file's lines. All but Tamura's first two values are
multiples of a half, which float32 holds exactly."""

MAX_BYTES = 2**20
"""Bytes of a `.features` file that are read; Kvasir's have some 5,000."""

Key = tuple[str | None, str]
"""(class, picture's name without extension), both in NFC."""


class NoFeaturesError(FeaturesError):
    """A folder or zip holds no `.features` files at all."""


class AmbiguousFeaturesError(FeaturesError):
    """An archive holds two files for one picture."""


class FeaturesNotFoundError(FeaturesError):
    """An archive holds no features for a picture."""


class FeaturesUnreadableError(FeaturesError):
    """A `.features` file cannot be read, or is not text."""


class DescriptorNameError(FeaturesError):
    """A line of a `.features` file does not begin with the name of a descriptor and a colon."""


class DescriptorRepeatedError(FeaturesError):
    """A `.features` file has two lines for one descriptor."""


class DescriptorMissingError(FeaturesError):
    """A `.features` file has no line for one of the descriptors."""


class DescriptorLengthError(FeaturesError):
    """A line of a `.features` file has too few or too many values."""


class DescriptorValueError(FeaturesError):
    """A line of a `.features` file has a value that is not a finite number, or that its descriptor never has."""


@dataclass(frozen=True, eq=False)
class FeatureArchive:
    """Features by picture; a file is read and parsed on demand, from any thread. notes: what a reader should know."""

    source: Path
    notes: tuple[str, ...]
    _files: Mapping[Key, str] = field(repr=False)
    _source: Source = field(repr=False)

    def keys(self) -> list[Key]:
        """The (class, name) of every picture that has features, in the order of the files."""
        return list(self._files)

    def __contains__(self, key: Key) -> bool:
        return key in self._files

    def __len__(self) -> int:
        return len(self._files)

    def read(self, class_name: str | None, stem: str) -> dict[str, NDArray[Any]]:
        """Descriptor -> vector, float32 (Tamura float64), in the order of `SHIPPED`.

        Raises `FeaturesNotFoundError`, `FeaturesUnreadableError` and what `parse_features` raises.
        """
        file = self._files.get((class_name, stem))
        if file is None:
            raise FeaturesNotFoundError(f"{self.source}: no features for {class_name or 'no class'}/{stem}")
        try:
            data = self._source.head(file, MAX_BYTES + 1)
        except FileUnreadableError as error:
            raise FeaturesUnreadableError(f"{self.source}: {error}") from error
        if len(data) > MAX_BYTES:
            raise FeaturesUnreadableError(f"{self.source}/{file}: more than the {MAX_BYTES:,} bytes that are read")
        return parse_features(data, f"{self.source}/{file}")

    def close(self) -> None:
        """Close the zip, if it is one."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Match:
    """Pictures with and without features, and features without a picture, in the order of items and archive."""

    matched: tuple[Item, ...]
    without_features: tuple[Item, ...]
    without_image: tuple[Key, ...]


def open_features(path: Path, zip_encoding: str | None = None) -> FeatureArchive:
    """List the `.features` files of a folder or zip, nested or not; nothing is unpacked.

    Raises what `retrieval.sources.open_source` raises, `NoFeaturesError`, `AmbiguousFeaturesError`.
    """
    source = open_source(path, zip_encoding)
    paths = [entry.file for entry in source.entries if entry.file.lower().endswith(".features")]
    if not paths:
        source.close()
        raise NoFeaturesError(f"{source.path}: no .features files among {len(source.entries):,} files")
    files: dict[Key, str] = {}
    archive = source.path.stem if source.kind == "zip" else None
    for file, class_name in zip(paths, class_names(paths, archive), strict=True):
        other = files.setdefault((class_name, _stem(file)), file)
        if other != file:
            source.close()
            raise AmbiguousFeaturesError(f"{source.path}: {other} and {file} are for the same picture")
    return FeatureArchive(source.path, source.notes, files, source)


def match(items: Iterable[Item], archive: FeatureArchive) -> Match:
    """Pair pictures with features by class and name."""
    with_features: list[Item] = []
    without: list[Item] = []
    keys = set()
    for item in items:
        key = key_of(item)
        keys.add(key)
        (with_features if key in archive else without).append(item)
    unmatched = (key for key in archive.keys() if key not in keys)  # noqa: SIM118  # not a mapping
    return Match(tuple(with_features), tuple(without), tuple(unmatched))


def key_of(item: Item) -> Key:
    """The key of a picture's features, which lie in a folder named as the picture's is, whatever its class."""
    return item.folder_class or item.class_name, _stem(item.file)


@np.errstate(over="ignore")  # what float32 cannot hold becomes infinite, which no descriptor has
def parse_features(data: bytes, file: str) -> dict[str, NDArray[Any]]:
    """Parse the content of one file, whose name is for messages.

    Names, their completeness and lengths are strict; order, spacing, blank lines, line ends, a byte order
    mark and the form of numbers (`1`, `1.0`, `1e0`) are free.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FeaturesUnreadableError(f"{file}: not text ({error.reason} at byte {error.start})") from error
    vectors: dict[str, NDArray[Any]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        name, colon, values = line.partition(":")
        name = name.strip()
        if not colon or name not in SHIPPED:
            expected = ", ".join(SHIPPED)
            raise DescriptorNameError(f"{where}: begins with {name[:40]!r}; expected {expected}, and a colon")
        if name in vectors:
            raise DescriptorRepeatedError(f"{where}: a second line of {name}")
        vectors[name] = _vector(name, values, where)
    if missing := [name for name in SHIPPED if name not in vectors]:
        raise DescriptorMissingError(f"{file}: no line of {', '.join(missing)}")
    return {name: vectors[name] for name in SHIPPED}


def _vector(name: str, values: str, where: str) -> NDArray[Any]:
    length, dtype = SHIPPED[name]
    fields = values.split(",")
    if len(fields) != length:
        raise DescriptorLengthError(f"{where}: {name} has {len(fields)} values; expected {length}")
    # float() would take 1_000 and digits of other scripts as well
    if "_" in values or not values.isascii():
        raise DescriptorValueError(f"{where}: {name} has a value that is not a number")
    try:
        vector = np.fromiter(map(_number, fields), np.float64, length).astype(dtype)
    except ValueError as error:
        raise DescriptorValueError(f"{where}: {name} has a value that is not a number ({error})") from error
    metric = DESCRIPTORS[name].metric
    if not (fitting := metric.valid_values(vector)).all():
        at = int(np.argmin(fitting))
        raise DescriptorValueError(
            f"{where}: value {at + 1} of {name} is {fields[at].strip()}; {name} has {metric.expected}"
        )
    return vector


_number = lru_cache(1024)(float)
"""Most values are one of a few dozen: looking them up takes two thirds of the time of parsing them."""


def format_features(vectors: Mapping[str, NDArray[Any]]) -> str:
    """The text of a `.features` file: six lines, numbers as Java's `Double.toString` (JDK 19 on) writes them.

    Raises `DescriptorMissingError` and `DescriptorLengthError`.
    """
    lines = []
    for name, (length, _) in SHIPPED.items():
        if name not in vectors:
            raise DescriptorMissingError(f"no vector of {name} to write")
        if vectors[name].shape != (length,):
            raise DescriptorLengthError(f"{name} has shape {vectors[name].shape}; expected ({length},)")
        lines.append(f"{name}:{','.join(_java(value) for value in vectors[name].tolist())}\n")
    return "".join(lines)


def write_features(path: Path, vectors: Mapping[str, NDArray[Any]]) -> None:
    """Write one file in Kvasir's form; folders are made. Raises as `format_features` does."""
    text = format_features(vectors)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode("ascii"), sync=False)


def _java(value: float) -> str:
    """A finite number in the shortest form that reads back equal, laid out as `java.lang.Double.toString`."""
    if not math.isfinite(value):
        raise DescriptorValueError(f"{value} cannot be written as a feature")
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    number = Decimal(repr(value))
    digits = "".join(map(str, number.as_tuple().digits)).rstrip("0")
    return f"{'-' * (value < 0)}{digits[0]}.{digits[1:] or '0'}E{number.adjusted()}"


def _stem(file: str) -> str:
    return nfc(splitext(basename(file))[0])
