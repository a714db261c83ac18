"""`kvasir index --precision`: part of the recipe, chosen by measurement, and never mixed within a space."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

import retrieval
from retrieval.collection import Collection
from retrieval.command_line import kvasir
from retrieval.encoders.precision import PrecisionError, has_nncf
from retrieval.spaces.encoder import EncoderFitError


def index(data: Path, path: Path, spec: str, precision: str) -> Result:
    arguments = [
        "index",
        str(data),
        str(path),
        "--encoder",
        spec,
        "--encoder-features",
        "last",
        "--precision",
        precision,
    ]
    return CliRunner().invoke(kvasir, arguments)


def recipe(path: Path) -> dict[str, object]:
    return Collection.open(path).spaces[0].recipe


def _vectors(path: Path) -> NDArray[Any]:
    opened = Collection.open(path)
    return np.asarray(opened.vectors(opened.spaces[0].name)[1])


@pytest.fixture
def spec(timm_weights: Callable[..., Path]) -> str:
    return f"timm:test_convnext/{timm_weights('test_convnext')}"


def test_a_space_stays_in_the_precision_that_made_it(gallery_folder: Path, spec: str, tmp_path: Path) -> None:
    done = index(gallery_folder, tmp_path / "c", spec, "bf16")
    assert done.exit_code == 0, done.output
    assert recipe(tmp_path / "c")["precision"] == "bf16"
    assert "precision bf16" in CliRunner().invoke(kvasir, ["info", str(tmp_path / "c")]).output
    engine = retrieval.open(tmp_path / "c")
    file = gallery_folder / engine.collection.file_of(0)
    assert engine.search(file, 1, exclude_self=False)[0].score == pytest.approx(1, abs=1e-3)  # the same recipe
    assert index(gallery_folder, tmp_path / "c", spec, "bf16").exit_code == 0
    assert index(gallery_folder, tmp_path / "c", spec, "auto").exit_code == 0
    other = index(gallery_folder, tmp_path / "c", spec, "int8")
    assert isinstance(other.exception, EncoderFitError)
    assert "was made with --precision bf16" in str(other.exception)


@pytest.mark.skipif(not has_nncf(), reason="needs the extra int8")
def test_int8_is_calibrated_on_the_pictures_and_near_f32(
    gallery_folder: Path, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_few = index(gallery_folder, tmp_path / "few", spec, "int8")
    assert isinstance(too_few.exception, PrecisionError)
    assert "calibrated on 32 pictures at least" in str(too_few.exception)
    assert not (tmp_path / "few").exists()
    monkeypatch.setattr("indexer.precision._LEAST", 4)
    logged = _logging_state()
    assert index(gallery_folder, tmp_path / "plain", spec, "f32").exit_code == 0
    done = index(gallery_folder, tmp_path / "c", spec, "int8")
    assert done.exit_code == 0, done.output
    assert recipe(tmp_path / "c")["precision"] == "int8"
    assert _logging_state() == logged  # what the tools change is put back
    plain, coded = (_vectors(tmp_path / name) for name in ("plain", "c"))
    cosines = (plain * coded).sum(1)
    assert 0.9 < cosines.min() < 1 - 1e-6
    engine = retrieval.open(tmp_path / "c")
    file = gallery_folder / engine.collection.file_of(0)
    assert engine.search(file, 1, exclude_self=False)[0].score == pytest.approx(1, abs=1e-4)


def test_auto_says_what_it_took_and_why(
    gallery_folder: Path, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = index(gallery_folder, tmp_path / "few", spec, "auto")
    assert few.exit_code == 0
    assert "too few to compare precisions on" in few.output
    monkeypatch.setattr("indexer.precision._LEAST", 4)
    done = index(gallery_folder, tmp_path / "c", spec, "auto")
    assert done.exit_code == 0, done.output
    taken = recipe(tmp_path / "c")["precision"]
    assert f": {taken}, the fastest that keeps mAP within 0.003 on a sample (f32 " in done.output
    told = CliRunner().invoke(kvasir, ["info", str(tmp_path / "c")]).output
    assert f"precision {taken}, chosen on a sample of the pictures (f32 " in " ".join(told.split())


def _logging_state() -> tuple[int, list[tuple[logging.Handler, int]]]:
    root = logging.getLogger()
    return root.level, [(handler, handler.level) for handler in root.handlers]
