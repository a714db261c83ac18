from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionWriter
from retrieval.learn.fitted_files import FittedFiles
from retrieval.learn.novelty import (
    FALSE_ALARMS,
    Detector,
    cross_scores,
    detector_path,
    faulty_detectors,
    fit_detector,
    load_detector,
    novelties,
    store_detector,
)

COUNT, DIMENSION = 600, 40
VARYING = np.arange(DIMENSION) < 10
CENTRES = 3 * np.random.default_rng(0).standard_normal((3, DIMENSION)) * VARYING
LABELS = np.arange(COUNT) % 3


def drawn(labels: NDArray[np.int64], centres: NDArray[np.float64] = CENTRES, seed: int = 1) -> NDArray[np.float32]:
    """Vectors around the centre of their class, which vary in the first numbers alone."""
    noise = np.random.default_rng(seed).standard_normal((len(labels), DIMENSION))
    return (centres[labels] + noise * np.where(VARYING, 1, 0.05)).astype(np.float32)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fit_detector("s", drawn(LABELS), LABELS, np.arange(COUNT))


def test_pictures_of_the_same_kind_reach_a_level_as_seldom_as_stated(detector: Detector) -> None:
    own = cross_scores(drawn(LABELS), LABELS, np.arange(COUNT))
    for level, scores in zip(FALSE_ALARMS, own, strict=True):
        assert (scores > detector.bounds[level]).mean() == pytest.approx(FALSE_ALARMS[level], abs=1 / COUNT)
    assert (detector.scores(drawn(LABELS)).mean(axis=1) < own.mean(axis=1)).all()  # of pictures that it was fitted on
    rates = detector.rates_of(drawn(LABELS, seed=2))
    assert rates["foreign"] < 0.02
    assert rates["unlike"] < 2 * FALSE_ALARMS["unlike"]


def test_another_kind_is_told_by_what_never_varied_here(detector: Detector) -> None:
    foreign = drawn(LABELS, seed=3) + np.where(VARYING, 0, 1).astype(np.float32)
    assert detector.rates_of(foreign)["foreign"] == 1


def test_a_class_that_is_not_here_is_told(detector: Detector) -> None:
    elsewhere = CENTRES.mean(axis=0)[None] + 6 * (np.arange(DIMENSION) == 3)
    assert detector.levels(drawn(np.zeros(200, np.int64), elsewhere, seed=4)).count(None) < 20


def test_what_is_told_has_its_error_rates(detector: Detector) -> None:
    assert novelties(detector, drawn(LABELS, seed=2)[:1]) == [None]
    (told,) = novelties(detector, np.full((1, DIMENSION), 50, np.float32))
    assert told is not None
    assert (told.level, "another kind of picture" in str(told)) == ("foreign", True)
    hint = Detector("s", detector.arrays, {"foreign": 1e9, "unlike": 0}, {"these": {"foreign": 0, "unlike": 0.05}})
    assert str(novelties(hint, drawn(LABELS)[:1])[0]).endswith("a hint that is given for 5.0% of these too")


def test_a_stored_detector_serves_while_its_space_is_made_the_same(
    detector: Detector, tmp_path: Path, vector_collection: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = vector_collection(tmp_path / "c", {"s": drawn(LABELS[:9])}, ["a", "b", "c"] * 3)
    opened, cached = Collection.open(path), FittedFiles(detector_path, load_detector)
    assert cached.get(opened, "s") is None
    store_detector(opened, detector)
    loaded = cached.get(opened, "s")
    assert loaded is not None
    assert cached.get(opened, "s") is loaded
    strange = drawn(LABELS, seed=3) * 2
    assert loaded.levels(strange) == detector.levels(strange)
    assert loaded.rates == detector.rates
    with CollectionWriter(path) as writer:
        writer.update_recipe("s", writer.manifest.space("s").recipe | {"seed": 1})
    assert load_detector(Collection.open(path), "s") is None
    encrypted = bytearray(detector_path(path, "s").read_bytes())
    encrypted[encrypted.index(b"PK\1\2") + 8] ^= 1  # one bit of the zip directory
    for damaged in (bytes(encrypted), b"PK"):
        detector_path(path, "s").write_bytes(damaged)
        assert load_detector(opened, "s") is None
        assert len(list(faulty_detectors(opened))) == 1
    assert "`kvasir calibrate` makes it anew" in caplog.text
