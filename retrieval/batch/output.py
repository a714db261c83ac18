"""Answers -> a file, a batch at a time, beside a journal that lets a stopped run go on.

The journal OUT.journal is JSON lines: first what the run was asked, then one line for each batch, written once the
batch's answers are on disk: how many queries are done, how long OUT was then, the sums of quality, and the pictures
that could not be used. What OUT holds beyond its last line is cut off when the run goes on.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from retrieval.batch import Answer
from retrieval.batch.quality import BatchQuality
from retrieval.errors import QueryError, RetrievalError
from retrieval.hits import Hits

COLUMNS = ("query", "query_class", "rank", "id", "class", "score", "distance", "file")


class UnknownOutputError(QueryError):
    """The form of an output file cannot be told from its name."""


class OtherRunError(QueryError):
    """An output file is there already, and is no part of this run."""


def _csv(name: str, hits: Hits) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for hit in hits:
        distance = repr(hit.distance) if len(hits.spaces) == 1 else ""  # spaces that are fused have one each
        rows.writerow((name, hits.query_class, hit.rank, hit.id, hit.class_name, repr(hit.score), distance, hit.file))
    return text.getvalue()


def _jsonl(name: str, hits: Hits) -> str:
    answer = hits.to_json()
    answer["query"] = {"file": name, "class": hits.query_class}
    return json.dumps(answer, ensure_ascii=False) + "\n"


def _trec(name: str, hits: Hits) -> str:
    # trec_eval orders by score alone, so the score is what keeps our order; a name may hold no white space there.
    tag = "+".join(hits.spaces)
    return "".join(f"{quote(name)} Q0 {hit.id} {hit.rank} {1 / hit.rank:.9f} {tag}\n" for hit in hits)


FORMS: dict[str, tuple[str, Callable[[str, Hits], str]]] = {
    ".csv": (",".join(COLUMNS) + "\n", _csv),
    ".jsonl": ("", _jsonl),
    ".trec": ("", _trec),
}
"""Extension -> (first line, one query's answer as text)."""


@dataclass
class BatchState:
    """How far a run is. `rejected` is (query, reason) for each picture that could not be used."""

    quality: BatchQuality
    done: int = 0
    length: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)


class BatchOutput:
    """The file of answers, new or gone on with.

    asked: what the run depends on (JSON values); a file made by another run is never touched.
    Raises UnknownOutputError, OtherRunError.
    """

    def __init__(self, path: Path, asked: dict[str, Any], k: int) -> None:
        if path.suffix.lower() not in FORMS:
            raise UnknownOutputError(f"{path}: the answers are written as {', '.join(FORMS)}; name the file so")
        head, self._form = FORMS[path.suffix.lower()]
        journal = path.with_name(path.name + ".journal")
        self.state = BatchState(BatchQuality(k))
        begun = journal.exists() and self._resume(path, journal, asked)
        if not begun and path.exists() and path.stat().st_size:
            raise OtherRunError(f"{path} is there already; delete it, or name another file")
        self._file = path.open("r+b" if begun else "wb")
        self._journal = journal.open("ab" if begun else "wb")
        if begun:
            self._file.truncate(self.state.length)
            self._file.seek(self.state.length)
        else:
            self._file.write(head.encode())
            self._line(asked)

    def _resume(self, path: Path, journal: Path, asked: dict[str, Any]) -> bool:
        """Read the journal; whether there is something to go on with."""
        whole, begun_by = 0, asked
        with journal.open("rb") as lines:
            for number, line in enumerate(lines):
                if not line.endswith(b"\n"):
                    break  # a stop left it half written
                entry = json.loads(line)
                if number == 0:
                    begun_by = entry
                else:
                    self.state.done, self.state.length = entry["done"], entry["length"]
                    self.state.quality = BatchQuality(**entry["quality"])
                    self.state.rejected += [(name, reason) for name, reason in entry["rejected"]]
                whole += len(line)
        if self.state.done and begun_by != asked:
            different = sorted(key for key in asked | begun_by if asked.get(key) != begun_by.get(key))
            raise OtherRunError(
                f"{path} was begun with another {', '.join(different)}; delete it and {journal.name}, "
                "or name another file"
            )
        if self.state.done and (not path.exists() or path.stat().st_size < self.state.length):
            raise OtherRunError(f"{path} is shorter than {journal} says; delete both to begin anew")
        if not self.state.done:
            path.unlink(missing_ok=True)  # only a first batch that was never whole
            return False
        os.truncate(journal, whole)
        return True

    def write(self, answers: Sequence[Answer]) -> None:
        """Write one batch; when this returns it is on disk."""
        state = self.state
        rejected = [(query.name, str(hits)) for query, hits in answers if isinstance(hits, RetrievalError)]
        for query, hits in answers:
            if not isinstance(hits, RetrievalError):
                self._file.write(self._form(query.name, hits).encode())
                state.quality.add(hits)
        self._file.flush()
        os.fsync(self._file.fileno())
        state.done += len(answers)
        state.length = self._file.tell()
        state.rejected += rejected
        quality = asdict(state.quality)
        self._line({"done": state.done, "length": state.length, "quality": quality, "rejected": rejected})

    def _line(self, entry: dict[str, Any]) -> None:
        self._journal.write(json.dumps(entry).encode() + b"\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def __enter__(self) -> BatchOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._journal.close()
