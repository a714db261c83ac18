"""Which files are pictures, and which class a picture's place gives it."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from posixpath import basename, commonpath, dirname, splitext

from retrieval.formats import HEIC
from retrieval.names import nfc

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
HEIC_EXTENSIONS = frozenset(HEIC.endings)
"""Pictures where pillow-heif is installed."""

OTHER_EXTENSIONS = frozenset(
    {".avi", ".csv", ".features", ".gz", ".h5", ".html", ".json", ".md", ".mp4", ".new", ".npy", ".npz", ".part"}
    | {".pdf", ".pt", ".py", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".zip"}
)
"""Files that are not opened to see whether they are pictures after all."""

PICTURE_FOLDER = re.compile(r"(?i)(images?|imgs?|pictures?|photos?|frames?|jpegimages|originals?|rgb)([-_ .].*)?")
"""Names of folders that say that they hold pictures and not of which class."""
SPLIT_FOLDER = re.compile(
    r"(?i)(train|training|test|testing|val|valid|validation|dev|holdout|gallery|query)([-_ .]?\d+)?"
)
"""Names of folders that say which part of a data set they hold."""


def extension(file: str) -> str:
    """The lower-case extension with its dot, or an empty string."""
    return splitext(file)[1].lower()


def has_picture_magic(head: bytes) -> bool:
    """Whether the first bytes are those of a JPEG, PNG, TIFF, BMP or WebP."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return True
    if head.startswith(b"BM"):  # the two reserved words keep text that begins with BM out
        return head[6:10] == b"\0\0\0\0"
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def class_names(
    files: Sequence[str], archive: str | None = None, picture_folders: Collection[str] = ()
) -> list[str | None]:
    """The class of each picture in NFC: the name of its folder, however deep; None at the top.

    Folders that wrap everything are skipped to find the top. Where all pictures lie in one folder, that
    folder is their class, unless it is named as the zip (`archive`, without `.zip`) that it wraps.

    A folder that only says that it holds pictures (`images`) is skipped where a folder of masks belongs to it
    (`picture_folders`, in NFC) or where every picture lies in such a folder; then the folder above is the class, if
    it is not the top or the name of a split.
    """
    folders = [nfc(dirname(file)) for file in files]
    if not folders:
        return []
    passed = [_without_picture_folder(folder, picture_folders) for folder in folders]
    if passed == folders and all(PICTURE_FOLDER.fullmatch(basename(folder)) for folder in folders):
        passed = [dirname(folder) for folder in folders]
    top = commonpath(passed) if all(passed) else ""
    if passed == folders and set(folders) == {top} and basename(top) != archive:
        top = ""
    names = [None if folder == top else basename(folder) or None for folder in passed]
    if passed != folders and all(name is None or SPLIT_FOLDER.fullmatch(name) for name in names):
        return [None] * len(names)
    return names


def _without_picture_folder(folder: str, picture_folders: Collection[str]) -> str:
    """A folder without the part that says that it holds the pictures of masks, if it has one."""
    parts = folder.split("/")
    for at, name in enumerate(parts):
        says_no_class = PICTURE_FOLDER.fullmatch(name) or SPLIT_FOLDER.fullmatch(name)
        if says_no_class and "/".join(parts[: at + 1]) in picture_folders:
            return "/".join(parts[:at] + parts[at + 1 :])
    return folder


def similar_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that a person reads as one: they differ in case, blanks, hyphens or underscores."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        groups[_spelling(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _spelling(name: str) -> str:
    """A name without case, marks that cannot be seen, and separators that stand between anything but two numbers."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc"))
    return re.sub(r"(?<!\d)[\s_\-–—]+|[\s_\-–—]+(?!\d|[\s_\-–—])", "", text)
