"""A new kind of space is one module and one line of the registry: nothing else knows of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import retrieval
from retrieval.collection import CollectionWriter, SpaceDefinition
from retrieval.command_line import kvasir
from retrieval.images import Draft, Picture
from retrieval.spaces import KINDS, Space


class CityBlock:
    """Sum of absolute differences; a distance that FAISS's backends here know nothing of."""

    name = "city-block"

    def distances(self, queries: NDArray[Any], gallery: NDArray[Any]) -> NDArray[np.float64]:
        return np.abs(queries[:, None].astype(np.float64) - gallery[None]).sum(axis=2)

    def scores(self, distances: NDArray[Any]) -> NDArray[Any]:
        return 1 / (1 + distances)


class MeanColour(Space):
    def __init__(self, definition: SpaceDefinition) -> None:
        self.definition = definition

    metric = CityBlock()
    draft: Draft = None
    summary = "the mean colour"

    def prepare(self, picture: Picture) -> NDArray[Any]:
        return picture.pixels().reshape(-1, 3).mean(axis=0)

    def embed(self, prepared: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.asarray(prepared, np.float32).reshape(-1, 3)

    def validate(self, vector: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(vector, np.float32)

    def warm_up(self) -> None:
        """Nothing to load."""


def mean_colour_module() -> ModuleType:
    module: Any = ModuleType("mean_colour_kind")
    module.metric = lambda definition: CityBlock()
    module.open = lambda collection, definition, purpose: MeanColour(definition)

    def create(writer: CollectionWriter, spec: str) -> SpaceDefinition:
        return writer.add_space(spec, "mean-colour", 3, CityBlock.name, {"of": spec})

    def prepare_all(spaces: Sequence[Space], picture: Picture) -> Mapping[str, NDArray[Any]]:
        return {space.name: space.prepare(picture) for space in spaces}

    module.create, module.prepare_all = create, prepare_all
    return module


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mean_colour_kind", mean_colour_module())
    monkeypatch.setitem(KINDS, "mean-colour", "mean_colour_kind")


def test_a_new_kind_is_indexed_searched_evaluated_verified_and_served(
    registered: None, gallery_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c"

    def run(*arguments: str) -> str:
        told = CliRunner().invoke(kvasir, list(arguments), catch_exceptions=False)
        assert told.exit_code == 0, told.output
        return told.stdout

    run("index", str(gallery_folder), str(path), "--space", "mean-colour:rgb")
    engine = retrieval.open(path)
    assert [(space.name, space.kind, space.metric) for space in engine.collection.spaces] == [
        ("rgb", "mean-colour", "city-block")
    ]
    ids, vectors = engine.vectors("rgb")
    assert len(ids) == 26
    hits = engine.search(0, 5)
    distances = CityBlock().distances(vectors[:1], vectors)[0]
    assert hits.ids == [int(ids[at]) for at in np.lexsort((ids, distances)) if ids[at] != 0][:5]
    assert hits.quality is not None

    found = json.loads(run("search", str(next(gallery_folder.glob("polyps/0.jpg"))), str(path), "--json"))
    assert found["hits"][0]["distance"] == 0

    evaluated = json.loads(run("evaluate", str(path), "--json"))
    assert evaluated["spaces"][0]["space"] == "rgb"
    assert evaluated["spaces"][0]["metric"] == "city-block"
    assert "sound" in run("verify", str(path))
    assert "rgb" in run("info", str(path))

    from web.app import create_app
    from web.context import Settings

    client = create_app(Settings(collection=path), background=False).test_client()
    answer = client.post("/api/v1/search", json={"image_id": 0, "k": 5}).get_json()
    assert [hit["id"] for hit in answer["hits"]] == hits.ids
    page = client.get("/results?image=0")
    assert page.status_code == 200
    assert "city-block" in client.get("/api/v1/collection").get_data(as_text=True)
