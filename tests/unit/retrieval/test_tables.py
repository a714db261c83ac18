from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.tables import UnreadableTableError, headings, rows_of


def rows(tmp_path: Path, data: str | bytes, separator: str | None = None) -> list[tuple[int, list[str]]]:
    path = tmp_path / "t.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(rows_of(path, separator))


@pytest.mark.parametrize(
    "data",
    [
        "a.jpg,polyps\nb.jpg,cecum\n",
        "a.jpg;polyps\r\nb.jpg;cecum\r\n",
        "a.jpg\tpolyps\nb.jpg\tcecum",
        "a.jpg|polyps\rb.jpg|cecum\r",
        '\ufeff"a.jpg" , polyps\n"b.jpg",cecum\n',
        "a.jpg,polyps\nb.jpg,cecum\n".encode("utf-16"),
        b"\xfe\xff" + "a.jpg\tpolyps\nb.jpg\tcecum\n".encode("utf-16-be"),
    ],
)
def test_separators_line_ends_and_byte_order_marks_are_free(tmp_path: Path, data: str | bytes) -> None:
    assert [row for _, row in rows(tmp_path, data)] == [["a.jpg", "polyps"], ["b.jpg", "cecum"]]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "# by hand\nsep=;"])
def test_a_first_line_may_state_the_separator(tmp_path: Path, line: str) -> None:
    found = rows(tmp_path, f"{line}\na, with a comma.jpg;polyps\n")
    assert [row for _, row in found] == [["a, with a comma.jpg", "polyps"]]
    assert found[0][0] == 2 + line.count("\n")


def test_comments_and_empty_lines_are_skipped_and_line_numbers_are_the_file_s(tmp_path: Path) -> None:
    assert rows(tmp_path, "# two\n\na,b\n,\n# three\n\nc,d\n") == [(3, ["a", "b"]), (7, ["c", "d"])]
    path = tmp_path / "t.csv"
    path.write_text("#1.jpg,x\n#2.jpg,y\n")
    assert [row for _, row in rows_of(path, None, lambda field: field.startswith("#2"))] == [["#2.jpg", "y"]]


def test_an_empty_separator_keeps_lines_whole(tmp_path: Path) -> None:
    assert rows(tmp_path, 'a, b.jpg\n"c;d.jpg"\n', "") == [(1, ["a, b.jpg"]), (2, ['"c;d.jpg"'])]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"caf\xe9.jpg,x\n", "not UTF-8 text .* save the table as UTF-8"),
        (b"PK\x03\x04xl/", "a zip or a spreadsheet, not text; save the table as CSV"),
        (b"a\0b,c\nd,e\n" * 2 + b"\xff", "not UTF-8|cannot be read"),
        ("file;class\nq.jpg;polyps\n".encode("utf-16-be"), "perhaps UTF-16; save the table as UTF-8"),
    ],
)
def test_what_is_no_text_is_told_with_the_remedy(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(UnreadableTableError, match=said):
        rows(tmp_path, data)
    with pytest.raises(UnreadableTableError, match="cannot be read"):
        list(rows_of(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(
    ("row", "places"),
    [
        (["file-name", "class-name", "split-index"], {"file": 0, "class": 1, "split": 2}),
        (["Image Name", "Finding"], {"file": 0, "class": 1}),
        (["label", "filename"], {"class": 0, "file": 1}),
        (["qid", "image_path", "diagnosis"], {"id": 0, "file": 1, "class": 2}),
        (["photo", "finding"], {"file": 0, "class": 1}),
        (["filename", "colour"], {"file": 0}),
        (["a.jpg", "polyps"], None),
        (["finding"], None),
    ],
)
def test_headings_name_their_columns(row: list[str], places: dict[str, int] | None) -> None:
    assert headings(row) == places
