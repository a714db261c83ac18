"""Evaluations in the folder of a collection: the newest are stored, whole, and tell whether the images have changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval.collection import Collection, CollectionWriter
from retrieval.evaluation.collection import evaluate_collection
from retrieval.evaluation.options import EvaluationOptions, MeasureOptions
from retrieval.evaluation.store import StoredEvaluationError
from retrieval.report.document import (
    Map,
    MapGroup,
    Overview,
    QueryRow,
    Report,
    ShownImage,
    SpaceFigures,
    SpaceSection,
    Table,
)
from retrieval.report.store import (
    FILES,
    FOLDER,
    MAX_STORED,
    NotEvaluatedError,
    StoredEvaluation,
    digest_of_images,
    faulty_evaluations,
    is_stored,
    load_report,
    load_result,
    path_of_file,
    store_evaluation,
    stored_evaluation,
    stored_evaluations,
)

TABLE = Table(("space", "mAP"), (("s", "0.5"),))
ROW = QueryRow(ShownImage(1, "a (AP 0.5)", "query"), (ShownImage(2, "b", "wrong"),))
FIGURES = SpaceFigures(
    vote_k=5,
    intervals=True,
    classes=TABLE,
    measures=TABLE,
    over_k="<svg/>",
    precision_recall="<svg/>",
    per_class="<svg/>",
    confusion="<svg/>",
    flow="<svg/>",
    map=Map("<svg/>", (MapGroup("map-0-0", "a", (1, 2)),)),
    best=(ROW,),
    worst=(ROW,),
    hubs=(ShownImage(2, "b, 3 times", "wrong"),),
    label_errors=(),
)
REPORT = Report(
    title="Retrieval",
    about=("Queries: 2.",),
    overview=Overview(TABLE, intervals=True, leave_one_out=False, summary=("One.",), sentences=("One.",)),
    spaces=(SpaceSection("space-0", "s", ("Space: cosine.",), FIGURES), SpaceSection("space-1", "t", (), None)),
    images=(1, 2),
)


@pytest.fixture
def collection(indexed: Any, tmp_path: Path) -> Path:
    path = tmp_path / "drawn.collection"
    shutil.copytree(indexed.path, path)
    return path


def test_the_newest_evaluations_are_stored_and_loaded(collection: Path) -> None:
    with pytest.raises(NotEvaluatedError):
        stored_evaluation(collection)
    opened = Collection.open(collection)
    result = evaluate_collection(opened, "drawn", EvaluationOptions(measures=MeasureOptions(samples=0)))
    for number in range(MAX_STORED + 2):
        made = StoredEvaluation(f"e{number}", f"2026-01-0{number + 1}T00:00:00+00:00", {"samples": number})
        store_evaluation(opened, made, result, REPORT)
    assert [one.id for one in stored_evaluations(collection)] == [
        f"e{number}" for number in range(MAX_STORED + 1, 1, -1)
    ]
    latest = stored_evaluation(collection)
    assert latest.request == {"samples": MAX_STORED + 1}
    assert latest.images == digest_of_images(opened)
    assert len(list((collection / FOLDER).glob("*/"))) == MAX_STORED
    assert load_result(collection, latest) == result.to_dict(per_query=False)
    assert load_report(collection, latest) == REPORT
    assert all(path_of_file(collection, latest, name).stat().st_size for name in FILES)


def test_evaluations_of_the_site_replace_none_that_a_command_made_or_that_all_images_queried(collection: Path) -> None:
    opened = Collection.open(collection)
    result = evaluate_collection(opened, "drawn", EvaluationOptions(measures=MeasureOptions(samples=0)))
    by_command = StoredEvaluation.by_command({"spaces": ["s"]})
    store_evaluation(opened, by_command, result, REPORT)
    for number in range(MAX_STORED + 1):
        made = StoredEvaluation(f"e{number}", f"2999-01-0{number + 1}T00:00:00+00:00", {})
        store_evaluation(opened, made, result, REPORT)
    store_evaluation(opened, StoredEvaluation("some", "2999-02-01T00:00:00+00:00", {"query_ids": [1]}), result, REPORT)
    assert len(stored_evaluations(collection)) == MAX_STORED + 2
    assert stored_evaluation(collection, by_command.id).request == {"spaces": ["s"]}
    with pytest.raises(NotEvaluatedError, match="no evaluation 'e0'"):
        stored_evaluation(collection, "e0")


def test_another_image_or_none_makes_another_state(collection: Path) -> None:
    opened = Collection.open(collection)
    before = digest_of_images(opened)
    assert digest_of_images(opened) == before
    with CollectionWriter(collection) as writer:
        writer.remove([3])
    opened = Collection.open(collection)
    assert digest_of_images(opened) != before


def test_what_cannot_be_written_leaves_nothing_half_done(collection: Path) -> None:
    opened = Collection.open(collection)
    result = evaluate_collection(opened, "drawn", EvaluationOptions(measures=MeasureOptions(samples=0)))
    (collection / FOLDER / "e1").mkdir(parents=True)
    (collection / FOLDER / "e1" / "something").touch()  # in the way of the rename
    with pytest.raises(OSError, match="e1"):
        store_evaluation(opened, StoredEvaluation("e1", "2026-01-01T00:00:00+00:00", {}), result, REPORT)
    assert {place.name for place in (collection / FOLDER).iterdir()} == {"e1", "writer.lock"}
    assert stored_evaluations(collection) == []


@pytest.fixture
def stored(collection: Path) -> tuple[Path, StoredEvaluation]:
    opened = Collection.open(collection)
    result = evaluate_collection(opened, "drawn", EvaluationOptions(measures=MeasureOptions(samples=0)))
    evaluation = StoredEvaluation.by_command({"spaces": ["s"]})
    store_evaluation(opened, evaluation, result, REPORT)
    return collection, evaluation


def test_a_report_of_another_version_is_refused_with_what_to_do_and_is_made_again(
    stored: tuple[Path, StoredEvaluation],
) -> None:
    """Version 1 had HTML in fields of these names."""
    collection, evaluation = stored
    opened = Collection.open(collection)
    assert is_stored(opened, evaluation.request)
    html = {"title": "Retrieval", "head": "<p>", "sections": [["overview", "Overview", "<p>"]], "points": {}}
    (collection / FOLDER / evaluation.id / "report.json").write_text(json.dumps(html))
    with pytest.raises(StoredEvaluationError, match=r"another version.*evaluate again"):
        load_report(collection, evaluation)
    assert load_result(collection, evaluation)["schema"] == "kvasir-evaluation/1"
    assert not is_stored(opened, evaluation.request)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda report: report[:100], "not JSON"),
        (lambda _: "[]", "is damaged"),
        (lambda report: report.replace('"vote_k": 5', '"vote_k": "many"'), r"damaged at spaces\.0\.figures\.vote_k"),
        (lambda report: report.replace('"wrong"', '"so-so"'), "damaged at spaces"),
        (lambda report: report.replace('"title"', '"tilte"'), "damaged at title"),
    ],
)
def test_a_damaged_report_is_an_error_with_the_place(
    stored: tuple[Path, StoredEvaluation], damage: Callable[[str], str], message: str
) -> None:
    collection, evaluation = stored
    file = collection / FOLDER / evaluation.id / "report.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(StoredEvaluationError, match=message):
        load_report(collection, evaluation)


def test_damaged_figures_and_missing_files_are_errors(stored: tuple[Path, StoredEvaluation]) -> None:
    collection, evaluation = stored
    folder = collection / FOLDER / evaluation.id
    for text in ("", "[]", "{}", '{"schema": '):
        (folder / "result.json").write_text(text)
        with pytest.raises(StoredEvaluationError, match="evaluate again"):
            load_result(collection, evaluation)
    (folder / "means.csv").unlink()
    with pytest.raises(StoredEvaluationError, match=r"means\.csv .*missing"):
        path_of_file(collection, evaluation, "means.csv")
    with pytest.raises(NotEvaluatedError, match=r"has the files evaluation\.json"):
        path_of_file(collection, evaluation, "facts.json")


@pytest.mark.parametrize("facts", ["", "[1]", "{}", '{"id": "other", "created": "", "request": {}}', '{"id": 3'])
def test_an_evaluation_with_damaged_facts_is_left_out_with_a_warning(
    stored: tuple[Path, StoredEvaluation], facts: str, caplog: pytest.LogCaptureFixture
) -> None:
    collection, evaluation = stored
    (collection / FOLDER / evaluation.id / "facts.json").write_text(facts)
    assert stored_evaluations(collection) == []
    assert evaluation.id in caplog.text


def test_a_flipped_digit_in_any_file_of_an_evaluation_is_told(stored: tuple[Path, StoredEvaluation]) -> None:
    collection, _ = stored
    (evaluation,) = stored_evaluations(collection)
    folder = collection / FOLDER / evaluation.id
    assert list(faulty_evaluations(collection)) == []
    for name in (*FILES, "result.json", "report.json", "facts.json"):
        sound = (folder / name).read_bytes()
        at = next(at for at, byte in enumerate(sound) if chr(byte).isdigit())
        (folder / name).write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        assert [path.name for path, _ in faulty_evaluations(collection)] == [evaluation.id], name
        if name in FILES:
            with pytest.raises(StoredEvaluationError, match="damaged; evaluate again"):
                path_of_file(collection, evaluation, name)
        (folder / name).write_bytes(sound)
    (folder / "result.json").write_text((folder / "result.json").read_text().replace("0.", "1.", 1))
    with pytest.raises(StoredEvaluationError, match="damaged"):
        load_result(collection, evaluation)
