"""Which index a gallery gets, and what collections of other sizes take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import retrieval.index
from retrieval.arguments import MemorySize
from retrieval.collection import Collection
from retrieval.command_line import kvasir
from retrieval.commands.info import facts_in_full
from retrieval.index.building import wanted_of
from retrieval.index.costs import build_seconds
from retrieval.index.shape import HNSW_UP_TO, graph_of, lists_of, padded, shape_of
from retrieval.index.sizing import MEASURED, estimates


def run(*arguments: object) -> str:
    result = CliRunner().invoke(kvasir, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_graph_serves_up_to_a_size_and_where_it_fits_in_memory() -> None:
    assert shape_of(HNSW_UP_TO, 512).name == "HNSW32"
    assert shape_of(HNSW_UP_TO + 1, 512).name == "IVF2048,PQ128x4fs"
    needed = graph_of(100_000, 512).bytes
    assert shape_of(100_000, 512, needed).is_graph
    assert not shape_of(100_000, 512, needed - 1).is_graph


def test_a_low_recall_is_served_by_lists_where_vectors_have_several_parts() -> None:
    assert shape_of(100_000, 512, recall=0.91).is_graph
    lists = shape_of(100_000, 512, recall=0.9)
    assert not lists.is_graph
    assert lists.bytes < graph_of(100_000, 512).bytes
    assert shape_of(100_000, 16, recall=0.9).is_graph


@pytest.mark.parametrize(("dimension", "width"), [(1, 4), (4, 4), (7, 8), (509, 512), (512, 512), (1280, 1280)])
def test_parts_of_four_numbers_cover_any_dimension(dimension: int, width: int) -> None:
    assert padded(dimension) == width
    assert lists_of(10_000, dimension).parts * 4 == width


def test_bytes_are_those_of_codes_links_and_ids() -> None:
    assert graph_of(1_000, 512).bytes == 1_000 * (512 + 256 + 272 + 8)
    lists = lists_of(10_000, 512)  # 256 lists: the power of two below 4 * sqrt(10,000)
    assert lists.lists == 256
    assert lists.bytes == 10_000 * (512 + 64 + 16) + 4 * 256 * 512


def test_estimates_grow_with_the_collection_and_say_what_fits() -> None:
    small, large = (estimates([count], 256, 4 * 10**9) for count in (10**6, 10**8))
    names = [row.engine.split(",")[0].rstrip("0123456789") for row in small]
    assert names == ["exact", "exact", "HNSW", "IVF", "Milvus"]
    for before, after in zip(small, large, strict=True):
        assert after.memory > 50 * before.memory
        assert after.build > before.build or "Flat" in before.engine
        assert after.query >= before.query
        assert before.fits
        assert not after.fits


def test_what_building_takes_has_tuning_in_it() -> None:
    assert build_seconds("lists", 100_000, 256) - 400 * 0.08 == pytest.approx(10.1, abs=0.1)
    assert build_seconds("graph", 0, 256) == 0


@pytest.mark.parametrize(
    ("text", "size"), [("600M", 600 * 10**6), ("1.5GB", 1_500_000_000), ("2gib", 2 * 10**9), ("7", 7)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert MemorySize().convert(text, None, None) == size


def test_computed_figures_are_near_those_measured() -> None:
    for measured in MEASURED:
        rows = estimates([measured.images], measured.dimension)
        computed = next(row for row in rows if row.engine == measured.engine)
        for name, times in (("memory", 1.1), ("disk", 1.1), ("query", 3)):
            assert getattr(measured, name) / times < getattr(computed, name) < getattr(measured, name) * times


def test_size_prints_what_is_computed_apart_from_what_was_measured() -> None:
    text = run("size", "--images", 1_000_000, "--dim", 512, "--memory", "1G")
    assert "computed for one space of 512 numbers" in text
    assert text.index("IVF2048,PQ128x4fs") < text.index("measured")
    assert set(json.loads(run("size", "--json"))) == {"computed", "measured"}


def test_tune_builds_and_info_tells_recall_and_time(
    vector_collection: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval.index, "BACKENDS", retrieval.index.BACKENDS[1:])  # as of a large collection
    random = np.random.default_rng(0)
    vectors = random.standard_normal((1_500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = vector_collection(tmp_path / "c", {"dots": vectors})
    assert "exact, until `kvasir tune" in run("info", path)
    first = run("tune", path, "--target-recall", 0.97)
    assert "space dots: HNSW32 over int8, recall" in first
    tuning = facts_in_full(Collection.open(path))["spaces"][0]["tuning"]
    assert tuning["target"] == 0.97
    assert tuning["count"] == 1_500
    assert tuning["settings"][0]["recall"] >= 0.97
    assert "HNSW32 over int8, recall" in run("info", path)
    assert "IVF" in run("tune", path, "--memory", "20k")
    wanted = wanted_of(path / "index" / "dots")
    assert (wanted.recall, wanted.memory) == (0.97, 20_000)
    index = path / "index" / "dots" / "proposer.faiss"
    assert index.exists()
    assert "every vector is compared" in run("tune", path, "--target-recall", 1)
    assert not index.exists()
    assert "index: exact\n" in run("info", path) + "\n"
    monkeypatch.undo()
    assert "since they are few" in run("tune", path)
