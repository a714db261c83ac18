from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.batch import BATCH, BatchQuery, search_in_batches
from retrieval.batch.journal import DamagedJournalError, OtherRunError
from retrieval.batch.output import COLUMNS, BatchOutput, OutputBusyError, UnknownOutputError
from retrieval.batch.quality import BatchQuality
from retrieval.disk import DiskFullError
from retrieval.errors import PictureError
from retrieval.filters import NoSuchClassError
from retrieval.hits import Hits
from retrieval.search import Searcher, open_collection

Draw = Callable[..., Image.Image]
EncodeFile = Callable[..., bytes]
SPACE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def searcher(indexed: Any) -> Searcher:
    return open_collection(indexed.path)


@pytest.fixture(scope="module")
def queries(draw: Draw, encode_file: EncodeFile) -> list[BatchQuery]:
    """Five pictures from outside; the third is broken, the last is of a class that the collection lacks."""
    files = [encode_file(draw(seed, (200, 120, 90))) for seed in (501, 502, 503, 504, 505)]
    files[2] = files[2][:80]
    classes = ["cecum", "polyps", "cecum", None, "stomach"]
    return [
        BatchQuery(f"{number} new.jpg", name, lambda data=data: data)  # type: ignore[misc]
        for number, (data, name) in enumerate(zip(files, classes, strict=True))
    ]


def all_answers(searcher: Searcher, queries: list[BatchQuery], **options: Any) -> list[Any]:
    asked = {"k": 4, "spaces": [SPACE], "classes": None} | options
    return [answer for batch in search_in_batches(searcher, queries, **asked) for answer in batch]


# Answers


def test_a_batch_answers_as_single_queries_do(searcher: Searcher, queries: list[BatchQuery]) -> None:
    for query, hits in all_answers(searcher, queries):
        if query.name != "2 new.jpg":
            single = searcher.search(query.read(), 4, query_class=query.class_name)
            assert hits.to_dict() == single.to_dict()


def test_several_spaces_are_fused_as_for_single_queries(two_spaces: Path, queries: list[BatchQuery]) -> None:
    searcher = open_collection(two_spaces)
    names = [space.name for space in searcher.collection.spaces]
    assert len(names) == 2
    for query, hits in all_answers(searcher, queries[:2], spaces=names):
        assert hits.to_dict() == searcher.search(query.read(), 4, spaces=names, query_class=query.class_name).to_dict()


def test_a_batch_is_ranked_anew_as_single_queries_are(searcher: Searcher, queries: list[BatchQuery]) -> None:
    for query, hits in all_answers(searcher, queries[:2], rerank="expansion"):
        single = searcher.search(query.read(), 4, query_class=query.class_name, rerank="expansion")
        assert hits.to_dict() == single.to_dict()
        assert hits.score_kind == "re-ranked similarity"


def test_only_the_classes_asked_for_are_found(searcher: Searcher, queries: list[BatchQuery]) -> None:
    for _, hits in all_answers(searcher, queries[:2], classes=["polyps"]):
        assert {hit.class_name for hit in hits} == {"polyps"}
    with pytest.raises(NoSuchClassError):
        all_answers(searcher, queries, classes=["stomach"])


def test_a_bad_picture_is_answered_with_its_fault_and_the_others_with_hits(
    searcher: Searcher, queries: list[BatchQuery]
) -> None:
    answered = all_answers(searcher, queries)
    assert [query.name for query, _ in answered] == [query.name for query in queries]
    assert [isinstance(hits, Hits) for _, hits in answered] == [True, True, False, True, True]
    assert isinstance(answered[2][1], PictureError)


@pytest.mark.slow
def test_pictures_are_read_in_a_bounded_window_ahead(searcher: Searcher, draw: Draw, encode_file: EncodeFile) -> None:
    data = encode_file(draw(1))
    asked = 0

    def endless() -> Iterator[BatchQuery]:
        nonlocal asked
        while True:
            asked += 1
            yield BatchQuery(str(asked), None, lambda: data)

    stream = search_in_batches(searcher, endless(), 1, [SPACE], None)
    for answered in range(1, 4):
        assert len(next(stream)) == BATCH
        assert asked <= (answered + 2) * BATCH
    stream.close()  # type: ignore[attr-defined]


# Quality


def test_quality_is_the_mean_of_the_answers(searcher: Searcher, queries: list[BatchQuery]) -> None:
    quality = BatchQuality(4)
    of_class: dict[str, list[float]] = {}
    for query, hits in all_answers(searcher, [queries[0], queries[1], queries[0], queries[3], queries[4]]):
        quality.add(hits)
        if query.class_name in ("cecum", "polyps"):
            of_class.setdefault(query.class_name, []).append(
                sum(hit.class_name == query.class_name for hit in hits) / 4
            )
    told = quality.to_dict()
    assert told["queries"] == 3
    assert told["without_class"] == 1
    assert told["nothing_relevant"] == {"stomach": 1}
    assert told["classes"]["cecum"]["queries"] == 2
    assert told["classes"]["cecum"]["precision"] == pytest.approx(np.mean(of_class["cecum"]))
    assert told["micro"]["precision"] == pytest.approx(np.mean(of_class["cecum"] + of_class["polyps"]))
    assert told["macro"]["precision"] == pytest.approx(
        np.mean([np.mean(of_class["cecum"]), np.mean(of_class["polyps"])])
    )
    # Eight cecum images were indexed, so recall@4 is half of precision@4.
    assert told["classes"]["cecum"]["recall"] == pytest.approx(np.mean(of_class["cecum"]) / 2)
    assert told["classes"]["cecum"]["hit"] == float(np.mean(of_class["cecum"]) > 0)


def test_quality_of_no_scored_query_is_undefined_not_zero() -> None:
    assert BatchQuality(5).to_dict()["micro"] is None


# Output


def written(path: Path, searcher: Searcher, queries: list[BatchQuery], k: int = 2) -> BatchOutput:
    with BatchOutput(path, {"k": k}, k) as output:
        for batch in search_in_batches(searcher, queries[output.state.done :], k, [SPACE], None):
            output.write(batch)
    return output


def test_csv_has_a_row_a_hit(searcher: Searcher, queries: list[BatchQuery], tmp_path: Path) -> None:
    written(tmp_path / "run.csv", searcher, queries)
    rows = (tmp_path / "run.csv").read_text("utf-8").splitlines()
    first = searcher.search(queries[0].read(), 2)[0]
    assert rows[0] == "query,query_class,rank,id,class,score,distance,file,score_kind,chance,findings,novelty"
    assert rows[1] == (
        f"0 new.jpg,cecum,1,{first.id},{first.class_name or ''},{first.score!r},{first.distance!r},{first.file},"
        "similarity,,,"
    )
    assert len(rows) == 1 + 4 * 2


def test_json_lines_are_the_answers(searcher: Searcher, queries: list[BatchQuery], tmp_path: Path) -> None:
    written(tmp_path / "run.jsonl", searcher, queries)
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text("utf-8").splitlines()]
    assert [line["query"] for line in lines] == ["0 new.jpg", "1 new.jpg", "3 new.jpg", "4 new.jpg"]
    single = searcher.search(queries[0].read(), 2, query_class="cecum").to_dict()
    assert lines[0] == json.loads(json.dumps(single)) | {"query": "0 new.jpg"}


def test_a_trec_run_keeps_the_order_and_has_no_white_space_in_names(
    searcher: Searcher, queries: list[BatchQuery], tmp_path: Path
) -> None:
    import ir_measures

    written(tmp_path / "run.trec", searcher, queries, 3)
    run: dict[str, list[tuple[float, int]]] = {}
    for row in ir_measures.read_trec_run(str(tmp_path / "run.trec")):
        run.setdefault(row.query_id, []).append((-row.score, int(row.doc_id)))
    assert list(run) == ["0%20new.jpg", "1%20new.jpg", "3%20new.jpg", "4%20new.jpg"]
    assert [image for _, image in sorted(run["1%20new.jpg"])] == searcher.search(queries[1].read(), 3).ids


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "trec"])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_run_that_stopped_anywhere_goes_on_to_the_same_bytes(
    searcher: Searcher, queries: list[BatchQuery], tmp_path: Path, form: str, stop: int
) -> None:
    whole = written(tmp_path / f"whole.{form}", searcher, queries)
    path = tmp_path / f"run.{form}"
    answered = all_answers(searcher, queries, k=2)
    with BatchOutput(path, {"k": 2}, 2) as output:
        for answer in answered[:stop]:
            output.write([answer])
    # What a kill leaves of the batch that came next: half an answer, and half a line in the journal.
    with path.open("ab") as rest:
        rest.write(b"half an ans")
    with path.with_name(path.name + ".journal").open("ab") as rest:
        rest.write(b'{"done": 4, "len')
    resumed = written(path, searcher, queries)
    assert path.read_bytes() == (tmp_path / f"whole.{form}").read_bytes()
    assert resumed.state == whole.state


def test_a_stop_before_the_first_batch_begins_anew(
    searcher: Searcher, queries: list[BatchQuery], tmp_path: Path
) -> None:
    with BatchOutput(tmp_path / "run.csv", {"k": 2}, 2):
        pass
    written(tmp_path / "run.csv", searcher, queries)
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 9


def test_a_file_of_another_run_is_never_touched(searcher: Searcher, queries: list[BatchQuery], tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    written(path, searcher, queries)
    before = path.read_bytes()
    with pytest.raises(OtherRunError, match="another k"):
        BatchOutput(path, {"k": 3}, 3)
    assert path.read_bytes() == before
    (tmp_path / "letter.csv").write_text("dear reader")
    with pytest.raises(OtherRunError, match="exists already"):
        BatchOutput(tmp_path / "letter.csv", {"k": 2}, 2)
    assert (tmp_path / "letter.csv").read_text() == "dear reader"
    path.write_bytes(before[:50])
    with pytest.raises(OtherRunError, match="shorter"):
        BatchOutput(path, {"k": 2}, 2)


JOURNALS = {
    "garbage": (b"\x00\xff garbage\n", DamagedJournalError, "not the journal of a batch run, or is damaged"),
    "empty": (b"", DamagedJournalError, "is empty"),
    "a list": (b"[1, 2]\n", DamagedJournalError, "not the journal of a batch run"),
    "nested without end": (b"[" * 100_000 + b"\n", DamagedJournalError, "not the journal of a batch run"),
    "a cut first line": (b'{"k": 2', DamagedJournalError, "not the journal of a batch run"),
    "a whole first line without its break": (b'{"k": 2}', DamagedJournalError, "not the journal of a batch run"),
    "another run": (b'{"k": 3}\n', OtherRunError, "was begun with another k"),
    "something else": (b'{"name": "x"}\n', OtherRunError, "was begun with another version or kind of run"),
}


@pytest.mark.parametrize("case", JOURNALS)
@pytest.mark.parametrize("letter", [b"dear reader", b"", None])
def test_a_journal_that_is_not_of_this_run_never_lets_it_touch_a_file(
    tmp_path: Path, case: str, letter: bytes | None
) -> None:
    content, error, message = JOURNALS[case]
    path, journal = tmp_path / "run.csv", tmp_path / "run.csv.journal"
    journal.write_bytes(content)
    if letter is not None:
        path.write_bytes(letter)
    with pytest.raises(error, match=f"{message}.*; delete .*run.csv.journal, and .*or name another"):
        BatchOutput(path, {"k": 2}, 2)
    assert journal.read_bytes() == content
    assert (path.read_bytes() if path.exists() else None) == letter


def test_a_stop_between_the_journal_and_the_file_begins_the_file(
    searcher: Searcher, queries: list[BatchQuery], tmp_path: Path
) -> None:
    with BatchOutput(tmp_path / "run.csv", {"k": 2}, 2):
        pass
    (tmp_path / "run.csv").unlink()
    written(tmp_path / "run.csv", searcher, queries)
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 9


def test_a_second_process_of_one_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    code = """if True:
        import sys
        from pathlib import Path
        from retrieval.batch.output import BatchOutput
        with BatchOutput(Path(sys.argv[1]), {"k": 2}, 2):
            print("open", flush=True)
            input()
    """
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(OutputBusyError, match=f"another process is writing {path}; wait until it is done, or name"):
            BatchOutput(path, {"k": 2}, 2)
        other.communicate(b"\n")
    with BatchOutput(path, {"k": 2}, 2):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run.csv", "run.csv.journal"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("full", ["run.csv.journal.new", "run.csv.new"])
def test_a_batch_that_cannot_begin_on_a_full_disk_leaves_nothing(tmp_path: Path, full: str) -> None:
    (tmp_path / full).symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"run\.csv.*: no space left on the disk"):
        BatchOutput(tmp_path / "run.csv", {"k": 2}, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appeared_before_a_stopped_run_began_its_own_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "run.csv.journal").write_text(json.dumps({"k": 2, "columns": COLUMNS}) + "\n")
    (tmp_path / "run.csv").write_text("dear reader")
    with pytest.raises(OtherRunError, match="exists already"):
        BatchOutput(tmp_path / "run.csv", {"k": 2}, 2)
    assert (tmp_path / "run.csv").read_text() == "dear reader"


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"null",
        b"{}",
        b'{"done": 1, "length": 9}',
        b'{"done": "1", "length": 9, "quality": {"k": 2}, "rejected": []}',
        b'{"done": 1, "length": -9, "quality": {"k": 2}, "rejected": []}',
        b'{"done": 1, "length": 9, "quality": {"k": 3}, "rejected": []}',
        b'{"done": 1, "length": 9, "quality": {"k": 2, "more": 1}, "rejected": []}',
        b'{"done": 1, "length": 9, "quality": {"k": 2, "queries": []}, "rejected": []}',
        b'{"done": 1, "length": 9, "quality": {"k": 2, "queries": {"a": 1}, "sums": {"a": [1]}}, "rejected": []}',
        b'{"done": 1, "length": 9, "quality": {"k": 2}, "rejected": [1]}',
    ],
)
def test_a_damaged_line_of_a_journal_is_named_with_what_to_do(tmp_path: Path, line: bytes) -> None:
    path, journal = tmp_path / "run.csv", tmp_path / "run.csv.journal"
    with BatchOutput(path, {"k": 2}, 2):
        pass
    with journal.open("ab") as stream:
        stream.write(line + b"\n")
    before = path.read_bytes(), journal.read_bytes()
    with pytest.raises(DamagedJournalError, match=r"run\.csv\.journal is damaged in line 3; delete .*or name another"):
        BatchOutput(path, {"k": 2}, 2)
    assert (path.read_bytes(), journal.read_bytes()) == before


def test_a_run_that_fails_before_its_first_batch_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoSuchClassError), BatchOutput(tmp_path / "run.csv", {"k": 2}, 2):
        raise NoSuchClassError("no class 'x'")
    assert list(tmp_path.iterdir()) == []


def test_scores_of_a_trec_run_fall_with_every_rank_in_single_precision(searcher: Searcher, tmp_path: Path) -> None:
    hits = searcher.search(0, 1)
    many = replace(hits, hits=tuple(replace(hits[0], rank=rank + 1) for rank in range(40_000)))
    with BatchOutput(tmp_path / "run.trec", {}, 1) as output:
        output.write([(BatchQuery("q", None, lambda: b""), many)])
    scores = np.array([line.split()[4] for line in (tmp_path / "run.trec").read_text().splitlines()], np.float32)
    assert (np.diff(scores) < 0).all()
    assert scores[-1] > 0


def test_the_form_is_told_by_the_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownOutputError, match=r"\.csv, \.jsonl, \.trec"):
        BatchOutput(tmp_path / "run.xlsx", {}, 1)
    assert list(tmp_path.iterdir()) == []
