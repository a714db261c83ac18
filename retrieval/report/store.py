"""Evaluations in the folder of a collection, for the site: figures, the report as data, files for papers."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from retrieval.collection import Collection
from retrieval.disk import PARTIAL, write_atomically
from retrieval.errors import EvaluationError
from retrieval.evaluation.store import StoredEvaluationError, load_json
from retrieval.json_digest import checked_fields, json_bytes

if TYPE_CHECKING:
    from retrieval.evaluation import Evaluation
    from retrieval.report.document import Report

log = logging.getLogger(__name__)

FOLDER = "evaluations"
MAX_STORED = 5
"""Evaluations that are stored of those made on the site, and of those made by a command, each of all queries and of
selected ones; the oldest are dropped."""
FILES = {
    "evaluation.json": "application/json",
    "evaluation.schema.json": "application/json",
    "means.csv": "text/csv",
    "queries.csv": "text/csv",
    "tables.tex": "application/x-tex",
}
"""Files that can be downloaded, with their media types."""
_FACTS, _RESULT, _REPORT = "facts.json", "result.json", "report.json"


_LOCK = "writer.lock"
"""File in the folder of evaluations that is locked while one is written."""
_LOCK_SECONDS = 60.0


class OtherReportError(StoredEvaluationError):
    """A stored report is of another version of the program."""


class NotEvaluatedError(EvaluationError):
    """The collection has not been evaluated, or not so."""


@dataclass(frozen=True)
class StoredEvaluation:
    """What was evaluated, when and by whom.

    images: a digest of the images, classes and clusters at that time. queries: by space and fusion, a digest of what it
    was asked. files: SHA-256 of the others in its folder. What older versions stored has neither of the last two.
    """

    id: str
    created: str
    request: dict[str, Any] = field(hash=False)
    images: str = ""
    made_by: Literal["site", "command"] = "site"
    queries: dict[str, str] = field(default_factory=dict, hash=False)
    files: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_partial(self) -> bool:
        """Whether some selected images alone queried, so that its figures are not the collection's."""
        return "query_ids" in self.request

    @staticmethod
    def by_command(request: dict[str, Any]) -> StoredEvaluation:
        """One that a command makes now, under a new id."""
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        return StoredEvaluation(secrets.token_hex(8), created, request, made_by="command")


def store_evaluation(opened: Collection, evaluation: StoredEvaluation, result: Evaluation, report: Report) -> None:
    """Write an evaluation into the collection's folder, whole or not at all; the oldest ones are dropped.

    Whoever may use the site can start evaluations there, so those drop none that a command made.
    """
    folder = opened.path / FOLDER
    unfinished = folder / f"{evaluation.id}{PARTIAL}"
    queries = {space.space: space.queries_digest for space in result.spaces}
    facts = asdict(evaluation) | {"images": digest_of_images(opened), "queries": queries}
    folder.mkdir(exist_ok=True)
    remove_unfinished(opened.path)
    with FileLock(folder / _LOCK, timeout=_LOCK_SECONDS):
        _store(opened, unfinished, result, report, facts)
    kind = (evaluation.made_by, evaluation.is_partial)
    stored = [other for other in stored_evaluations(opened.path) if (other.made_by, other.is_partial) == kind]
    for old in stored[MAX_STORED:]:
        shutil.rmtree(folder / old.id, ignore_errors=True)


def _store(opened: Collection, unfinished: Path, result: Evaluation, report: Report, facts: dict[str, Any]) -> None:
    """Write the files of an evaluation; to be called locked."""
    from retrieval.report.folder import write_tables

    try:
        write_tables(result, unfinished)
        for name, value in (
            (_RESULT, result.to_dict(per_query=False)),
            (_REPORT, report.to_dict()),
        ):
            write_atomically(unfinished / name, json.dumps(value, allow_nan=False).encode())
        files = {file.name: _sha256(file) for file in sorted(unfinished.iterdir())}
        write_atomically(unfinished / _FACTS, json_bytes(facts | {"files": files}))
        unfinished.rename(unfinished.with_suffix(""))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def unfinished_evaluations(collection: Path, then: Callable[[Path], object] = lambda path: None) -> list[Path]:
    """Folders of evaluations that were stopped; none while an evaluation is being written.

    then: what is done with each, before another run can write.
    """
    folder = collection / FOLDER
    left = sorted(folder.glob(f"*{PARTIAL}"))
    if not left:
        return []
    try:
        with FileLock(folder / _LOCK, timeout=0):
            left = [path for path in left if path.exists()]
            for path in left:
                then(path)
            return left
    except (Timeout, OSError):  # of a folder for reading only nothing can be removed
        return []


def remove_unfinished(collection: Path) -> None:
    """Remove evaluations that a run which was stopped has left."""
    unfinished_evaluations(collection, lambda path: shutil.rmtree(path, ignore_errors=True))


def faulty_evaluations(collection: Path) -> Iterator[tuple[Path, str]]:
    """(folder, what is wrong) of each that cannot be shown, or that a run which was stopped has left."""
    folder = collection / FOLDER
    if not folder.is_dir():
        return
    for path in unfinished_evaluations(collection):
        yield path, "was left by a run that was stopped"
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.suffix != PARTIAL:
            try:
                evaluation = _read_facts(path / _FACTS)
                for name in evaluation.files:
                    _intact_path(collection, evaluation, name)
                load_result(collection, evaluation)
                load_report(collection, evaluation)
            except OtherReportError:
                continue
            except StoredEvaluationError as error:
                yield path, f"is damaged ({error})"


def stored_evaluations(collection: Path) -> list[StoredEvaluation]:
    """All that can be loaded, the newest first."""
    return sorted(_load_facts(collection / FOLDER), key=lambda evaluation: evaluation.created, reverse=True)


def is_stored(opened: Collection, request: dict[str, Any]) -> bool:
    """Whether this was evaluated, the collection has not changed since, and the report can be shown."""
    images = digest_of_images(opened)
    return any(
        (evaluation.images, evaluation.request) == (images, request) and _has_report(opened.path, evaluation)
        for evaluation in stored_evaluations(opened.path)
    )


def stored_evaluation(collection: Path, evaluation_id: str | None = None) -> StoredEvaluation:
    """One by its id, or the newest. Raises NotEvaluatedError."""
    stored = stored_evaluations(collection)
    if not stored:
        raise NotEvaluatedError(
            "this collection has not been evaluated; start it on the page Evaluation, or by `kvasir evaluate --keep`"
        )
    for evaluation in stored:
        if evaluation_id in (None, evaluation.id):
            return evaluation
    raise NotEvaluatedError(f"no evaluation '{str(evaluation_id)[:64]}' is stored any more; the newest are")


def load_result(collection: Path, evaluation: StoredEvaluation) -> dict[str, Any]:
    """The figures, without those of single queries. Raises StoredEvaluationError."""
    result = load_json(_intact_path(collection, evaluation, _RESULT))
    if not isinstance(result, dict) or "schema" not in result:
        raise StoredEvaluationError(f"the figures of the evaluation {evaluation.id} are damaged; evaluate again")
    return result


def load_report(collection: Path, evaluation: StoredEvaluation) -> Report:
    """The report. Raises StoredEvaluationError where it is damaged, or of a version that cannot be shown."""
    from pydantic import TypeAdapter, ValidationError

    from retrieval.report.document import SCHEMA, Report

    document = load_json(_intact_path(collection, evaluation, _REPORT))
    if not isinstance(document, dict):
        raise StoredEvaluationError(f"the report of the evaluation {evaluation.id} is damaged; evaluate again")
    if document.get("schema") != SCHEMA:
        raise OtherReportError(
            "this evaluation was stored by another version of the program, and its report cannot be shown; "
            "its files can be downloaded; evaluate again for a report"
        )
    try:
        return TypeAdapter(Report).validate_python(document)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise StoredEvaluationError(
            f"the report of the evaluation {evaluation.id} is damaged at {where}; evaluate again"
        ) from error


def path_of_file(collection: Path, evaluation: StoredEvaluation, name: str) -> Path:
    """The path of one of FILES. Raises NotEvaluatedError, StoredEvaluationError where it is missing or damaged."""
    if name not in FILES:
        raise NotEvaluatedError(f"an evaluation has the files {', '.join(FILES)}")
    return _intact_path(collection, evaluation, name)


def digest_of_images(opened: Collection) -> str:
    """Changes when images are added or removed, or get another class or cluster."""
    images = opened.images
    digest = hashlib.sha256()
    scenes = () if images.scenes is images.clusters else (images.scenes,)
    for part in (images.ids, images.labels, images.clusters, *scenes):
        digest.update(part.tobytes())
    return digest.hexdigest()[:16]


def _intact_path(collection: Path, evaluation: StoredEvaluation, name: str) -> Path:
    """A file of an evaluation. Raises StoredEvaluationError where it is missing or not what was written."""
    path = collection / FOLDER / evaluation.id / name
    try:
        digest = _sha256(path)
    except OSError:
        raise StoredEvaluationError(f"{name} of the evaluation {evaluation.id} is missing; evaluate again") from None
    if evaluation.files.get(name, digest) != digest:
        raise StoredEvaluationError(f"{name} of the evaluation {evaluation.id} is damaged; evaluate again")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _has_report(collection: Path, evaluation: StoredEvaluation) -> bool:
    try:
        load_report(collection, evaluation)
    except StoredEvaluationError:
        return False
    return True


def _load_facts(folder: Path) -> Iterator[StoredEvaluation]:
    """What is stored; a damaged one is left out, with a warning in the log."""
    for path in folder.glob(f"*/{_FACTS}"):
        if path.parent.suffix == PARTIAL:
            continue
        try:
            yield _read_facts(path)
        except StoredEvaluationError as error:
            log.warning("the evaluation in %s is damaged and is not shown (%s)", path.parent, error)


def _read_facts(path: Path) -> StoredEvaluation:
    """The facts in a file; fields that a later version wrote are passed over. Raises StoredEvaluationError."""
    try:
        stored = checked_fields(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StoredEvaluationError(f"{path} is damaged ({error}); evaluate again") from error
    known = {field.name for field in fields(StoredEvaluation)}
    try:
        evaluation = StoredEvaluation(**{name: value for name, value in stored.items() if name in known})
        texts = (evaluation.id, evaluation.created, evaluation.images, evaluation.made_by)
        if evaluation.id != path.parent.name or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"wrong values: {texts}")
        if not all(isinstance(part, dict) for part in (evaluation.request, evaluation.queries, evaluation.files)):
            raise TypeError("its request, its queries or its files are none")
    except (TypeError, AttributeError) as error:
        raise StoredEvaluationError(f"{path} is damaged ({error}); evaluate again") from error
    return evaluation
