"""An export: its files, what it replaces, and what a failure leaves."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from retrieval import export as module
from retrieval.collection import Collection, CollectionWriter, DamagedVectorError, NewImage
from retrieval.command_line import kvasir
from retrieval.disk import DiskFullError
from retrieval.export import ExportPlaceError, ParquetError, export, is_export

VECTORS = np.eye(5, 3, dtype=np.float32) + np.float32(1)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


@pytest.fixture
def collection(tmp_path: Path, vector_collection: Callable[..., Path]) -> Collection:
    """Five images in the space `a`, three of them in `b`; image 1 was removed."""
    path = vector_collection(tmp_path / "c", {"a": VECTORS, "b": VECTORS[:4, :2]}, ["x", None, "y", "x", "y"])
    with CollectionWriter(path) as writer:
        writer.remove([1])
        writer.set_clusters({3: 2}, {})
    return Collection.open(path)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_space_has_its_vectors_and_their_images(collection: Collection, tmp_path: Path) -> None:
    done = export(collection, tmp_path / "out", parquet=False)
    assert tree(tmp_path / "out") == ["a.csv", "a.npy", "b.csv", "b.npy", "export.json"]
    assert [(space.name, space.images, space.dimension) for space in done.spaces] == [("a", 4, 3), ("b", 3, 2)]
    assert np.array_equal(np.load(tmp_path / "out" / "a.npy"), VECTORS[[0, 2, 3, 4]])
    assert np.array_equal(np.load(tmp_path / "out" / "b.npy"), collection.vectors("b")[1])
    with (tmp_path / "out" / "b.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["id", "file", "class", "cluster", "scene"],
            ["0", "0", "x", "0", "0"],
            ["2", "2", "y", "2", "2"],
            ["3", "3", "x", "2", "2"],
        ]
    stated = json.loads((tmp_path / "out" / "export.json").read_text())
    assert [space["recipe"] for space in stated["spaces"]] == [space.recipe for space in collection.spaces]


def test_parquet_has_table_and_vectors(collection: Collection, tmp_path: Path) -> None:
    from pyarrow import parquet

    export(collection, tmp_path / "out", ["A"])
    table = parquet.read_table(tmp_path / "out" / "a.parquet")
    assert table.column_names == ["id", "file", "class", "cluster", "scene", "vector"]
    assert table["id"].to_pylist() == [0, 2, 3, 4]
    assert table["class"].to_pylist() == ["x", "y", "x", "y"]
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), VECTORS[[0, 2, 3, 4]])


def test_without_pyarrow_parquet_is_refused_only_where_it_is_asked_for(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ParquetError, match="pip install"):
        export(collection, tmp_path / "out", parquet=True)
    assert export(collection, tmp_path / "out").spaces[0].parquet is None


def test_a_file_of_two_folders_is_named_by_its_whole_path(tmp_path: Path) -> None:
    with CollectionWriter(tmp_path / "c", create=True) as writer:
        writer.add_space("s", "imported", 4, "cosine", {})
        for folder in ("one", "two"):
            source = writer.source(tmp_path / folder, "folder")
            digest = folder.encode().ljust(32)
            writer.append([NewImage(source, "x.jpg", None, 9, 9, 1, 0, digest, {"s": np.ones(4, np.float32) / 2})])
    export(Collection.open(tmp_path / "c"), tmp_path / "out", parquet=False)
    lines = (tmp_path / "out" / "s.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == [f'"{tmp_path}/{name}/x.jpg"' for name in ("one", "two")]


def test_an_earlier_export_is_replaced_and_other_folders_are_not(collection: Collection, tmp_path: Path) -> None:
    export(collection, tmp_path / "out", parquet=False)
    export(collection, tmp_path / "out", ["b"], parquet=False)
    assert tree(tmp_path / "out") == ["b.csv", "b.npy", "export.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportPlaceError, match="not an earlier export"):
        export(collection, tmp_path / "mine")
    assert tree(tmp_path / "mine") == ["thesis.txt"]
    export(collection, tmp_path / "mine", parquet=False, overwrite=True)
    assert is_export(tmp_path / "mine")
    for place in (collection.path, tmp_path):
        with pytest.raises(ExportPlaceError, match="is or holds a collection"):
            export(collection, place, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(ExportPlaceError, match="is a file"):
        export(collection, tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "file", "mine", "out"]


def test_a_failure_leaves_the_earlier_export_and_nothing_else(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(collection, tmp_path / "out", ["b"], parquet=False)
    before = tree(tmp_path / "out")

    def full(rows: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskFullError, match=r"out.*no space left"):
        export(collection, tmp_path / "out", on_progress=full)
    vectors = collection.path / "vectors" / "a.float32"
    vectors.write_bytes(bytes(vectors.stat().st_size))
    with pytest.raises(DamagedVectorError, match="verify --repair"):
        export(Collection.open(collection.path), tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "out"]


def test_an_export_that_was_stopped_at_any_moment_is_completed_by_the_next(
    collection: Collection, tmp_path: Path
) -> None:
    for stopped in ("out.new", "out.earlier"):
        export(collection, tmp_path / stopped, ["b"], parquet=False)
    export(collection, tmp_path / "out", parquet=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "out"]
    (tmp_path / "out.new").mkdir()
    (tmp_path / "out.new" / "export.json.new").touch()  # of one that was stopped at once
    export(collection, tmp_path / "out")
    assert not (tmp_path / "out.new").exists()
    (tmp_path / "out.new").mkdir()
    (tmp_path / "out.new" / "thesis.txt").touch()
    with pytest.raises(ExportPlaceError, match=r"out\.new is not an earlier export"):
        export(collection, tmp_path / "out")


def test_the_command_says_what_it_wrote(collection: Collection, tmp_path: Path) -> None:
    arguments = ["export", str(collection.path), str(tmp_path / "out"), "--space", "b,a", "--no-parquet"]
    told = CliRunner().invoke(kvasir, arguments, catch_exceptions=False)
    assert "b.npy, b.csv: 3 vectors of 2 numbers, cosine distance" in told.stdout
    told = CliRunner().invoke(kvasir, [*arguments, "--json"], catch_exceptions=False)
    assert [space["name"] for space in json.loads(told.stdout)["spaces"]] == ["b", "a"]
