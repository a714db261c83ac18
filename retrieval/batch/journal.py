"""The journal of a batch run, OUT.journal: what lets a stopped run continue, and proves that OUT is its own.

JSON lines: first the run's parameters, then a state a line, each written once the results before it are on disk. A last
line without its line break was cut by a stop and is ignored; anything else that cannot be read is an error.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from retrieval.batch.quality import BatchQuality
from retrieval.disk import write_atomically
from retrieval.errors import OutputError


class OtherRunError(OutputError):
    """An output file exists that another run, or something else, has written."""


class DamagedJournalError(OutputError):
    """The journal of a batch run cannot be read, or is none."""


@dataclass
class BatchState:
    """How far a run is.

    done: queries finished. length: bytes of OUT that their results take. rejected: (query, reason) of pictures that
    could not be used.
    """

    quality: BatchQuality
    done: int = 0
    length: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)


def begin_journal(journal: Path, parameters: dict[str, Any], state: BatchState) -> None:
    """Write a journal with its first state; it is on disk, and whole, when this returns. Raises DiskFullError."""
    write_atomically(journal, _line(parameters) + _line(asdict(state)))


def append_state(stream: BinaryIO, state: BatchState, rejected: list[tuple[str, str]]) -> None:
    """Write a state; it is on disk when this returns. rejected: those since the last state."""
    stream.write(_line(asdict(state) | {"rejected": rejected}))
    stream.flush()
    os.fsync(stream.fileno())


def read_journal(journal: Path, parameters: dict[str, Any], out: Path, k: int) -> BatchState | None:
    """The last state of the run with these parameters, or None where it was stopped before it began OUT.

    A line that a stop cut is removed from the file. Raises OtherRunError, DamagedJournalError.
    """
    remedy = f"delete {journal}, and {out} if a batch wrote it, or name another output file"
    state: BatchState | None = None
    whole = 0
    with journal.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if number > 1 and not line.endswith(b"\n"):
                break
            entry = _parse(line)
            if number == 1:
                if not line.endswith(b"\n") or not isinstance(entry, dict):
                    raise DamagedJournalError(f"{journal} is not the journal of a batch run, or is damaged; {remedy}")
                _require_same(entry, parameters, out, remedy)
            else:
                rejected = [] if state is None else state.rejected
                state = _state(entry, rejected, k)
                if state is None:
                    raise DamagedJournalError(f"{journal} is damaged in line {number}; {remedy}")
            whole += len(line)
    if not whole:
        raise DamagedJournalError(f"{journal} is empty; {remedy}")
    os.truncate(journal, whole)
    return state


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _require_same(begun: dict[str, Any], parameters: dict[str, Any], out: Path, remedy: str) -> None:
    if begun == parameters:
        return
    different = sorted(name for name in begun.keys() & parameters.keys() if begun[name] != parameters[name])
    raise OtherRunError(f"{out} was begun with another {', '.join(different) or 'version or kind of run'}; {remedy}")


def _state(entry: Any, rejected: list[tuple[str, str]], k: int) -> BatchState | None:
    """A state as `append_state` writes it, or None for anything else."""
    try:
        done, length, quality = entry["done"], entry["length"], BatchQuality.from_dict(entry["quality"])
        new = [(name, reason) for name, reason in entry["rejected"]]
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    numbers = all(type(number) is int and number >= 0 for number in (done, length))
    texts = all(isinstance(text, str) for pair in new for text in pair)
    if not numbers or not texts or quality.k != k:
        return None
    return BatchState(quality, done, length, rejected + new)
