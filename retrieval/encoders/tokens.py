"""Texts -> tokens: by CLIP's byte pairs, which come with open_clip, or by a tokenizer that lies with the encoder.

Other tokenizers are Hugging Face's. open_clip reads them by the package transformers, when a space is made; they are
stored complete with padding and truncation, so that searches need the package tokenizers alone.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.runtime import DamagedTowerError
from retrieval.encoders.spec import NoTextTowerError
from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from open_clip.tokenizer import HFTokenizer

TOKENIZER = "text.tokenizer.json"
"""File of a stored tokenizer, in the folder of the converted encoder."""
CLIP_TOKENS = "CLIP's byte pairs"
STORED_TOKENS = "tokenizer.json"
INSTALL = "pip install 'kvasir-retrieval[texts]'"
_COMPARED = ("an endoscopic image of a polyp.", "the Z-line", "naïve “words”, 3 x 5 mm " * 40)


class TokenizerNotInstalledError(EncoderError):
    """The package that tokenises the texts of a space is not installed."""


class Tokenizer(Protocol):
    """Texts -> tokens (n, l) int64; a text that is too long is cut."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The tokens of each text."""
        ...


class ClipTokenizer:
    """CLIP's own tokenizer."""

    def __init__(self, context_length: int) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self._tokenizer = SimpleTokenizer(context_length=context_length)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The tokens of each text."""
        made: NDArray[np.int64] = self._tokenizer(list(texts)).numpy()
        return made


class StoredTokenizer:
    """A tokenizer.json with its padding and truncation. clean: open_clip's name of what is done to a text before.

    emptied: the token that becomes 0 afterwards, or None. Raises TokenizerNotInstalledError.
    """

    def __init__(self, file: Path, clean: str, emptied: int | None) -> None:
        from open_clip.tokenizer import get_clean_fn

        try:
            import tokenizers
        except ImportError as error:
            raise TokenizerNotInstalledError(f"texts need another tokenizer than CLIP's; {INSTALL}") from error
        self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        self._clean = get_clean_fn(clean)
        self._emptied = emptied

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The tokens of each text."""
        encoded = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        made = np.array([one.ids for one in encoded], np.int64)
        return made if self._emptied is None else np.where(made == self._emptied, 0, made)


def store_tokenizer(tokenizer: HFTokenizer, settings: Mapping[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """Write a tokenizer into a folder; returns what a recipe says of it. name: of the encoder.

    settings: those that open_clip made it with. Raises NoTextTowerError where the stored one gives other tokens.
    """
    expected = tokenizer(list(_COMPARED)).numpy()  # which also sets padding and truncation
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / TOKENIZER
    backend = getattr(tokenizer.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise NoTextTowerError(f"{name}: its tokenizer has no form that can be stored")
    backend.save(str(file))
    emptied = int(tokenizer.tokenizer.sep_token_id) if settings.get("strip_sep_token") else None
    stored = {
        "tokenizer": STORED_TOKENS,
        "tokenizer_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "clean": settings.get("clean", "whitespace"),
        "emptied": emptied,
    }
    if not np.array_equal(StoredTokenizer(file, stored["clean"], emptied)(_COMPARED), expected):
        file.unlink()
        raise NoTextTowerError(f"{name}: its tokenizer gives other tokens once it is stored")
    return stored


def open_tokenizer(folder: Path, stored: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a recipe's field `text`. Raises DamagedTowerError, TokenizerNotInstalledError."""
    if stored["tokenizer"] == CLIP_TOKENS:
        return ClipTokenizer(int(stored["context_length"]))
    if fault := tokenizer_fault(folder, stored):
        raise DamagedTowerError(
            f"{fault} ({folder / TOKENIZER}); `kvasir verify --repair {shlex.quote(str(folder.parent.parent))}` makes "
            "it anew"
        )
    return StoredTokenizer(folder / TOKENIZER, stored["clean"], stored["emptied"])


def tokenizer_fault(folder: Path, stored: Mapping[str, Any]) -> str | None:
    """Whether a stored tokenizer is missing or is not what was written."""
    if stored["tokenizer"] == CLIP_TOKENS:
        return None
    try:
        digest = hashlib.sha256((folder / TOKENIZER).read_bytes()).hexdigest()
    except OSError:
        return "its tokenizer is missing"
    return None if digest == stored["tokenizer_sha256"] else "its tokenizer is damaged"
