"""Which files are pictures, and which class a picture's place gives it."""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import basename, commonpath, dirname, splitext

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})

OTHER_EXTENSIONS = frozenset(
    {".avi", ".csv", ".features", ".gz", ".h5", ".html", ".json", ".md", ".mp4", ".npy", ".npz", ".part"}
    | {".pdf", ".pt", ".py", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".zip"}
)
"""Files that are not opened to see whether they are pictures after all."""

MAGIC_BYTES = 12
"""How much of a file `has_picture_magic` wants to see."""


def extension(file: str) -> str:
    """The lower-case extension with its dot, or an empty string."""
    return splitext(file)[1].lower()


def has_picture_magic(head: bytes) -> bool:
    """Whether a file of any name begins as JPEG, PNG, TIFF, BMP or WebP do."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return True
    if head.startswith(b"BM"):  # the two reserved words keep text that begins with BM out
        return head[6:10] == b"\0\0\0\0"
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def class_names(files: Sequence[str], archive: str | None = None) -> list[str | None]:
    """The class of each picture: the name of its folder, however deep; None at the top.

    Folders that wrap everything are skipped to find the top. Where all pictures lie in one folder, that
    folder is their class, unless it is named as the zip (`archive`, without `.zip`) that it wraps.
    """
    folders = [dirname(file) for file in files]
    if not folders:
        return []
    top = commonpath(folders) if all(folders) else ""
    if top and set(folders) == {top} and basename(top) != archive:
        top = ""
    return [None if folder == top else basename(folder) for folder in folders]
