from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import retrieval
from retrieval import BadQueryError, Engine, EvaluationError, PictureNotFoundError, SpaceNameError


@pytest.fixture
def engine(indexed: Any, tmp_path: Path) -> Engine:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    return retrieval.open(path)


def test_a_picture_is_added_and_found_after_a_refresh(engine: Engine, draw: Any, tmp_path: Path) -> None:
    file = tmp_path / "new.png"
    draw(77).save(file)
    image_id = engine.add(file, class_name="polyps")
    assert (len(engine), image_id) == (26, 26)
    later = engine.refreshed()
    assert isinstance(later, Engine)
    assert len(later) == 27
    assert later.search(file, 1)[0].id == image_id
    assert later.search(file, 1)[0].class_name == "polyps"
    assert engine.add(file.read_bytes(), "polyps") == image_id  # the same image


def test_adding_a_picture_reads_no_other_images_row(engine: Engine, draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.add(draw(71, (90, 40, 60)))  # the first after others have written may read what they changed
    current, statements = engine.refreshed(), []
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    current.add(draw(72, (90, 40, 60)))
    reading = [statement for statement in statements if re.search(r"FROM (images|marks|digests)\b", statement)]
    assert len(reading) > 3
    assert [statement for statement in reading if " WHERE " not in " ".join(statement.split())] == []


def test_bytes_pixels_and_pil_images_are_added(engine: Engine, draw: Any) -> None:
    image: Image.Image = draw(78)
    first = engine.add(image)
    assert engine.add(np.asarray(image)) == first  # both become the same PNG
    assert engine.refreshed().collection.class_of(first) is None


def test_what_is_no_picture_is_not_added(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(PictureNotFoundError):
        engine.add(tmp_path / "nosuch.jpg")
    with pytest.raises(BadQueryError, match="a int is no picture"):
        engine.add(5)  # type: ignore[arg-type]
    with pytest.raises(BadQueryError, match="a class is given by name, not as 5"):
        engine.add(Image.new("RGB", (40, 40)), 5)  # type: ignore[arg-type]
    assert len(engine.refreshed()) == 26


def test_an_engine_evaluates_as_the_command_does(two_spaces: Path) -> None:
    engine = retrieval.open(two_spaces)
    first, second = (space.name for space in engine.collection.spaces)
    result = engine.evaluate(first.upper(), f"{first}+{second}=2", samples=0)
    assert [space.space for space in result.spaces] == [first, f"{first}+{second}=2"]
    assert result.spaces[0].protocol == "leave-cluster-out"
    assert {space.space for space in result.best_first()} == {first, f"{first}+{second}=2"}
    with pytest.raises(SpaceNameError):
        engine.evaluate("nosuch")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"samples": -1}, "samples of the bootstrap are a whole number from 0 on, not -1"),
        ({"samples": 1.5}, "not 1.5"),
        ({"protocol": "k-fold", "folds": 0}, "folds are a whole number from 2 on, not 0"),
        ({"protocol": "k-fold", "folds": 2.5}, "not 2.5"),
        ({"protocol": ["k-fold"]}, r"no protocol \['k-fold'\]"),
        ({"query_ids": ["a"]}, "query_ids are ids of images, whole numbers"),
        ({"fusions": 5}, r"'5': a fusion needs two spaces"),
    ],
)
def test_options_that_no_evaluation_has_are_told(two_spaces: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(EvaluationError, match=why):
        retrieval.open(two_spaces).evaluate(**options)


def test_one_image_may_query_alone(two_spaces: Path) -> None:
    (first, _) = retrieval.open(two_spaces).evaluate(samples=0, query_ids=5).spaces  # type: ignore[arg-type]
    assert first.ids.tolist() == [5]


def test_weights_may_be_given_by_name(two_spaces: Path) -> None:
    engine = retrieval.open(two_spaces)
    names = [space.name for space in engine.collection.spaces]
    listed = engine.search(3, spaces=names, weights=[1, 3])
    assert engine.search(3, spaces=names, weights={names[1].upper(): 3}) == listed
    assert engine.search(3, spaces=names[::-1], weights={names[1]: 3, names[0]: 1}).ids == listed.ids
    with pytest.raises(BadQueryError, match=f"weight for {names[1]}, which is not searched"):
        engine.search(3, spaces=names[0], weights={names[1]: 3})
    with pytest.raises(BadQueryError, match="positive number"):
        engine.search(3, spaces=names, weights={names[0]: -1})
    with pytest.raises(SpaceNameError):
        engine.search(3, spaces=names, weights={"nosuch": 1})
