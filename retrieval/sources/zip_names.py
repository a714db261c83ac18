"""The names of a zip's members: by the stated encoding, or else by a guess that is reported and can be overruled.

The format knows two encodings, CP437 and, with a flag, UTF-8 (APPNOTE.TXT, appendix D). Archivers of Windows write the
code page of the system instead, without a word about it, and those of macOS UTF-8 without the flag.
"""

from __future__ import annotations

import codecs
import encodings.aliases
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zipfile import ZipInfo

from retrieval.errors import SourceError

UTF8_FLAG = 0x800
"""Bit of a member's flags (APPNOTE.TXT 4.4.4)."""

UNICODE_PATH = 0x7075
"""Id of the extra field that Info-ZIP adds: the name in UTF-8, and the CRC-32 of the name that it stands for."""

STANDARD = "cp437"
CODE_PAGES = ("cp437", "cp850", "cp1252", "cp852", "cp1250", "cp866", "cp1251", "cp932", "gbk", "big5", "cp949")
"""Code pages of DOS and Windows for western and central Europe, Cyrillic, Japan, China, Taiwan and Korea; where two of
them are as likely, the earlier one is taken."""


class ZipEncodingError(SourceError):
    """The encoding that is given for a zip's names is unknown, or does not fit them."""


@dataclass(frozen=True)
class ZipNames:
    """The members' names in their order; `guess` is the encoding that was guessed for some of them, such as `example`.

    certain: whether the guess has better reasons than that it is the format's own encoding.
    """

    names: tuple[str, ...]
    guess: str | None = None
    example: str = ""
    certain: bool = True

    @property
    def note(self) -> str | None:
        """The guess as a sentence, or None where there was none."""
        if self.guess is None:
            return None
        unsure = "" if self.certain else " without good reasons"
        return (
            f"the zip does not say how its names are encoded; guessed {self.guess}{unsure}, such as "
            f"'{self.example}'; where that is wrong, give --zip-encoding"
        )


def decode_names(members: Sequence[ZipInfo], encoding: str | None = None) -> ZipNames:
    """The names of members that zipfile opened without `metadata_encoding`.

    encoding: of the names whose encoding is not stated. Raises ZipEncodingError.
    """
    stated = [_stated(member) for member in members]
    raw = [b"" if name is not None else raw_name(member) for name, member in zip(stated, members, strict=True)]
    unstated = [name for name in raw if not name.isascii()]
    if encoding is not None:
        chosen, certain = checked_encoding(encoding), True
        _require_fit(unstated, chosen)
    else:
        chosen, certain = guess_encoding(unstated)
    names = tuple(r.decode(chosen) if name is None else name for name, r in zip(stated, raw, strict=True))
    if encoding is not None or not unstated or chosen == "utf-8":
        return ZipNames(names)
    return ZipNames(names, chosen, unstated[0].decode(chosen), certain)


def raw_name(member: ZipInfo) -> bytes:
    """A member's name as it is stored; only where the flag for UTF-8 is not set."""
    return member.orig_filename.encode(STANDARD)


def encoded_forms(name: str) -> Iterator[tuple[bytes, str]]:
    """A name in each encoding that Python has, with the encoding, the likelier ones first."""
    for encoding in dict.fromkeys(("utf-8", *CODE_PAGES, *sorted(encodings.aliases.aliases.values()))):
        try:
            yield name.encode(encoding), encoding
        except (UnicodeError, LookupError):  # LookupError: no text encoding, such as base64
            continue


def checked_encoding(encoding: str) -> str:
    """Python's name of a text encoding. Raises ZipEncodingError."""
    try:
        codec = codecs.lookup(encoding.strip())
        "a".encode(codec.name)
    except (LookupError, ValueError):  # unknown, no encoding of text, or with a NUL
        raise ZipEncodingError(
            f"there is no encoding '{encoding}'; such are {', '.join(CODE_PAGES)} and every other that Python knows"
        ) from None
    return codec.name


def _stated(member: ZipInfo) -> str | None:
    """A name whose encoding the zip states, or None."""
    if member.flag_bits & UTF8_FLAG:
        return member.orig_filename
    return _unicode_path(member.extra, raw_name(member))


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    while len(extra) >= 4:
        kind, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        data, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and len(data) == size > 5 and data[0] == 1:
            if int.from_bytes(data[1:5], "little") != zlib.crc32(raw):
                continue  # the name was changed by an archiver that does not know the field
            try:
                return data[5:].decode()
            except UnicodeDecodeError:
                continue
    return None


def _require_fit(names: Sequence[bytes], encoding: str) -> None:
    for name in names:
        try:
            name.decode(encoding)
        except UnicodeDecodeError as error:
            raise ZipEncodingError(f"the name {name!r} in the zip is not in {encoding} ({error.reason})") from None


# Guessing: each code page is judged by how much its reading of all names looks like names.


def guess_encoding(names: Sequence[bytes]) -> tuple[str, bool]:
    """The likeliest encoding of names that are not ASCII, and whether there are reasons for it."""
    if not names:
        return STANDARD, True
    distinct = list(dict.fromkeys(part for name in names for part in name.replace(b"\\", b"/").split(b"/")))
    if all(_decoded(part, "utf-8") is not None for part in names):
        return "utf-8", True
    # A slash or backslash is also the second byte of some characters, so whole names are judged where parts cannot be.
    judged = [part for part in distinct if not part.isascii()]
    scores = {page: _likelihood(names, judged, page) for page in CODE_PAGES}
    best = max(CODE_PAGES, key=lambda page: scores[page])
    return (best, True) if scores[best] >= LIKELY else (STANDARD, False)


LIKELY = 0.6
"""Mean plausibility of the characters beyond ASCII, from 0 to 1, from which a guess has reasons."""


def _likelihood(names: Sequence[bytes], parts: Sequence[bytes], page: str) -> float:
    if any(_decoded(name, page) is None for name in names):
        return -1.0
    texts = [text for part in parts if (text := _decoded(part, page)) is not None]
    values = [_plausibility(text, at, page) for text in texts for at, char in enumerate(text) if not char.isascii()]
    if page == "cp949" and len(values) == 1:
        return min(values[0], 0.5)  # as likely a Chinese character
    return sum(values) / len(values) if values else 0.0


def _decoded(name: bytes, encoding: str) -> str | None:
    try:
        return name.decode(encoding)
    except UnicodeDecodeError:
        return None


def _plausibility(text: str, at: int, page: str) -> float:
    """How likely a character is in a name, from -1 (a box drawing, a control) to 1 (a frequent letter)."""
    char, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if page in _FREQUENT:
        beside_latin = any(other.isascii() and other.isalpha() for other in (before, after))
        return _plausibility_in_asia(char, page) - (0.5 if beside_latin else 0)
    if not char.isalpha() or char in "ªºƒ":
        return 0.0 if char in "°–—’‘“”«»·§" else -1.0
    if (char.isupper() and before.islower()) or (char.islower() and after.isupper()):
        return -0.5  # a capital within a word
    if page in ("cp866", "cp1251"):
        neighbours = [other for other in (before, after) if other.isalpha()]
        cyrillic = sum("CYRILLIC" in unicodedata.name(other, "") for other in neighbours)
        common = "а" <= char.lower() <= "я" or char.lower() == "ё"
        if not common or not neighbours or cyrillic < len(neighbours):
            return 0.0
        return 0.8 if char.isupper() and before.isalpha() else 1.0
    letters = sum(other.isalpha() for other in text)
    if letters > 1 and 2 * sum(other.isalpha() and not other.isascii() for other in text) >= letters:
        return 0.1  # accented letters stand among plain ones
    if char.lower() in _WESTERN:
        return 0.8 if char in "ÁÌÍÎÒÓÙÚ" else 1.0
    return 0.7 if char.lower() in _CENTRAL and page in ("cp852", "cp1250") else 0.3


_WESTERN = frozenset("äöüßéèêàâçñóíáúìòùïôîûëåæøœ")
_CENTRAL = frozenset("ąćęłńśźżčďěňřšťůýžőűăîșțáéíóúöüôäľĺŕ")
_FREQUENT = {
    "cp932": ("shift_jis", 0x88, 0x97),
    "gbk": ("gb2312", 0xB0, 0xD7),
    "big5": ("big5", 0xA4, 0xC6),
    "cp949": ("euc_kr", 0xB0, 0xC8),
}
"""Code page -> (its core, first and last lead byte of the core's frequent characters): level 1 of the Japanese and
Chinese standards, all syllables of the Korean one."""


def _plausibility_in_asia(char: str, page: str) -> float:
    core, first, last = _FREQUENT[page]
    if page == "cp932" and "\u3040" <= char <= "\u30ff":
        return 1.0  # kana
    if "\uff61" <= char <= "\uff9f":
        return -0.2  # half-width kana, which single bytes of other encodings become
    if "\uff01" <= char <= "\uff5e" or char in "\u3000、。（）「」【】・－":
        return 0.5
    try:
        stored = char.encode(core)
    except UnicodeEncodeError:
        return -0.5
    if len(stored) != 2 or not first <= stored[0] <= last:
        return 0.1 if char.isalpha() else -1.0
    if page == "cp949":
        return 0.5 if _is_rare_syllable(char) else 1.0
    return 0.9  # frequent Chinese characters have the bytes of syllables as well


def _is_rare_syllable(char: str) -> bool:
    """Whether a Hangul syllable has a doubled first consonant, a final cluster or a rare vowel."""
    index = ord(char) - 0xAC00
    initial, vowel, final = index // 588, index % 588 // 28, index % 28
    return (
        initial in (1, 4, 8, 10, 13) or vowel in (3, 7, 10, 15) or final in (2, 3, 5, 6, 9, 10, 11, 12, 13, 14, 15, 18)
    )
