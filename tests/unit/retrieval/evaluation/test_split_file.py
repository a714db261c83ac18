from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.evaluation.split_file import SplitFileError, split_from_file

FILES = ["polyps/a.jpg", "polyps/b.jpg", "cecum/c.jpg", "cecum/d.jpg", "cecum/e.jpg"]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "split.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_test_queries_train(tmp_path: Path) -> None:
    path = written(tmp_path, "file,split\npolyps/a.jpg,test\npolyps/b.jpg,train\ncecum/c.jpg,train\ncecum/d.jpg,val\n")
    protocol = split_from_file(path, FILES)
    assert protocol.rounds[0].queries.tolist() == [0]
    assert protocol.rounds[0].gallery.tolist() == [1, 2]
    assert "test part queries the training part, as split.csv (SHA-256 " in protocol.sentence
    assert "2 images take no part, and 0 of the file's are not here" in protocol.sentence


def test_official_hyperkvasir_files_are_folds_matched_by_name(tmp_path: Path) -> None:
    path = written(
        tmp_path, "file-name;class-name;split-index\na.jpg;polyps;0\nb.jpg;polyps;1\nc.jpg;cecum;1\nz.jpg;cecum;0\n"
    )
    protocol = split_from_file(path, FILES)
    assert [(one.queries.tolist(), one.gallery.tolist()) for one in protocol.rounds] == [([0], [1, 2]), ([1, 2], [0])]
    assert "each of 2 folds queries the other ones" in protocol.sentence
    assert "and 1 of the file's are not here" in protocol.sentence


def test_a_name_that_two_classes_have_needs_its_path(tmp_path: Path) -> None:
    files = ["polyps/a.jpg", "cecum/a.jpg"]
    with pytest.raises(SplitFileError, match="give the whole path"):
        split_from_file(written(tmp_path, "file,split\na.jpg,test\n"), files)
    by_path = written(tmp_path, "file,split\npolyps/a.jpg,test\ncecum/a.jpg,train\n")
    assert split_from_file(by_path, files).rounds[0].queries.tolist() == [0]


def test_windows_paths_and_a_byte_order_mark_are_no_matter(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufefffile,split\npolyps\\a.jpg,TEST\n.\\polyps\\b.jpg,Train\n")
    assert split_from_file(path, FILES).rounds[0].queries.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,test\n", "must name the columns"),
        ("", "must name the columns"),
        ("file,split\nnobody.jpg,test\n", "none of its 1 files"),
        ("file,split\na.jpg,test\nb.jpg,test\n", "needs both"),
        ("file,split\na.jpg,\nb.jpg,\n", "has a part"),
        ("file,split\na.jpg,\u00b2\nb.jpg,1\n", "needs both"),
        ("file,split\na.jpg,1\nb.jpg,1\n", "nothing to search"),
        ("file,split\na.jpg,test\na.jpg,train\n", "lines 2 and 3: a.jpg is in two parts"),
        ("file,split\na.jpg\n", "line 2: too few columns"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SplitFileError, match=message):
        split_from_file(written(tmp_path, text), FILES)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SplitFileError, match="cannot be read"):
        split_from_file(tmp_path / "none.csv", FILES)


@pytest.mark.parametrize(
    "text",
    [
        "# by hand\nsep=;\nFile Name;Split\na.jpg;test\nb.jpg;train\n",
        "fold\tfile\n0\ta.jpg\n1\tb.jpg\n",
        "image,label,split index\nA/../polyps/a.jpg,x,0\npolyps/b.jpg,y,1\n",
    ],
)
def test_a_split_file_may_be_written_as_other_tables_are(tmp_path: Path, text: str) -> None:
    protocol = split_from_file(written(tmp_path, text), FILES)
    assert protocol.rounds[0].queries.tolist() == [0]


def test_a_file_is_matched_whatever_the_unicode_form_of_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, "file,split\nse\u0301ve\u0300re/a.jpg,test\nb\u00e9.jpg,train\n")
    files = ["s\u00e9v\u00e8re/a.jpg", "x/be\u0301.jpg"]
    assert split_from_file(path, files).rounds[0].queries.tolist() == [0]
