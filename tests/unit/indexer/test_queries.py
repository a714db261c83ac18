from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from indexer.queries import QueryListError, open_queries
from retrieval.sources import FileUnreadableError

Draw = Callable[..., Image.Image]
EncodeFile = Callable[..., bytes]


@pytest.fixture
def folder(tmp_path: Path, draw: Draw, encode_file: EncodeFile) -> Path:
    for file in ("q/polyps/a.jpg", "q/cecum/b.jpg", "q/cecum/c d.jpg"):
        place = tmp_path / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_file(draw(len(file))))
    return tmp_path


def told(path: Path) -> list[tuple[str, str | None]]:
    with open_queries(path) as queries:
        found = [(query.name, query.class_name) for query in queries]
        assert queries.total == len(found)
        assert [query.name for query in queries] == [name for name, _ in found]
        return found


def test_a_folder_gives_classes_by_its_folders(folder: Path) -> None:
    expected = [("cecum/b.jpg", "cecum"), ("cecum/c d.jpg", "cecum"), ("polyps/a.jpg", "polyps")]
    assert told(folder / "q") == expected
    with zipfile.ZipFile(folder / "q.zip", "w") as archive:
        for name, _ in expected:
            archive.write(folder / "q" / name, name)
    assert told(folder / "q.zip") == expected
    with open_queries(folder / "q.zip") as queries:
        assert [query.read() for query in queries] == [(folder / "q" / name).read_bytes() for name, _ in expected]


def test_a_text_file_lists_files_from_its_own_place(folder: Path) -> None:
    (folder / "list.txt").write_text("q/polyps/a.jpg\n\n q/cecum/c d.jpg \n")
    assert told(folder / "list.txt") == [("q/polyps/a.jpg", None), ("q/cecum/c d.jpg", None)]
    with open_queries(folder / "list.txt") as queries:
        assert next(iter(queries)).read() == (folder / "q/polyps/a.jpg").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "q/polyps/a.jpg,polyps\nq/cecum/b.jpg\n",
        "file,class\nq/polyps/a.jpg,polyps\nq/cecum/b.jpg,\n",
        "class,width,path\npolyps,720,q/polyps/a.jpg\n,720,q/cecum/b.jpg\n",
        "file-name;class-name;split-index\nq/polyps/a.jpg;polyps;0\nq/cecum/b.jpg;;1\n",
        '\ufefffile,class\r\n"q/polyps/a.jpg",polyps\r\nq/cecum/b.jpg,\r\n',
    ],
)
def test_a_table_lists_files_and_classes_with_or_without_a_heading(folder: Path, text: str) -> None:
    (folder / "list.csv").write_text(text, "utf-8")
    assert told(folder / "list.csv") == [("q/polyps/a.jpg", "polyps"), ("q/cecum/b.jpg", None)]


def test_a_table_without_classes_has_none(folder: Path) -> None:
    (folder / "list.csv").write_text("file,width\nq/polyps/a.jpg,720\n")
    assert told(folder / "list.csv") == [("q/polyps/a.jpg", None)]


def test_topics_are_an_id_a_tab_and_a_file(folder: Path) -> None:
    (folder / "topics.tsv").write_text("101\tq/polyps/a.jpg\n102\tq/cecum/c d.jpg\n")
    assert told(folder / "topics.tsv") == [("101", None), ("102", None)]
    with open_queries(folder / "topics.tsv") as queries:
        assert list(queries)[1].read() == (folder / "q/cecum/c d.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("topics.tsv", b"101\tq/a.jpg\n102 q/b.jpg\n", "line 2"),
        ("empty.txt", b"\n\n", "no queries"),
        ("only heading.csv", b"file,class\n", "no queries"),
        ("picture.txt", b"\xff\xd8\xff\xe0", "cannot be read"),
    ],
)
def test_what_is_no_list_is_said_so(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(QueryListError, match=said):
        open_queries(tmp_path / name)


def test_a_list_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(QueryListError, match="No such file"):
        open_queries(tmp_path / "nowhere.txt")


def test_a_file_that_is_not_there_is_found_only_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("nowhere.jpg\n")
    with open_queries(tmp_path / "list.txt") as queries, pytest.raises(FileUnreadableError, match=r"nowhere\.jpg"):
        next(iter(queries)).read()
