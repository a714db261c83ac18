"""Names as people compare them: one form for a letter with an accent, however a system wrote it."""

from __future__ import annotations

from unicodedata import normalize


def nfc(name: str) -> str:
    """A name in Unicode's composed form (NFC). Names of classes and files are compared in it.

    macOS and many archivers write a letter and its accent as two characters (NFD); paths stay as they are stored.
    """
    return normalize("NFC", name)
