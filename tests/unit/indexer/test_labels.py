from __future__ import annotations

from pathlib import Path

import pytest

from indexer.datasets.labels import (
    ClassMap,
    ClassMapError,
    LabelTableError,
    class_notes,
    labels_from_table,
    map_to_collection,
    parse_class_map,
    synonym_among,
)
from indexer.datasets.official import HYPERKVASIR, KVASIR_CLASSES

FILES = ["a.jpg", "b.PNG", "sub/c.jpg", "sub/de\u0301.v2.jpg"]


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,polyps\nb.PNG,cecum\nsub/c.jpg,polyps\nsub/dé.v2.jpg,z-line\n",
        "file;class\n.\\a.jpg;polyps\nb.PNG;cecum\nsub\\c.jpg;polyps\ndé.v2.jpg;z-line\n",
        "image,split,finding\na,train,polyps\nb,test,cecum\nc,train,polyps\ndé.v2,test,z-line\n",
        "class,filename\npolyps,a.jpeg\ncecum,b.jpg\npolyps,c.png\nz-line,dé.v2.png\n",  # converted since
    ],
)
def test_classes_come_from_a_table_by_path_name_or_stem(tmp_path: Path, text: str) -> None:
    names, notes = labels_from_table(table(tmp_path, text), FILES)
    assert names == ["polyps", "cecum", "polyps", "z-line"]
    assert notes == ["classes from labels.csv: 4 pictures"]


def test_pictures_without_a_row_and_rows_without_a_picture_are_told(tmp_path: Path) -> None:
    names, notes = labels_from_table(table(tmp_path, "a.jpg,polyps\nx.jpg,cecum\na.jpg,polyps\nc.jpg,\n"), FILES)
    assert names == ["polyps", None, None, None]
    assert notes[1:] == [
        "files of labels.csv that are not here: 1, the first x.jpg",
        "pictures that labels.csv does not name, left without a class: 2",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.jpg,polyps\nb.PNG,x\na.jpg,cecum\n", "lines 1 and 3: a.jpg is of two classes, polyps and cecum"),
        ("x.jpg,polyps\n", "none of its 1 file, such as x.jpg is in the data set"),
        ("a.jpg,polyps\nb.PNG\n", "line 2: expected a file and a class, not 'b.PNG'"),
        ("file,colour\na.jpg,red\n", "no column is known as the class among file, colour"),
        ("file,class\n", "holds no labels"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LabelTableError, match=said):
        labels_from_table(table(tmp_path, text), FILES)


@pytest.mark.parametrize("prefix", ["/home/me/kvasir/", "D:\\kvasir\\", "kvasir/", ""])
def test_of_several_pictures_with_one_name_the_folders_before_it_decide(tmp_path: Path, prefix: str) -> None:
    text = f"{prefix}polyps/1.jpg,a\n{prefix}cecum/1.jpg,b\n"
    assert labels_from_table(table(tmp_path, text), ["cecum/1.jpg", "polyps/1.jpg"])[0] == ["b", "a"]
    deeper = ["set/cecum/1.jpg", "set/polyps/1.jpg"]
    if not prefix:
        assert labels_from_table(table(tmp_path, text), deeper)[0] == ["b", "a"]


def test_a_name_that_several_pictures_have_needs_its_path(tmp_path: Path) -> None:
    files = ["x/a.jpg", "y/a.jpg"]
    with pytest.raises(LabelTableError, match=r"line 1: a\.jpg may be x/a\.jpg or y/a\.jpg; give the whole path"):
        labels_from_table(table(tmp_path, "a.jpg,polyps\n"), files)
    assert labels_from_table(table(tmp_path, "y/a.jpg,polyps\n"), files)[0] == [None, "polyps"]


# Maps


def test_a_file_of_another_folder_is_matched_by_name_only_with_a_word(tmp_path: Path) -> None:
    text = "cohort-b/1.jpg,polyps\ncohort-b/x,cecum\n"
    names, notes = labels_from_table(table(tmp_path, text), ["cohort-a/1.jpg", "cohort-a/x.png"])
    assert names == ["polyps", "cecum"]
    assert notes == [
        "classes from labels.csv: 2 pictures",
        "files of labels.csv in other folders, matched by name alone: 2, the first cohort-b/1.jpg as cohort-a/1.jpg",
    ]


@pytest.mark.parametrize(
    "file", ["1.jpg", "cohort-a/1.jpg", "/data/set/cohort-a/1.jpg", ".\\cohort-a\\1", "cohort-a/1.png"]
)
def test_a_file_whose_folders_are_the_end_of_the_picture_s_is_meant(tmp_path: Path, file: str) -> None:
    names, notes = labels_from_table(table(tmp_path, f"{file},polyps\n"), ["set/cohort-a/1.jpg"])
    assert (names, len(notes)) == (["polyps"], 1)


def test_a_row_of_another_cohort_never_decides_over_one_of_the_picture_s_own(tmp_path: Path) -> None:
    text = "cohort-b/1.jpg,cecum\ncohort-a/1.jpg,polyps\ncohort-c/2.jpg,z-line\n"
    names, notes = labels_from_table(table(tmp_path, text), ["cohort-a/1.jpg", "x/2.jpg", "y/2.jpg"])
    assert names == ["polyps", None, None]
    assert notes[1:] == [
        "files of labels.csv that are not here: 2, the first cohort-c/2.jpg",
        "pictures that labels.csv does not name, left without a class: 2",
    ]
    with pytest.raises(LabelTableError, match=r"lines 1 and 2: c/1\.jpg is of two classes, cecum and polyps"):
        labels_from_table(table(tmp_path, "b/1.jpg,cecum\nc/1.jpg,polyps\n"), ["cohort-a/1.jpg"])


def test_a_map_is_read_from_pairs_and_tables(tmp_path: Path) -> None:
    path = table(tmp_path, "old,new\ne\u0301,f\ng,\n")
    assert parse_class_map([]) is None
    stated = parse_class_map(["a=b, c=d", str(path), "known"], ["polyps"])
    assert stated == ClassMap({"a": "b", "c": "d", "é": "f", "g": None}, frozenset({"polyps"}))
    names, notes = stated.apply(["a", "a", "g", "polyp", "z", None])
    assert names == ["b", "b", None, "polyps", "z", None]
    assert notes == [
        "class a counted as b: 2 pictures",
        "class g counted as no class: 1 picture",
        "class polyp counted as polyps: 1 picture",
        "classes that the map names and that nothing has: c, é",
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["nosuch.csv"], "neither OLD=NEW nor a table that exists"),
        (["a=b,c"], "expected OLD=NEW"),
        (["=b"], "expected OLD=NEW"),
        (["a=b", "a=c"], "the class a is mapped to b already"),
    ],
)
def test_a_map_that_cannot_be_meant_is_refused(values: list[str], said: str) -> None:
    with pytest.raises(ClassMapError, match=said):
        parse_class_map(values)


def test_pairs_may_be_longer_than_a_files_name() -> None:
    pairs = [f"class-{number}=finding-{number}" for number in range(300)]
    class_map = parse_class_map([",".join(pairs)])
    assert class_map is not None
    assert class_map.get("class-299") == "finding-299"


def test_queries_of_hyperkvasir_count_as_kvasirs_classes_where_they_show_the_same() -> None:
    mapped = map_to_collection(None, KVASIR_CLASSES).changes(HYPERKVASIR)
    assert mapped == {
        "cecum": "normal-cecum",
        "pylorus": "normal-pylorus",
        "z-line": "normal-z-line",
        "esophagitis-a": "esophagitis",
        "esophagitis-b-d": "esophagitis",
        **{f"ulcerative-colitis-grade-{grade}": "ulcerative-colitis" for grade in ("0-1", "1", "1-2", "2", "2-3", "3")},
    }


def test_a_general_class_is_not_counted_as_a_part_of_it() -> None:
    assert synonym_among("esophagitis", HYPERKVASIR) is None
    assert synonym_among("normal-cecum", HYPERKVASIR) == "cecum"
    assert synonym_among("barretts-short-segment", {"barrets"}) == "barrets"
    assert map_to_collection(None, ["esophagitis-a", "esophagitis"]).changes(["esophagitis-a"]) == {}


def test_a_stated_map_goes_before_synonyms_and_must_lead_to_a_class_that_is_there() -> None:
    stated = parse_class_map(["cecum=cecum,polyp=esophagitis,x="])
    assert map_to_collection(stated, KVASIR_CLASSES).changes(["cecum", "polyp", "x", "pylorus"]) == {
        "polyp": "esophagitis",
        "x": None,
        "pylorus": "normal-pylorus",
    }
    with pytest.raises(ClassMapError, match=r"has no class normal-cekum \(did you mean normal-cecum\?\)"):
        map_to_collection(parse_class_map(["cecum=normal-cekum"]), KVASIR_CLASSES)


def test_classes_that_join_others_of_nearly_their_name_are_told() -> None:
    assert class_notes(["Polyps", "cecum"], ["polyps", "normal-cecum"]) == [
        "classes that differ only in spelling from the collection's: Polyps, polyps",
        "classes that the collection has under other names: cecum (normal-cecum); `--map known` counts them as one",
    ]
    assert class_notes(["polyps"], ["polyps", "normal-cecum"]) == []
    assert class_notes(["Polyps", "polyps"], []) == []  # told by the data set's own report
