from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from retrieval.collection import FormatError, SpaceDefinition
from retrieval.collection.vectors import GatheredVectors, StoredRows, VectorFile, vectors_path

SPACE = SpaceDefinition("s", 0, "encoder", 3, "float32", "cosine", {})


def vector(row: int) -> list[float]:
    return [row, row + 0.25, row + 0.5]


def append(collection: Path, rows: range) -> None:
    file = VectorFile(collection, SPACE)
    for row in rows:
        file.put(row, [np.array(vector(row), np.float32)])
    file.close()


def taken(stored: StoredRows, *ids: int) -> list[list[float]]:
    return np.asarray(stored.take(np.array(ids, np.int64))).tolist()


def test_rows_that_are_appended_are_seen_with_the_earlier_ones(tmp_path: Path) -> None:
    append(tmp_path, range(40))
    stored = StoredRows(tmp_path, SPACE)
    assert taken(stored, 3, 1, 39) == [vector(3), vector(1), vector(39)]
    for start, end in ((40, 41), (41, 44), (44, 47), (47, 200)):  # few, and then more than an eighth
        append(tmp_path, range(start, end))
        assert taken(stored, end - 1) == [vector(end - 1)]
        assert taken(stored, end - 1, 2, 38) == [vector(end - 1), vector(2), vector(38)]
        assert stored.row(end - 1).tolist() == vector(end - 1)
    everything = list(range(200))
    assert taken(stored, *everything) == [vector(row) for row in everything]
    assert taken(stored, *everything[::-7]) == [vector(row) for row in everything[::-7]]
    assert taken(stored) == []


def test_earlier_rows_stay_mapped_where_few_are_appended(tmp_path: Path) -> None:
    append(tmp_path, range(40))
    stored = StoredRows(tmp_path, SPACE)
    before = stored.take(np.arange(40))
    append(tmp_path, range(40, 42))
    taken(stored, 41, 0)
    assert np.shares_memory(stored.take(np.arange(40)), before)


def test_consecutive_rows_are_a_view(tmp_path: Path) -> None:
    append(tmp_path, range(40))
    stored = StoredRows(tmp_path, SPACE)
    taken(stored, 39)
    append(tmp_path, range(40, 43))
    for ids in (np.arange(5, 40), np.arange(40, 43), np.arange(38, 43)):
        rows = stored.take(ids)
        assert rows.base is not None
        assert rows.tolist() == [vector(int(row)) for row in ids]


def test_a_file_that_lacks_a_row_is_told(tmp_path: Path) -> None:
    stored = StoredRows(tmp_path, SPACE)
    with pytest.raises(FormatError, match="verify --repair"):
        stored.row(0)
    append(tmp_path, range(4))
    assert stored.row(3).tolist() == vector(3)
    with pytest.raises(FormatError, match="verify --repair"):
        taken(stored, 0, 9)
    vectors_path(tmp_path, SPACE).write_bytes(b"1234")
    with pytest.raises(FormatError, match="verify --repair"):
        taken(StoredRows(tmp_path, SPACE), 0)


def test_rows_are_read_where_they_lie_unless_some_were_appended(tmp_path: Path) -> None:
    append(tmp_path, range(40))
    stored = StoredRows(tmp_path, SPACE)
    taken(stored, 39)
    array = stored.mapped(np.array([3, 38]))
    assert array is not None
    assert array[[3, 38]].tolist() == [vector(3), vector(38)]
    append(tmp_path, range(40, 42))
    assert stored.mapped(np.array([3, 41])) is None


def test_vectors_between_which_others_were_removed_are_read_as_they_are_indexed(tmp_path: Path) -> None:
    append(tmp_path, range(3000))
    rows = StoredRows(tmp_path, SPACE)
    ids = np.delete(np.arange(3000), [1, 77, 2500])
    gathered, whole = GatheredVectors(rows, ids), rows.take(ids)
    assert (gathered.shape, gathered.dtype, len(gathered), gathered.nbytes) == ((2997, 3), np.float32, 2997, 35964)
    for index in (5, -1, slice(70, 90), slice(None, None, -7), [3, 1], np.array([[1, 2], [3, 4]]), ids > 2000):
        np.testing.assert_array_equal(gathered[index], whole[index])
    for index in ((slice(2, 80), 1), ([3, 1], 2), ([3, 1], slice(1, 3)), (slice(2, 80), [2, 0]), (5, [2, 0])):
        np.testing.assert_array_equal(gathered[index], whole[index])
    with pytest.raises(IndexError, match="rows and columns cannot both be arrays"):
        gathered[[0, 5], np.array([2, 0])]
    np.testing.assert_array_equal(list(gathered), whole)
    for made, expected in ((gathered @ whole[0], whole @ whole[0]), (2 * gathered, 2 * whole), (gathered.T, whole.T)):
        np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(np.asarray(gathered, np.float64), whole.astype(np.float64))
    tracemalloc.start()
    total = sum(float(gathered[start : start + 100].sum()) for start in range(0, 2997, 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == pytest.approx(float(whole.sum(dtype=np.float64)), rel=1e-4)
    assert peak < gathered.nbytes / 4  # a copy of all would take as much
