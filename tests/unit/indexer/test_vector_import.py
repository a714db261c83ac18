"""Embeddings of others: what can be imported, and what is refused before anything is stored."""

from __future__ import annotations

import io
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from indexer import vector_import
from indexer.vector_file import VectorFileError, open_vectors
from indexer.vector_import import Import, VectorsFitError, import_vectors, named_space
from indexer.vector_table import VectorTable, VectorTableError, read_vector_table
from indexer.verification import check
from retrieval.collection import Collection, CollectionWriter
from retrieval.errors import TableError
from retrieval.export import export
from retrieval.names import nfc

RANDOM = np.random.default_rng(5)


def unit(count: int, dimension: int = 6) -> NDArray[np.float32]:
    vectors = RANDOM.standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def saved(path: Path, array: Any, **options: Any) -> Path:
    np.save(path, array, **options)
    return path


def stored(path: Path, array: NDArray[Any], table: VectorTable | str, space: str = "s") -> Import:
    """Import an array with a table, which may be given as the text of a CSV file."""
    if isinstance(table, str):
        csv = path.with_suffix(".csv")
        csv.write_text(table, "utf-8")
        table = read_vector_table(csv)
    with CollectionWriter(path, create=True) as writer:
        return import_vectors(writer, array, table, named_space(space))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_type_of_real_numbers_in_any_order_is_stored_at_unit_length(dtype: str, order: Any, tmp_path: Path) -> None:
    values = RANDOM.integers(1, 100, (5, 7)).astype(dtype, order=order)
    array = open_vectors(saved(tmp_path / "v.npy", values))
    done = stored(tmp_path / "c", array, VectorTable.of(list("abcde")))
    assert (done.added, done.scaled) == (5, 5)
    _, vectors = Collection.open(tmp_path / "c").vectors("s")
    wide = values.astype(np.float64)
    assert np.allclose(vectors, wide / np.linalg.norm(wide, axis=1, keepdims=True), atol=1e-7)


@pytest.mark.parametrize("length", [1e-300, 1e-44, 1e39, 1e300])
def test_rows_of_any_length_are_stored_with_their_direction(length: float, tmp_path: Path) -> None:
    directions = unit(4).astype(np.float64)
    assert stored(tmp_path / "c", length * directions, VectorTable.of(list("abcd"))).scaled == 4
    assert np.allclose(Collection.open(tmp_path / "c").vectors("s")[1], directions, rtol=0, atol=1e-7)


def test_rows_of_unit_length_are_stored_to_the_bit(tmp_path: Path) -> None:
    vectors = unit(300, 1280)
    assert stored(tmp_path / "c", vectors, VectorTable.of([str(n) for n in range(300)])).scaled == 0
    assert np.array_equal(Collection.open(tmp_path / "c").vectors("s")[1], vectors)


def cut_short(path: Path) -> None:
    saved(path, unit(9))
    path.write_bytes(path.read_bytes()[:-20])


def with_bad_header(path: Path) -> None:
    saved(path, unit(9))
    data = bytearray(path.read_bytes())
    data[12:40] = b"\xff" * 28
    path.write_bytes(data)


def archive(path: Path) -> None:
    out = io.BytesIO()
    np.savez(out, a=unit(2))
    path.write_bytes(out.getvalue())


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: saved(path, np.array([{}, None], object), allow_pickle=True), "array of numbers"),
        (lambda path: saved(path, np.array(["a", "b"])), "type <U1"),
        (lambda path: saved(path, np.zeros((2, 2), np.complex64)), "type complex64"),
        (lambda path: saved(path, np.zeros((2, 2), bool)), "type bool"),
        (lambda path: saved(path, np.zeros((2, 2), [("a", "f4")])), "not real numbers"),
        (lambda path: saved(path, unit(3)[0]), r"shape \(6,\)"),
        (lambda path: saved(path, np.zeros((2, 3, 4))), r"shape \(2, 3, 4\)"),
        (lambda path: saved(path, np.zeros((0, 4))), "is empty"),
        (lambda path: saved(path, np.zeros((4, 0))), "is empty"),
        (lambda path: path.write_bytes(b"\x80\x04]q."), "not a .npy file"),
        (lambda path: path.write_bytes(b""), "not a .npy file"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: None, "No such file"),
        (archive, "an .npz archive"),
        (cut_short, "cannot be read as an array"),
        (with_bad_header, "cannot be read as an array"),
    ],
)
def test_what_is_no_array_of_vectors_is_refused(write: Callable[[Path], Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    write(path)
    with pytest.raises(VectorFileError, match=reason):
        open_vectors(path)
    with pytest.raises(VectorFileError, match="web address"):
        open_vectors(Path("http://example.org/v.npy"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no column is known as the file"),
        ("a.jpg,polyps\nb.jpg,polyps\n", "line 1: no column is known as the file"),
        ("file,class\n", "no rows"),
        ("file,class\na.jpg,x\na.jpg,y\n", "lines 2 and 3: the file a.jpg stands there twice"),
        ("file,class\na.jpg,x\n,y\n", "line 3: the file is empty"),
        ("file,class\na.jpg\n", "line 2: 1 field, too few"),
        ("id,file\n1,a\n1,b\n", "lines 2 and 3: the id 1 stands there twice"),
        ("id,file\n-1,a\n", "the id '-1' is not a whole number"),
        ("id,file\n1.0,a\n", "the id '1.0' is not a whole number"),
        ("id,file\n99999999999,a\n", "too large for 1 image"),
        pytest.param(f"id,file\n{'9' * 5000},a\n", "line 2: the id 999.* is too large", id="an id of 5,000 digits"),
    ],
)
def test_a_table_that_does_not_say_what_each_row_is_of_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(VectorTableError, match=reason):
        read_vector_table(path)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("file\nä.jpg\n".encode("latin-1"))
    with pytest.raises(TableError, match="not UTF-8"):
        read_vector_table(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(TableError, match="spreadsheet"):
        read_vector_table(path)


def test_a_table_is_read_as_others_are(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sep=;\nFile Name; Label ;Split\n# a remark\n a.jpg ; polyps ;1\n\nb.jpg;;2\n")
    table = read_vector_table(path)
    assert table.files == ("a.jpg", "b.jpg")
    assert [table.class_of(0), table.class_of(1)] == ["polyps", None]
    assert (table.ids, table.clusters, table.scenes) == (None, None, None)
    assert table.lines is not None
    assert table.lines.tolist() == [4, 6]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (np.nan, "row 1 .line 3 of the table., b, has values that are not finite"),
        (np.inf, "row 1 .* not finite"),
        (0, "row 1 .* is zero, so it has no direction"),
    ],
)
def test_a_row_that_is_no_direction_is_told_and_nothing_is_stored(row: float, reason: str, tmp_path: Path) -> None:
    vectors = unit(3).astype(np.float64)
    vectors[1] = row
    with pytest.raises(VectorsFitError, match=reason):
        stored(tmp_path / "c", vectors, "file\na\nb\nc\n")
    assert not (tmp_path / "c").exists()
    stored(tmp_path / "c", unit(3), "file\na\nb\nc\n")
    with pytest.raises(VectorsFitError, match=reason):
        stored(tmp_path / "c", vectors, "file\na\nb\nc\n", "other")
    assert [space.name for space in Collection.open(tmp_path / "c").spaces] == ["s"]


def test_vectors_and_table_must_have_as_many_rows_and_the_space_its_dimension(tmp_path: Path) -> None:
    with pytest.raises(VectorsFitError, match="3 rows, the table 2"):
        stored(tmp_path / "c", unit(3), "file\na\nb\n")
    stored(tmp_path / "c", unit(2), "file\na\nb\n")
    with pytest.raises(VectorsFitError, match="vectors of 5 numbers, the space 's' of 6"):
        stored(tmp_path / "c", unit(2, 5), "file\na\nb\n")


def test_a_stored_image_of_another_class_or_vector_is_no_new_row(tmp_path: Path) -> None:
    vectors = unit(2)
    stored(tmp_path / "c", vectors, "file,class\na,x\nb,y\n")
    with pytest.raises(VectorsFitError, match=r"row 1 .* is stored as image 1 of y; .*remove .* 1`"):
        stored(tmp_path / "c", vectors, "file,class\na,x\nb,z\n")
    with pytest.raises(VectorsFitError, match=r"row 0 .* is stored as image 0 with another vector"):
        stored(tmp_path / "c", vectors[::-1], "file,class\na,x\nb,y\n")
    assert len(Collection.open(tmp_path / "c")) == 2


def test_an_id_that_was_given_does_not_come_back(tmp_path: Path) -> None:
    vectors = unit(4)
    assert stored(tmp_path / "c", vectors[:2], "id,file\n7,a\n3,b\n").renumbered == 0
    assert Collection.open(tmp_path / "c").images.files == ("b", "a")
    assert np.array_equal(Collection.open(tmp_path / "c").vector("s", 7), vectors[0])
    done = stored(tmp_path / "c", vectors, "id,file\n7,a\n3,b\n5,c\n12,d\n")
    assert (done.added, done.unchanged, done.renumbered) == (2, 2, 1)
    images = Collection.open(tmp_path / "c").images
    assert dict(zip(images.files, images.ids.tolist(), strict=True)) == {"b": 3, "a": 7, "d": 12, "c": 13}
    assert np.array_equal(Collection.open(tmp_path / "c").vector("s", 13), vectors[2])


def test_a_second_space_completes_the_images_of_the_same_files_and_clusters_come_from_tables(tmp_path: Path) -> None:
    stored(tmp_path / "c", unit(3), "file,cluster\na,0\nb,\nc,\n")
    done = stored(tmp_path / "c", unit(3, 4), "file,cluster\nb,k\nd,k\nc,x\n", "other")
    assert (done.added, done.completed, done.clusters) == (1, 2, 1)
    collection = Collection.open(tmp_path / "c")
    assert collection.ids("other").tolist() == [1, 2, 3]
    assert collection.images.clusters.tolist() == [0, 1, 2, 1]
    assert [(s.name, s.kind, s.dimension) for s in collection.spaces] == [
        ("s", "imported", 6),
        ("other", "imported", 4),
    ]


def test_an_import_that_was_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_import, "_BLOCK", 2)
    vectors, table = unit(7), VectorTable.of(list("abcdefg"))
    rows = 0

    def stop(count: int) -> None:
        nonlocal rows
        rows += count
        if rows > 7 + 4:  # all are checked, then four are stored
            raise KeyboardInterrupt

    with CollectionWriter(tmp_path / "c", create=True) as writer, pytest.raises(KeyboardInterrupt):
        import_vectors(writer, vectors, table, named_space("s"), on_progress=stop)
    assert len(Collection.open(tmp_path / "c")) == 6
    done = stored(tmp_path / "c", vectors, table)
    assert (done.added, done.unchanged) == (1, 6)
    assert np.array_equal(Collection.open(tmp_path / "c").vectors("s")[1], vectors)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
ODD = st.sampled_from(
    ["a,b", 'a"b', "a\nb", "a\r\nb", "a\rb", " a ", "#a", "e\u0301.jpg", "'", ";", "=1+1", "\t", "\u2028", "\ufeffa"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(NAMES | ODD, min_size=1, max_size=6, unique=True),
    classes=st.lists(st.none() | NAMES | ODD, min_size=6, max_size=6),
)
def test_any_name_survives_export_and_import(files: list[str], classes: list[str | None], tmp_path: Path) -> None:
    for name in ("a", "b", "a.csv", "out"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    vectors = unit(len(files))
    stored(tmp_path / "a", vectors, VectorTable.of(files, [name and nfc(name) for name in classes[: len(files)]]))
    before = Collection.open(tmp_path / "a")
    export(before, tmp_path / "out", parquet=False)
    table = read_vector_table(tmp_path / "out" / "s.csv")
    stored(tmp_path / "b", open_vectors(tmp_path / "out" / "s.npy"), table)
    after = Collection.open(tmp_path / "b")
    assert after.images.files == before.images.files == tuple(files)
    assert [after.class_of(at) for at in range(len(files))] == [before.class_of(at) for at in range(len(files))]
    assert np.array_equal(after.vectors("s")[1], vectors)


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VectorTableError, match=r"'\\udcff.jpg' is not text"):
        stored(tmp_path / "c", unit(1), VectorTable.of([b"\xff.jpg".decode(errors="surrogateescape")]))


def test_memory_hardly_grows_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_import, "_BLOCK", 128)
    for module in ("reading", "writing"):
        monkeypatch.setattr(f"retrieval.collection.{module}.COLUMNS_FROM", 100)
    for module in ("retrieval.collection.images", "indexer.verification"):
        monkeypatch.setattr(f"{module}._BLOCK", 128)

    def peaks(count: int) -> tuple[int, int]:
        """Bytes that importing rows and then checking all takes at most."""
        path = tmp_path / str(count)
        csv = path.with_suffix(".csv")
        csv.write_text("file,class\n" + "".join(f"{row:08d}.jpg,class {row % 5}\n" for row in range(count)))
        array = open_vectors(saved(path.with_suffix(".npy"), unit(count, 64)))
        tracemalloc.start()
        stored(path, array, read_vector_table(csv))
        imported = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert check(path) == []
        checked = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return imported, checked

    peaks(100)  # what is imported and cached at first use
    few, many = np.array(peaks(500)), np.array(peaks(2500))
    assert ((many - few) / 2000 < 128).all(), (many - few) / 2000  # a vector alone has 256 bytes, a row of Python 1,000


def test_scenes_come_from_tables_and_have_whole_clusters(tmp_path: Path) -> None:
    stored(tmp_path / "c", unit(5), "file,cluster,scene\na,0,s\nb,1,s\nc,1,\nd,3,t\ne,4,\n")
    images = Collection.open(tmp_path / "c").images
    assert images.clusters.tolist() == [0, 1, 1, 3, 4]
    assert images.scenes.tolist() == [0, 0, 0, 3, 4]
