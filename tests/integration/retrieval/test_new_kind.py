"""A new kind of space, learned or not, is one module and one line of the registry: nothing else knows of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

import retrieval
from retrieval.collection import Collection, CollectionWriter, SpaceDefinition
from retrieval.collection.vectors import vectors_path
from retrieval.command_line import kvasir
from retrieval.images import Draft, Picture
from retrieval.index.cosine import Cosine
from retrieval.learn.learner import TrainingSet
from retrieval.spaces import KINDS, Space, open_space
from retrieval.spaces.unit_vectors import UnitVectorSpace
from web.app import create_app
from web.context import Settings


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


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """What was learned: vectors (n, d) -> their similarities to the mean of each class, of unit length."""

    means: NDArray[np.float64]

    def transform(self, vectors: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        similar = np.exp(np.asarray(vectors[0], np.float64) @ self.means.T)
        return (similar / np.linalg.norm(similar, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class ClassMeansLearner:
    sources: tuple[str, ...]
    labelled: bool = True
    views: str = "none"

    @property
    def baseline(self) -> ClassMeansLearner:
        return replace(self, labelled=False)

    def fit(self, training: TrainingSet, images: NDArray[np.int64]) -> ClassMeans:
        (frames,), labels = training.frames, training.labels
        if not self.labelled:
            return ClassMeans(frames[images[:4]].astype(np.float64))
        taught = [frames[images[labels[images] == label]] for label in np.unique(labels[images])]
        return ClassMeans(np.stack([vectors.mean(axis=0) for vectors in taught]).astype(np.float64))

    def settled(self, training: TrainingSet) -> ClassMeansLearner:
        return self


class ClassMeansSpace(UnitVectorSpace):
    derived = True

    def __init__(self, definition: SpaceDefinition, source: Space) -> None:
        self.definition, self.sources = definition, (source,)

    summary = "similarities to class means"
    frozen = ()

    @property
    def draft(self) -> Draft:
        return self.sources[0].draft

    def prepare(self, picture: Picture) -> NDArray[Any]:
        return self.sources[0].prepare(picture)

    def embed(self, prepared: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return self.derive([self.sources[0].embed(prepared)])

    def derive(self, vectors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return ClassMeans(np.array(self.definition.recipe["means"])).transform(vectors)

    def warm_up(self) -> None:
        self.sources[0].warm_up()

    @property
    def fitted_images(self) -> int:
        return len(self.definition.recipe["taught"])

    def learner(self, *, choose: bool) -> ClassMeansLearner:
        return ClassMeansLearner((self.sources[0].name,))

    def training_ids(self, collection: Collection) -> NDArray[np.int64]:
        return np.array(self.definition.recipe["taught"], np.int64)

    def refit(self, writer: CollectionWriter, progress: Callable[[str, int, int], None]) -> SpaceDefinition:
        recipe, vectors = class_means(writer.path, self.sources[0].name)
        return writer.replace_space(self.name, self.definition.dimension, recipe, iter([vectors]))


def class_means(path: Path, source: str) -> tuple[dict[str, Any], tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The recipe of a space of class means, and the vectors of all images by their ids."""
    opened = Collection.open(path)
    ids, vectors = opened.vectors(source)
    labels = opened.images.labels[opened.positions(source)].astype(np.int64)
    known = np.flatnonzero(labels >= 0)
    training = TrainingSet(ids, labels, ids, np.arange(len(ids)), (vectors,))
    learned = ClassMeansLearner((source,)).fit(training, known)
    recipe = {"source": source, "means": learned.means.tolist(), "taught": ids[known].tolist()}
    return recipe, (ids, learned.transform([vectors]))


def class_means_module() -> ModuleType:
    module: Any = ModuleType("class_means_kind")
    module.metric = lambda definition: Cosine()

    def open_(collection: Path, definition: SpaceDefinition, purpose: Any) -> Space:
        manifest = Collection.open(collection, damaged_rows=True).manifest
        return ClassMeansSpace(definition, open_space(collection, manifest.space(definition.recipe["source"]), purpose))

    def create(writer: CollectionWriter, spec: str) -> SpaceDefinition:
        recipe, vectors = class_means(writer.path, writer.manifest.spaces[0].name)
        return writer.add_space(spec, "class-means", len(recipe["means"]), Cosine.name, recipe, vectors=iter([vectors]))

    module.open, module.create = open_, create
    module.prepare_all = lambda spaces, picture: {space.name: space.prepare(picture) for space in spaces}
    return module


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, module in (("mean-colour", mean_colour_module()), ("class-means", class_means_module())):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(KINDS, kind, module.__name__)


def run(*arguments: str) -> str:
    told = CliRunner().invoke(kvasir, list(arguments), catch_exceptions=False)
    assert told.exit_code == 0, told.output
    return told.stdout


def test_a_new_kind_is_indexed_searched_evaluated_verified_and_served(
    registered: None, gallery_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c"
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

    client = create_app(Settings(collection=path), background=False).test_client()
    answer = client.post("/api/v1/search", json={"image_id": 0, "k": 5}).get_json()
    assert [hit["id"] for hit in answer["hits"]] == hits.ids
    page = client.get("/results?image=0")
    assert page.status_code == 200
    assert "city-block" in client.get("/api/v1/collection").get_data(as_text=True)


def test_a_new_learned_kind_is_completed_evaluated_in_folds_calibrated_repaired_refitted_and_served(
    registered: None, gallery_folder: Path, indexed: Any, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    picture = next(gallery_folder.glob("polyps/0.jpg"))
    run("index", str(gallery_folder), str(path), "--space", "class-means:taught")
    new = tmp_path / "new.png"
    Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(new)
    run("add", str(path), str(new), "--class", "polyps")
    engine = retrieval.open(path)
    ids, vectors = engine.vectors("taught")
    assert len(ids) == len(engine.collection.images)  # the added one has its vector too
    source = engine.collection.manifest.spaces[0].name
    space = open_space(path, engine.collection.manifest.space("taught"))
    assert np.array_equal(vectors, space.derive([engine.vectors(source)[1]]))
    assert engine.search(picture, 1, spaces=["taught"]).ids == [engine.search(picture, 1).ids[0]]

    evaluated = json.loads(run("evaluate", str(path), "--space", "taught", "--json", "--samples", "0"))
    assert evaluated["spaces"][0]["queries"]["learned_from"] == space.fitted_images
    folds = json.loads(
        run("evaluate", str(path), "--space", source, "--learn", "taught", "--folds", "2", "--samples", "0", "--json")
    )
    assert [one["space"] for one in folds["spaces"]] == [source, "taught, learned in each round"]
    settings = [figure["setting"] for figure in folds["learning"]["taught"]]
    assert settings[:2] == ["queries against the training part", "test among themselves"]
    assert "taught" in run("calibrate", str(path), "--space", "taught")

    definition = engine.collection.manifest.space("taught")
    file, row = vectors_path(path, definition), int(ids[3]) * vectors[0].nbytes
    data = bytearray(file.read_bytes())
    data[row] ^= 1
    file.write_bytes(data)
    assert CliRunner().invoke(kvasir, ["verify", str(path)]).exit_code == 1
    assert "1 derived vector computed anew" in run("verify", str(path), "--repair")
    assert np.array_equal(retrieval.open(path).vectors("taught")[1], vectors)
    assert f"fitted on {(engine.collection.images.labels >= 0).sum()} images" in run("refit", str(path), "taught")

    client = create_app(Settings(collection=path), background=False).test_client()
    answer = client.post("/api/v1/search", json={"image_id": 0, "k": 3, "spaces": ["taught"]}).get_json()
    assert [hit["id"] for hit in answer["hits"]] == retrieval.open(path).search(0, 3, spaces=["taught"]).ids
