from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from retrieval.tables import UnreadableTableError, csv_rows, headings, rows_of


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


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "# by hand\nsep=;", "sep=;;", '"sep=;";;', "sep= ;"])
def test_a_first_line_may_state_the_separator(tmp_path: Path, line: str) -> None:
    found = rows(tmp_path, f"{line}\na, with a comma.jpg;polyps\n")
    assert [row for _, row in found] == [["a, with a comma.jpg", "polyps"]]
    assert found[0][0] == 2 + line.count("\n")


@pytest.mark.parametrize("line", ["sep=\t", "sep=\\t", "sep=\t\t", '"sep=\t"'])
def test_a_first_line_may_state_a_tab(tmp_path: Path, line: str) -> None:
    assert rows(tmp_path, f"{line}\r\na,b.jpg\tpolyps\r\n") == [(2, ["a,b.jpg", "polyps"])]


@pytest.mark.parametrize("line", ["sep=", '"sep="', "sep= ", 'sep=""'])
def test_a_first_line_that_states_no_separator_leaves_it_to_be_detected(tmp_path: Path, line: str) -> None:
    assert rows(tmp_path, f"{line}\na.jpg;polyps\n") == [(2, ["a.jpg", "polyps"])]


@pytest.mark.parametrize("line", ["sep=;,", "sep=comma", "sep=a"])
def test_a_separator_of_several_characters_is_an_error_with_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(UnreadableTableError, match=rf"t\.csv, line 2: {line} states no separator; give one character"):
        rows(tmp_path, f"# by hand\n{line}\na.jpg;polyps\n")


@pytest.mark.parametrize("end", ["", "\n", "\nc.jpg,x\nd.jpg,y\n", "\n" + "c.jpg,x\n" * 20_000])
def test_a_quotation_mark_that_is_not_closed_is_an_error_with_its_line(tmp_path: Path, end: str) -> None:
    with pytest.raises(UnreadableTableError, match=r"t\.csv, line 4: .*a quotation mark (is )?not closed"):
        rows(tmp_path, f'# one\nsep=,\n"a.jpg",polyps\n"b.jpg,cecum{end}')


def test_a_quoted_field_of_several_lines_is_one_field_and_a_row_has_the_number_of_its_first_line(
    tmp_path: Path,
) -> None:
    text = 'a.jpg,polyps,"large,\nflat"\nb.jpg,cecum,"5"" wide"\n'
    assert rows(tmp_path, text) == [(1, ["a.jpg", "polyps", "large,\nflat"]), (3, ["b.jpg", "cecum", '5" wide'])]


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


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("polyps", "polyps"),
        ("-3.5", "-3.5"),
        ("+1e5", "+1e5"),
        (r"a\b", r"a\b"),
        ("=1+1", "'=1+1"),
        ("+2+3", "'+2+3"),
        ("-3-1", "'-3-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("=a\\b", "'=a\\\\b"),
        ("\tx", "'\\tx"),
        ("red\x1b[31m\x07", "'red\\x1b[31m\\x07"),
        ("two\r\nlines", "'two\\r\\nlines"),
        ("a\u2028b", "'a\\u2028b"),
        ("'quoted'", "''quoted'"),
        ("'", "''"),
        ("'a\\n", "''a\\\\n"),
    ],
)
def test_a_cell_is_no_formula_and_is_read_back_as_it_was(tmp_path: Path, text: str, cell: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(csv_rows([("file", "class"), ("x", text)]), "utf-8")
    with path.open(newline="", encoding="utf-8") as lines:
        assert list(csv.reader(lines))[1] == ["x", cell]
    assert [row for _, row in rows_of(path, strip=False)][1] == ["x", text]


@pytest.mark.parametrize("text", ["'tis", "'", "O'Neil", "'a\\b", "'x"])
def test_an_apostrophe_that_is_no_mark_is_read_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{text},polyps\n", "utf-8")
    assert next(rows_of(path))[1] == [text, "polyps"]


def test_numbers_stay_numbers() -> None:
    rows = [(-1, -0.5, np.float64(-0.25), np.int64(-2), None, math.nan)]
    assert csv_rows(rows) == "-1,-0.5,-0.25,-2,,nan\n"
    assert csv_rows([(1, " x ")], quote_texts=True) == '1," x "\n'
