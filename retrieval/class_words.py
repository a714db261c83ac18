"""Words -> classes, for spaces without a text encoder: BM25 over descriptions of the classes.

SQLite's full-text index (FTS5) has BM25 and English stems, and Python has SQLite: no dependency is added. What classes
show is the data set's knowledge, so `indexer` describes them; a class without a description has the words of its name.
"""

from __future__ import annotations

import re
import sqlite3
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from itertools import pairwise
from threading import Lock
from typing import Any

from retrieval.errors import QueryError
from retrieval.names import nfc

_DESCRIPTIONS = "indexer.class_descriptions"
"""The module that describes classes, loaded by name as the commands are, so that no import runs upward."""
_NAMES_WEIGHT = 4.0
"""How much a word of a class's names counts, against one of its text."""
LEAST_SHARE = 0.8
"""Share of the best class's score that a class needs to be searched: the mean of unlike classes is like neither."""
_SHOWN = 12
"""Known terms that an error names."""
_EDGE = "edgeofaterm"
"""Stands between the terms of a class, so that a query that is a whole term can be told from one that has its words."""
_WORD = re.compile(r"[^\W_]+")
_COMMON = (
    "a an and any are as at by for from has have in into is it its like of on or other that the there this to was "
    "which with without show shows showing find me some image images picture pictures photo frame frames endoscopy "
    "endoscopic view case cases patient please"
)
"""Words that tell no class from another."""


class UnknownWordsError(QueryError):
    """No class of the collection is described by the words of a query, and no space searched has a text encoder."""


@dataclass(frozen=True)
class ClassDescription:
    """What a class shows.

    caption: a phrase for a prompt. names: terms and synonyms. text: colours, shapes, places.
    """

    caption: str
    names: tuple[str, ...]
    text: str = ""

    @staticmethod
    def of_name(name: str) -> ClassDescription:
        """A class that nobody describes: the words of its name."""
        return ClassDescription(_spaced(name), (_spaced(name),))


@dataclass(frozen=True)
class TextMatch:
    """A text of a query that was searched by the classes it describes, since spaces have no text encoder.

    classes: the share of each class's mean vector in the query, the largest first. unknown: words that describe no
    class. spaces: the spaces in which it was searched so.
    """

    text: str
    classes: Mapping[str, float] = field(hash=False)
    unknown: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()

    def __str__(self) -> str:
        spaces = (
            f"{' and '.join(self.spaces)} {'have' if len(self.spaces) > 1 else 'has'}" if self.spaces else "there is"
        )
        unknown = f"; not known: {', '.join(self.unknown)}" if self.unknown else ""
        if len(self.classes) == 1:
            found = f"the class {next(iter(self.classes))}, and the mean of its images was"
        else:
            shares = " and ".join(f"{name} ({share:.0%})" for name, share in self.classes.items())
            found = f"the classes {shares}, and the means of their images were"
        return f"“{self.text}” was matched by its words to {found} searched, since {spaces} no text encoder{unknown}"

    def to_dict(self) -> dict[str, Any]:
        """The match as plain values."""
        return {
            "text": self.text,
            "classes": [{"class": name, "share": share} for name, share in self.classes.items()],
            "unknown": list(self.unknown),
            "spaces": list(self.spaces),
        }


class ClassWords:
    """Full-text index of the descriptions of classes. Safe to share between threads.

    classes: those that can be searched. descriptions: by class; further classes make the words of rare ones count more.
    """

    def __init__(self, classes: Sequence[str], descriptions: Mapping[str, ClassDescription]) -> None:
        self._classes = frozenset(classes)
        self.descriptions = dict(descriptions) | {
            name: ClassDescription.of_name(name) for name in classes if name not in descriptions
        }
        self._lock = Lock()
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, self._index.close)
        self._index.execute("CREATE VIRTUAL TABLE classes USING fts5(class UNINDEXED, names, text, tokenize='porter')")
        self._index.executemany(
            "INSERT INTO classes VALUES (?, ?, ?)",
            [
                (name, f" {_EDGE} ".join(["", _spaced(name), *map(_spaced, described.names), ""]), described.text)
                for name, described in self.descriptions.items()
            ],
        )

    @staticmethod
    def of(classes: Sequence[str]) -> ClassWords:
        """The index of a collection's classes, as the indexer describes them."""
        return ClassWords(classes, import_module(_DESCRIPTIONS).descriptions(classes))

    def match(self, text: str) -> TextMatch:
        """The classes that a text describes best, by BM25. Raises UnknownWordsError, which names known terms."""
        common = frozenset(_COMMON.split())
        every = _WORD.findall(nfc(text).casefold())
        words = [word for word in dict.fromkeys(every) if word not in common]
        known = [word for word in words if self._scores([word])]
        unknown = tuple(word for word in words if word not in known)
        told = [word for word in every if word not in common]
        pairs = [f"{one} {other}" for one, other in pairwise(every)]
        terms = [" ".join([_EDGE, *term, _EDGE]) for term in (every, told)]
        scores = self._scores([*known, *pairs, *terms]) if known else {}
        least = LEAST_SHARE * max(scores.values(), default=0.0)
        near = {name: score for name, score in scores.items() if name in self._classes and score >= least}
        if not near:
            raise UnknownWordsError(self._message(text, unknown, list(scores)))
        total = sum(near.values())
        return TextMatch(text, {name: score / total for name, score in near.items()}, unknown)

    def _scores(self, phrases: Sequence[str]) -> dict[str, float]:
        """BM25 of each class that has any of the phrases, the best first, equal ones by name."""
        query = " OR ".join(f'"{phrase}"' for phrase in phrases)
        with self._lock:
            rows = self._index.execute(
                "SELECT class, -bm25(classes, 0, ?, 1) AS score FROM classes WHERE classes MATCH ? "
                "ORDER BY score DESC, class",
                (_NAMES_WEIGHT, query),
            ).fetchall()
        return {str(name): float(score) for name, score in rows}

    def _message(self, text: str, unknown: Sequence[str], elsewhere: Sequence[str]) -> str:
        terms = {term: name for name in sorted(self._classes) for term in self.descriptions[name].names}
        if elsewhere:
            what = f"“{text}” describes {elsewhere[0]}, of which the collection has no image"
        else:
            what = f"no class of the collection is described by “{text}”"
        near = [term for word in unknown for term in get_close_matches(word, terms, 2)]
        one_each = dict.fromkeys(described.names[0] for name, described in self._described_here())
        known = list(dict.fromkeys([*near, *one_each]))[:_SHOWN]
        if not known:
            return f"{what}; its images have no classes, so words need a space with a text encoder"
        return f"{what}, and no space searched has a text encoder; known terms are {', '.join(known)}"

    def _described_here(self) -> list[tuple[str, ClassDescription]]:
        return [(name, self.descriptions[name]) for name in sorted(self._classes)]


def _spaced(term: str) -> str:
    """The words of a term."""
    return " ".join(_WORD.findall(term))
