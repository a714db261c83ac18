"""Segmentation masks among pictures: recognised, since they are neither pictures to search nor a class.

Data sets for segmentation have a folder of pictures and one of masks side by side (Kvasir-SEG's `images` and `masks`,
CVC-ClinicDB's `Original` and `Ground Truth`), or picture and mask in one folder (`x.jpg`, `x_mask.png`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from posixpath import dirname, splitext

from retrieval.names import nfc

_MASKS = re.compile(
    r"(?i)(.*[-_ .])?(masks?|gts?|ground[-_ ]?truths?|segmentations?|segmentation[-_ ]?masks?|annotations?|labels?)"
    r"([-_ .].*)?"
)
_SUFFIX = re.compile(r"(?i)[-_ .](mask|gt|ground[-_ ]?truth|seg|segmentation|label)$")

Parts = tuple[str, ...]
"""The folders of a path, and last the file's name without its ending, all in NFC."""


@dataclass(frozen=True)
class Masks:
    """files: the masks. picture_folders: the folders that hold their pictures, `a/images` for `a/images/x.jpg`."""

    files: frozenset[str]
    picture_folders: frozenset[str]


def find_masks(files: Sequence[str]) -> Masks:
    """The masks among files, by the names of folders and files, where the pictures that they belong to exist.

    A folder is one of masks where a folder of another name in its place has a picture of the same name for at least
    half of its files; so a class that happens to be called `labels` stays one.
    """
    named = {name for folder in {dirname(file) for file in files} for name in folder.split("/")}
    if not any(map(_MASKS.fullmatch, named)) and not any(_SUFFIX.search(splitext(file)[0]) for file in files):
        return Masks(frozenset(), frozenset())  # the usual case, in a fraction of the time
    parts = {file: _parts(file) for file in files}
    in_place: defaultdict[tuple[Parts, Parts], set[str]] = defaultdict(set)
    for of_file in parts.values():
        for at, name in enumerate(of_file[:-1]):
            in_place[of_file[:at], of_file[at + 1 :]].add(name)

    with_picture: defaultdict[Parts, list[str]] = defaultdict(list)
    inside: defaultdict[Parts, list[str]] = defaultdict(list)
    picture_folders: defaultdict[Parts, set[Parts]] = defaultdict(set)
    for file, of_file in parts.items():
        for at, name in enumerate(of_file[:-1]):
            if not _MASKS.fullmatch(name):
                continue
            folder, before = of_file[: at + 1], of_file[:at]
            inside[folder].append(file)
            rest = (*of_file[at + 1 : -1], _SUFFIX.sub("", of_file[-1]))
            others = {other for other in in_place.get((before, rest), ()) if not _MASKS.fullmatch(other)}
            if others:
                with_picture[folder].append(file)
                picture_folders[folder] |= {(*before, other) for other in others}

    every = set(parts.values())
    masks = set()
    for file, of_file in parts.items():
        picture = (*of_file[:-1], _SUFFIX.sub("", of_file[-1]))
        if picture != of_file and picture in every:
            masks.add(file)
    folders: set[Parts] = set()
    for folder, matched in with_picture.items():
        if 2 * len(matched) >= len(inside[folder]):
            masks.update(inside[folder])
            folders |= picture_folders[folder]
    return Masks(frozenset(masks), frozenset("/".join(folder) for folder in folders))


def _parts(file: str) -> Parts:
    return tuple(nfc(splitext(file)[0]).split("/"))
