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
from retrieval import BadQueryError, Engine, PictureNotFoundError, SpaceNameError


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
