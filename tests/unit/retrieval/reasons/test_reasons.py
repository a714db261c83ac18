"""Agreement on a small collection by the default encoder: cells, areas, and what is told without a passed test."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import retrieval
from retrieval import UnsupportedQueryError
from retrieval.encoders.spatial import SpatialTower
from retrieval.images import MAX_PIXELS, from_image
from retrieval.reasons.agreement import Side, within
from retrieval.reasons.erasing import Way
from retrieval.reasons.faithfulness import Faithfulness
from retrieval.reasons.overlay import HEIGHT, overlay
from retrieval.reasons.relevance import encoder_inputs, erasures, vectors_in
from retrieval.reasons.seen import Look, SeenPictures
from retrieval.reasons.store import load_outcome, store_outcome
from retrieval.reasons.testing import run_test

PASSED = Faithfulness("blur", 1, 100, 0, 0.95, 0.8, 0.5, {"relevant": 0.08, "random": 0.02, "centre": 0.03})


@pytest.fixture(scope="module")
def engine(indexed: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = shutil.copytree(indexed.path, tmp_path_factory.mktemp("reasons") / "drawn.collection")
    opened = retrieval.open(path)
    store_outcome(opened.collection, opened.collection.manifest.default.name, [PASSED])
    return opened


@pytest.fixture(scope="module")
def name(engine: Any) -> str:
    return str(engine.collection.manifest.default.name)


def encoder_of(engine: Any, name: str) -> Any:
    """The space of the encoder behind a space."""
    space = engine.space(name)
    return (space.sources or (space,))[0]


def test_the_pooled_maps_give_the_embedding_itself(engine: Any, name: str, draw: Callable[..., Image.Image]) -> None:
    source = encoder_of(engine, name)
    tower = source.spatial_tower()
    assert tower is source.spatial_tower()
    prepared = source.prepare(from_image(draw(3)))
    encoded = tower.encode(prepared)
    assert np.allclose(encoded.vector, source.embed([prepared])[0], atol=1e-5)
    unchanged = tower.replaced(encoded, encoded, *map(np.eye, tower.grid))
    assert np.allclose(unchanged, encoded.vector, atol=1e-5)
    other = tower.encode(source.prepare(from_image(draw(4))))
    everything = tower.replaced(encoded, other, *(np.ones((1, count)) for count in tower.grid))
    assert np.allclose(everything[0], other.vector, atol=1e-4)


def test_cells_lie_on_the_device_by_their_centres() -> None:
    expected = np.zeros((4, 4), bool)
    expected[2:, :2] = True
    assert within([(-0.2, 0.6, 0.6, 0.5)], (4, 4)).tolist() == expected.tolist()
    assert not within([], (2, 3)).any()
    side = Side((0, 0, 1, 1), np.arange(16.0).reshape(4, 4), np.zeros((4, 4), np.int64), np.zeros((4, 4)), expected)
    assert side.on_device == 0  # the highest tenth is in the last row's other half
    assert dataclasses.replace(side, relevance=-side.relevance, device=~expected).on_device == 1


def test_shuffled_weights_give_another_embedding_the_same_each_time(engine: Any, name: str) -> None:
    source = encoder_of(engine, name)
    prepared = source.prepare(from_image(Image.new("RGB", (90, 90), (200, 90, 60))))
    mixed = [source.spatial_tower(shuffled=5).encode(prepared).vector for _ in range(2)]
    assert np.array_equal(mixed[0], mixed[1])
    assert mixed[0] @ source.spatial_tower().encode(prepared).vector < 0.99


def test_what_the_pictures_have_in_common_is_relevant(engine: Any, name: str, draw: Callable[..., Image.Image]) -> None:
    space, source = engine.space(name), encoder_of(engine, name)
    tower = source.spatial_tower()
    whole = draw(7, (200, 120, 90), (448, 448))
    half = Image.new("RGB", (448, 448), (90, 90, 90))
    half.paste(whole.crop((0, 0, 224, 448)), (0, 0))
    prepared = source.prepare(from_image(half))
    target = vectors_in(space, source.embed([source.prepare(from_image(whole))]))[0]
    way = Way("blur", 4)
    lost = erasures(tower, space, way, tower.encode_all(encoder_inputs(prepared, way, tower.grid))).relevance(target)
    assert lost.shape == tower.grid
    assert lost[:, : tower.grid[1] // 2].sum() > lost[:, tower.grid[1] // 2 :].sum()


def test_reasons_of_an_image_have_cells_of_both_pictures(engine: Any, name: str) -> None:
    told = engine.reasons(0, 1, name)
    shown = told.agreements[name]
    assert shown.similarity == pytest.approx(
        float(engine.collection.vector(name, 0) @ engine.collection.vector(name, 1)), abs=1e-4
    )
    rows, columns = engine.space(name).spatial_tower().grid
    for side in (shown.query, shown.hit):
        assert side.relevance.shape == side.matches.shape == (rows, columns)
        assert side.heat.max() == pytest.approx(1)
        assert 0 <= side.matches.min() <= side.matches.max() < rows * columns
    same = engine.reasons(0, 0, name).agreements[name]
    assert same.query.matches.ravel().tolist() == list(range(rows * columns))
    assert told.to_dict()["agreements"][0]["test"]["passed"]
    hits = engine.search(0, 3)
    assert engine.reasons(hits, hits[1]).to_dict() == engine.reasons(0, hits[1].id).to_dict()


def test_the_cells_of_a_region_lie_in_the_region(engine: Any, name: str) -> None:
    side = engine.reasons(0, 1, name, region=(0.5, 0.5, 0.5, 0.5)).agreements[name].query
    left, top, width, height = side.area
    assert min(left, top) >= 0.5
    assert max(left + width, top + height) <= 1


def test_nothing_is_shown_without_a_passed_test_and_the_reason_is_told(engine: Any, name: str, tmp_path: Path) -> None:
    path = shutil.copytree(engine.collection.path, tmp_path / "c")
    shutil.rmtree(path / "reasons")
    untested = retrieval.open(path)
    assert "not tested on this collection; `kvasir reasons c`" in untested.reasons(0, 1, name).unshown[name]
    store_outcome(untested.collection, name, [Faithfulness(**vars(PASSED) | {"above_random": 0.5})])
    told = untested.reasons(0, 1, name)
    assert not told.agreements
    assert "only 50% of pairs (90% are needed)" in told.unshown[name]


def test_a_query_without_a_picture_is_refused(engine: Any, name: str) -> None:
    with pytest.raises(retrieval.BadQueryError, match="a hit or an id, not '1'"):
        engine.reasons(0, "1")
    with pytest.raises(retrieval.UnsupportedQueryError, match="no picture"):
        engine.reasons(engine.collection.vector(name, 0), 1, name)


def test_the_test_runs_and_is_stored(engine: Any, name: str, tmp_path: Path) -> None:
    path = shutil.copytree(engine.collection.path, tmp_path / "c")
    searcher = retrieval.open(path)
    outcome = run_test(searcher, name, pairs=4)
    assert load_outcome(searcher.collection, name) == outcome
    assert {one.pairs for one in outcome.tried} == {4}
    assert [one.confirms for one in outcome.tried[:-1]] == [False] * (len(outcome.tried) - 1)
    assert outcome.tried[-1].confirms == any(one.passed for one in outcome.tried[:-1])
    assert all(set(one.falls) == {"relevant", "random", "centre", "shuffled"} for one in outcome.tried)
    assert run_test(searcher, name, pairs=4) == outcome


def test_an_overlay_shows_both_pictures_and_marks_cells(engine: Any, name: str) -> None:
    shown = engine.reasons(0, 1, name).agreements[name]
    pictures = [from_image(Image.new("RGB", (120, 90), (200, 20, 20))).upright() for _ in range(2)]
    sheet = overlay(pictures[0], pictures[1], (shown.query, shown.hit))
    assert sheet.width == 2 * 640 + 12
    assert len(np.unique(np.asarray(sheet.crop((0, 0, 640, HEIGHT))).reshape(-1, 3), axis=0)) > 4


def test_reasons_draw_their_overlay_themselves(engine: Any, name: str) -> None:
    told = engine.reasons(0, 1, name)
    pictures = [engine.search(i, 1, exclude_self=False)[0].picture for i in (0, 1)]
    drawn = overlay(pictures[0], pictures[1], (told.agreements[name].query, told.agreements[name].hit))
    assert np.array_equal(told.overlay(), drawn)
    assert np.array_equal(told.overlay(name), drawn)
    of_picture = engine.reasons(from_image(pictures[0]), 1, name)
    assert of_picture.overlay().size == drawn.size
    with pytest.raises(UnsupportedQueryError, match="no agreement is shown in JCD"):
        told.overlay("JCD")


@pytest.mark.parametrize("fit", ["squash", "pad", "crop", "field"])
def test_the_area_is_where_the_input_lies_on_the_picture(engine: Any, name: str, fit: Any) -> None:
    from dataclasses import replace

    recipe = replace(encoder_of(engine, name).recipe, fit=fit)
    framed = Image.new("RGB", (400, 200))
    framed.paste((180, 90, 80), (100, 20, 300, 180))
    area = recipe.area(from_image(framed))
    expected = {
        "squash": (0, 0, 1, 1),
        "pad": (0, -0.5, 1, 2),
        "crop": (0.25, 0, 0.5, 1),
        "field": (0.25, 0.1, 0.5, 0.8),
    }
    assert area == pytest.approx(expected[fit])


def test_pictures_that_were_seen_are_not_encoded_again(
    engine: Any, name: str, draw: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[Any] = []
    encode = SpatialTower.encode
    monkeypatch.setattr(SpatialTower, "encode", lambda tower, given: (encoded.append(1), encode(tower, given))[1])
    tower, space, way = engine.space(name).spatial_tower(), engine.space(name), Way("blur", 1)
    looks = [Look(engine.collection.read(at), MAX_PIXELS) for at in (2, 3)]
    seen = SeenPictures()
    query, hit = seen.see(tower, space, way, looks)
    assert seen.see(tower, space, way, looks) == [query, hit]
    (_, other) = seen.see(tower, space, way, [looks[0], Look(looks[1].source, MAX_PIXELS, (0.1, 0.1, 0.6, 0.6))])
    assert other is not hit
    assert len(encoded) == 4 + 2  # each as it is and blurred
    small = SeenPictures(query.nbytes)  # has room for the later of two
    small.see(tower, space, way, looks)
    small.see(tower, space, way, looks)
    assert len(encoded) == 6 + 4 + 2
    drawn = Look(draw(3), MAX_PIXELS)
    assert seen.see(tower, space, way, [drawn])[0] is not seen.see(tower, space, way, [drawn])[0]
