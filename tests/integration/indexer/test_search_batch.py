from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Draw = Callable[..., Image.Image]
EncodeFile = Callable[..., bytes]


Search = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, draw: Draw, encode_file: EncodeFile) -> Path:
    """Queries in two class folders: 260 files of 20 pictures."""
    folder = tmp_path_factory.mktemp("queries")
    for name, colour in (("polyps", (90, 160, 60)), ("cecum", (200, 120, 90))):
        (folder / name).mkdir()
        files = [encode_file(draw(700 + seed, colour, (360, 288))) for seed in range(10)]
        for number in range(130):
            (folder / name / f"{number:03}.jpg").write_bytes(files[number % 10])
    return folder


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    search: Search, fork: Callable[..., Any], indexed: Any, many: Path, tmp_path: Path
) -> None:
    asked = ("--batch", many, indexed.path, "-k", 3)
    status, _, _ = search(*asked, "--out", tmp_path / "whole.csv")
    assert status == 0
    program = "from retrieval.command_line import main; main()"
    process = fork(program, "search", *asked, "--out", tmp_path / "run.csv")
    journal = tmp_path / "run.csv.journal"
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    answered = json.loads(journal.read_bytes().splitlines()[3])["done"]
    assert answered == 128
    status, out, err = search(*asked, "--out", tmp_path / "run.csv")
    assert status == 0
    assert "of 260 queries were done before" in err
    assert (tmp_path / "run.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert out.startswith(f"{tmp_path / 'run.csv'}: 260 queries searched, 0 could not be used\n")


def test_a_wrong_query_list_is_no_begun_run(search: Search, indexed: Any, many: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(str(many / "polyps" / "000.jpg"))
    asked = ("--batch", tmp_path / "list.txt", "--out", tmp_path / "run.csv", indexed.path)
    for wrong in (("-k", 0), ("--class", "none")):
        assert search(*asked, *wrong)[0] == 2
    assert search(*asked, "-k", 2)[0] == 0
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 3
    status, _, err = search(*asked, "-k", 3)
    assert status == 2
    assert "begun with another k" in err


def test_quality_of_classes_is_told_and_bad_pictures_end_with_status_1(
    search: Search, indexed: Any, tmp_path: Path, draw: Draw, encode_file: EncodeFile
) -> None:
    for name, colour in (("polyps", (90, 160, 60)), ("stomach", (200, 120, 90))):
        (tmp_path / "q" / name).mkdir(parents=True)
        (tmp_path / "q" / name / "good.jpg").write_bytes(encode_file(draw(77, colour)))
    (tmp_path / "q" / "polyps" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    asked = ("--batch", tmp_path / "q", "--out", tmp_path / "run.jsonl", indexed.path, "--json")
    for _ in range(2):  # the second time all is done, and it says the same
        status, out, err = search(*asked)
        told = json.loads(out)
        assert status == 1
        assert told["searched"] == 2
        assert [one["query"] for one in told["rejected"]] == ["polyps/broken.jpg"]
        assert "polyps/broken.jpg: " in err
        assert told["quality"]["queries"] == 1
        assert told["quality"]["nothing_relevant"] == {"stomach": 1}
        first = json.loads((tmp_path / "run.jsonl").read_text("utf-8").splitlines()[0])
        assert told["quality"]["classes"]["polyps"]["precision"] == first["quality"]["precision"]


def test_a_batch_of_nothing_but_bad_pictures_ends_with_status_2(search: Search, indexed: Any, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("nowhere.jpg\n")
    status, out, err = search("--batch", tmp_path / "list.txt", "--out", tmp_path / "run.trec", indexed.path)
    assert status == 2
    assert "0 queries searched, 1 could not be used" in out
    assert "nowhere.jpg" in err


@pytest.mark.parametrize(
    "arguments", [["--batch", "q", "c"], ["--out", "o.csv", "c"], ["--batch", "q", "--out", "o.csv", "1", "c"]]
)
def test_an_incomplete_command_is_refused(search: Search, arguments: list[str]) -> None:
    status, _, err = search(*arguments)
    assert status == 2
    assert "--batch" in err


def test_a_list_of_words_is_searched_and_measured(search: Search, indexed: Any, tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("id,text,class\na,sessile polyp,polyps\nb,zebra,polyps\nc,caecum,cecum\n")
    out = tmp_path / "out.jsonl"
    status, printed, err = search("--batch", tmp_path / "words.csv", "--out", out, "-k", 4, indexed.path)
    assert status == 1
    assert "b: no class of the collection is described by “zebra”" in err
    assert "2 queries searched, 1 could not be used" in printed
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["query"] for line in lines if line.get("hits")] == ["a", "c"]
    (match,) = lines[0]["text_matches"]
    assert match["classes"] == [{"class": "polyps", "share": 1.0}]
    assert [hit["class_name"] for hit in lines[0]["hits"]] == ["polyps"] * 4
