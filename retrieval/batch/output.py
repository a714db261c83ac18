"""Results -> a file, a batch at a time, with a journal that lets a stopped run continue (retrieval.batch.journal).

What OUT holds beyond the journal's last state is cut off when the run continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import quote

from retrieval.batch import BatchResult
from retrieval.batch.journal import BatchState, OtherRunError, append_state, begin_journal, read_journal
from retrieval.batch.quality import BatchQuality
from retrieval.disk import locked, raising_full_disk, write_atomically
from retrieval.errors import OutputError, RetrievalError
from retrieval.hits import Hits
from retrieval.tables import csv_rows

_ADVICE = "make room; the same command continues"
COLUMNS = (
    *("query", "query_class", "rank", "id", "class", "score", "distance", "file", "score_kind"),
    *("chance", "findings", "novelty"),
)
"""Of a CSV; chance, findings and novelty are empty where nothing is calibrated."""


class OutputBusyError(OutputError):
    """Another process is writing the results of a batch to the same file."""


class UnknownOutputError(OutputError):
    """The name of an output file has no known ending."""


def _csv(name: str, hits: Hits) -> str:
    single = len(hits.spaces) == 1  # spaces that are fused have a distance each
    findings = (
        "" if hits.findings is None else "; ".join(f"{one} {chance:.4f}" for one, chance in hits.findings.classes)
    )
    novelty = "" if hits.novelty is None else hits.novelty.level
    return csv_rows(
        (
            *(name, hits.query_class, hit.rank, hit.id, hit.class_name, hit.score),
            *(hit.distance if single else "", hit.file, hits.score_kind, hit.chance, findings, novelty),
        )
        for hit in hits
    )


def _jsonl(name: str, hits: Hits) -> str:
    return json.dumps({"query": name} | hits.to_dict(), ensure_ascii=False) + "\n"


def _trec(name: str, hits: Hits) -> str:
    # trec_eval orders by score alone, in single precision: a whole number that falls with the rank never ties.
    # A name may hold no white space there.
    tag = "+".join(hits.spaces)
    return "".join(
        f"{quote(name)} Q0 {hit.id} {hit.rank} {len(hits) - place} {tag}\n" for place, hit in enumerate(hits)
    )


FORMS: dict[str, tuple[str, Callable[[str, Hits], str]]] = {
    ".csv": (",".join(COLUMNS) + "\n", _csv),
    ".jsonl": ("", _jsonl),
    ".trec": ("", _trec),
}
"""Extension -> (first line, one query's results as text)."""


class BatchOutput:
    """The file of results, new or continued.

    parameters: what the run depends on, as JSON values. A file that this very run did not begin is never touched.
    Raises UnknownOutputError, OutputBusyError, OtherRunError, DamagedJournalError, DiskFullError.
    """

    def __init__(self, path: Path, parameters: dict[str, Any], k: int) -> None:
        if path.suffix.lower() not in FORMS:
            raise UnknownOutputError(f"{path}: results are written as {', '.join(FORMS)}; name the file so")
        head, self._form = FORMS[path.suffix.lower()]
        if path.suffix.lower() == ".csv":
            parameters = parameters | {"columns": list(COLUMNS)}  # so that no file has rows of two versions
        self._path, self._journal_path = path, path.with_name(path.name + ".journal")
        busy = OutputBusyError(f"another process is writing {path}; wait until it is done, or name another output file")
        with ExitStack() as opened:
            opened.enter_context(locked(self._journal_path, busy))
            state = None
            if self._journal_path.exists():
                state = read_journal(self._journal_path, parameters, path, k)
            self._new = state is None
            self.state = state or BatchState(BatchQuality(k))
            if self._new:
                self._begin(head.encode(), parameters)
            elif not self.state.done and not path.exists():  # stopped between the journal and the first line
                write_atomically(path, head.encode())
            elif not path.exists() or path.stat().st_size < self.state.length:
                raise OtherRunError(f"{path} is shorter than {self._journal_path} says; delete both to begin anew")
            self._file: BinaryIO = opened.enter_context(path.open("r+b"))
            self._journal = opened.enter_context(self._journal_path.open("ab"))
            self._file.truncate(self.state.length)
            self._file.seek(self.state.length)
            self._opened = opened.pop_all()

    def _begin(self, head: bytes, parameters: dict[str, Any]) -> None:
        """Write the journal, with its first state, and the first line of OUT, or nothing where the disk is full."""
        if self._path.exists() and self._path.stat().st_size:
            raise OtherRunError(f"{self._path} exists already; delete it, or name another output file")
        self.state.length = len(head)
        begin_journal(self._journal_path, parameters, self.state)
        try:
            write_atomically(self._path, head)
        except BaseException:
            self._journal_path.unlink()
            raise

    def write(self, results: Sequence[BatchResult]) -> None:
        """Write one batch; it is on disk when this returns. Raises DiskFullError."""
        rejected = [(query.name, str(hits)) for query, hits in results if isinstance(hits, RetrievalError)]
        with raising_full_disk(self._path, _ADVICE):
            for query, hits in results:
                if not isinstance(hits, RetrievalError):
                    self._file.write(self._form(query.name, hits).encode())
                    self.state.quality.add(hits)
            self.state.done += len(results)
            self.state.rejected += rejected
            self._save(rejected)

    def _save(self, rejected: list[tuple[str, str]]) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self.state.length = self._file.tell()
        append_state(self._journal, self.state, rejected)

    def __enter__(self) -> BatchOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with raising_full_disk(self._path, _ADVICE):  # a file whose last write failed tries again
            self._opened.close()
        if error is not None and self._new and not self.state.done:  # a wrong parameter, not a stopped run
            self._path.unlink()
            self._journal_path.unlink()
