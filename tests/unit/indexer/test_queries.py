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
        ("picture.txt", b"\xff\xd8\xff\xe0", "is a picture, not a list"),
        ("q.tar.gz", b"\x1f\x8b\x08", "is an archive, not a list; unpack it and give its folder"),
        ("latin.txt", b"caf\xe9.jpg\n", "not UTF-8 text"),
        ("book.xlsx", b"PK\x03\x04", "a zip or a spreadsheet, not text; save the table as CSV"),
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


@pytest.fixture
def two(tmp_path: Path, draw: Draw, encode_file: EncodeFile) -> Path:
    """A folder with two pictures, q.jpg and r.jpg."""
    for name in ("q.jpg", "r.jpg"):
        (tmp_path / name).write_bytes(encode_file(draw(ord(name[0]))))
    return tmp_path


def listed(folder: Path, name: str, text: str | bytes) -> list[tuple[str, str | None, bool]]:
    """(name, class, whether its file can be read) of each query of a list."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with open_queries(path) as queries:
        return [(query.name, query.class_name, query.read()[:2] == b"\xff\xd8") for query in queries]


PLAIN = [("q.jpg", None, True), ("r.jpg", None, True)]
WITH_CLASS = [("q.jpg", "polyps", True), ("r.jpg", "polyps", True)]
TOPICS = [("1", "polyps", True), ("2", "polyps", True)]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("third.tsv", "1\tq.jpg\tpolyps\n2\tr.jpg\tpolyps\n", TOPICS),
        ("heading.tsv", "qid\timage\tfinding\n1\tq.jpg\tpolyps\n2\tr.jpg\tpolyps\n", TOPICS),
        ("comment.tsv", "# two frames\n1\tq.jpg\n2\tr.jpg\n", [("1", None, True), ("2", None, True)]),
        ("files.tsv", "q.jpg\tpolyps\nr.jpg\tpolyps\n", WITH_CLASS),
        ("comment.txt", "# two frames\nq.jpg\nr.jpg\n", PLAIN),
        ("quoted.txt", '"q.jpg"\n".\\r.jpg"\n', PLAIN),
        ("heading.txt", "filename\nq.jpg\nr.jpg\n", PLAIN),
        ("tabs.txt", "q.jpg\tpolyps\nr.jpg\tpolyps\n", WITH_CLASS),
        ("topics.txt", "1\tq.jpg\tpolyps\n2\tr.jpg\tpolyps\n", TOPICS),
        ("commas.txt", "q.jpg, polyps\nr.jpg, polyps\n", WITH_CLASS),
        ("utf16.txt", "q.jpg\tpolyps\r\nr.jpg\tpolyps\r\n".encode("utf-16"), WITH_CLASS),
        ("backslash.csv", ".\\q.jpg,polyps\r\n.\\r.jpg,polyps\r\n", WITH_CLASS),
        ("finding.csv", "filename,finding\nq.jpg,polyps\nr.jpg,polyps\n", WITH_CLASS),
        ("photo.csv", "photo,Finding\nq.jpg,polyps\nr.jpg,polyps\n", WITH_CLASS),
        ("order.csv", "split,label,file name\n0,polyps,q.jpg\n1,polyps,r.jpg\n", WITH_CLASS),
        ("sep.csv", "sep=;\nfile;class\nq.jpg;polyps\nr.jpg;polyps\n", WITH_CLASS),
        ("sep-filled.csv", "sep=;;\nfile;class\nq.jpg;polyps\nr.jpg;polyps\n", WITH_CLASS),
        ("sep-empty.csv", "sep=\nfile;class\nq.jpg;polyps\nr.jpg;polyps\n", WITH_CLASS),
        ("sep-topics.tsv", "sep=;\n1;q.jpg;polyps\n2;r.jpg;polyps\n", TOPICS),
        ("sep-lines.txt", "sep=,\nq.jpg,polyps\nr.jpg,polyps\n", WITH_CLASS),
        ("sep-tab.csv", "sep=\\t\nq.jpg\tpolyps\nr.jpg\tpolyps\n", WITH_CLASS),
        ("tab.csv", "q.jpg\tpolyps\nr.jpg\tpolyps\n", WITH_CLASS),
        ("topics.csv", "query_id,file,class\n1,q.jpg,polyps\n2,r.jpg,polyps\n", TOPICS),
        ("blank.csv", "q.jpg,polyps\n\n,,\nr.jpg,polyps\n,\n", WITH_CLASS),
    ],
)
def test_lists_are_read_as_a_person_means_them(
    two: Path, name: str, text: str | bytes, expected: list[tuple[str, str | None, bool]]
) -> None:
    assert listed(two, name, text) == expected


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.csv", 'q.jpg,polyps\n"r.jpg,polyps\n', 2),
        ("a.csv", 'file,class\n"q.jpg,polyps\n"r.jpg",polyps\n', 2),
        ("a.tsv", '1\tq.jpg\n2\t"r.jpg\n3\tq.jpg\n', 2),
        ("a.txt", 'q.jpg\tpolyps\nr.jpg\t"polyps\n', 2),
    ],
)
def test_a_quotation_mark_that_is_not_closed_is_an_error_with_its_line(
    two: Path, name: str, text: str, line: int
) -> None:
    with pytest.raises(QueryListError, match=rf"{name}, line {line}: a quotation mark is not closed"):
        listed(two, name, text)


def test_a_file_may_have_a_name_like_a_statement_of_the_separator(two: Path) -> None:
    (two / "q.jpg").rename(two / "sep=;")
    assert listed(two, "a.txt", "sep=;\nr.jpg\n") == [("sep=;", None, True), ("r.jpg", None, True)]


def test_a_comment_s_sign_may_begin_a_file_s_name(two: Path) -> None:
    (two / "q.jpg").rename(two / "#1.jpg")
    assert listed(two, "a.txt", "# a comment\n#1.jpg\nr.jpg\n") == [("#1.jpg", None, True), ("r.jpg", None, True)]


def test_a_backslash_may_be_part_of_a_file_s_name(two: Path) -> None:
    (two / "a\\b.jpg").write_bytes((two / "q.jpg").read_bytes())
    assert listed(two, "a.txt", "a\\b.jpg\n") == [("a\\b.jpg", None, True)]


def test_names_are_compared_in_one_unicode_form(two: Path) -> None:
    (two / "se\u0301vere").mkdir()
    (two / "q.jpg").rename(two / "se\u0301vere" / "e\u0301.jpg")
    assert listed(two, "a.csv", "sévere/é.jpg,se\u0301ve\u0300re\n") == [("sévere/é.jpg", "sévère", True)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.tsv", "7\tq.jpg\n7\tr.jpg\n", "lines 1 and 2: the query id 7 stands for q.jpg and r.jpg"),
        ("a.tsv", "# x\n7\tq.jpg\n\n8\t./q.jpg\n", r"lines 2 and 4: \./q\.jpg stands under two query ids, 7 and 8"),
        ("a.tsv", "7\tq.jpg\tpolyps\n7\tq.jpg\tcecum\n", "lines 1 and 2: q.jpg is of two classes, polyps and cecum"),
        ("a.csv", "q.jpg,polyps\nr.jpg,x\nq.jpg,cecum\n", "lines 1 and 3: q.jpg is of two classes, polyps and cecum"),
        ("a.csv", "q.jpg,polyps\nq.jpg\n", "lines 1 and 2: q.jpg is of two classes, polyps and no class"),
        ("a.csv", "file,class\n,polyps\n", "line 2: expected a file, not ' | polyps'"),
        ("a.tsv", "1\n", "line 1: expected a query id, a tab and a file, not '1'"),
    ],
)
def test_lines_that_contradict_each_other_are_an_error_with_both(two: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(QueryListError, match=said):
        listed(two, name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "q.jpg,polyps\nr.jpg,x\n.\\q.jpg,polyps\nq.jpg,polyps\n"),
        ("a.tsv", "q\tq.jpg\nr\tr.jpg\nq\tq.jpg\nq\tq.jpg\n"),
        ("a.txt", "q.jpg\nr.jpg\n./q.jpg\nq.jpg\n"),
    ],
)
def test_the_same_line_again_counts_once_and_is_told(two: Path, name: str, text: str) -> None:
    (two / name).write_text(text)
    with open_queries(two / name) as queries:
        assert [query.name[0] for query in queries] == ["q", "r"]
        assert queries.total == 2
        assert queries.notes == ("lines that repeat an earlier one and are left out: 2, the first is line 3",)


def test_a_heading_without_a_known_class_is_told(two: Path) -> None:
    (two / "a.csv").write_text("file,colour,camera\nq.jpg,red,1\n")
    with open_queries(two / "a.csv") as queries:
        assert [(query.name, query.class_name) for query in queries] == [("q.jpg", None)]
        assert queries.classes == frozenset()
        (note,) = queries.notes
    assert note == "no column is known as the queries' class, so there are no figures: colour, camera not used"


def test_a_web_address_is_told_for_a_list_and_inside_one(two: Path) -> None:
    with pytest.raises(QueryListError, match=r"https://x/q\.txt is a web address"):
        open_queries(Path("https://x/q.txt"))
    (two / "a.txt").write_text("https://x/q.jpg\n")
    with open_queries(two / "a.txt") as queries:
        (query,) = queries
        with pytest.raises(FileUnreadableError, match=r"https://x/q\.jpg is a web address"):
            query.read()


def test_a_list_with_a_column_of_texts_is_of_words(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text(
        'id,text,class\n1,"a polyp, on a stalk",polyps\n2,z-line,\n1,"a polyp, on a stalk",polyps\n'
    )
    with open_queries(tmp_path / "words.csv") as queries:
        listed = [(query.name, query.text, query.class_name) for query in queries]
    assert listed == [("1", "a polyp, on a stalk", "polyps"), ("2", "z-line", None)]
    assert (queries.total, queries.classes) == (2, frozenset({"polyps"}))
    (tmp_path / "bad.csv").write_text("text;class\npolyp;a\npolyp;b\n")
    with pytest.raises(QueryListError, match="line 3: 'polyp' stands for two queries"):
        open_queries(tmp_path / "bad.csv")
    (tmp_path / "none.csv").write_text("text\n")
    with pytest.raises(QueryListError, match="the list holds no queries"):
        open_queries(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("class,text\na,\n")
    with pytest.raises(QueryListError, match="line 2: expected words in the column text"):
        open_queries(tmp_path / "empty.csv")
