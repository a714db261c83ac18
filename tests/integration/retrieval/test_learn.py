from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import retrieval
from indexer.datasets import open_dataset
from indexer.repair import repair
from indexer.run import run_dataset
from indexer.verification import check
from retrieval.collection import Collection, CollectionWriter, SpaceNameError
from retrieval.collection.device_marks import store_marks
from retrieval.command_line import kvasir
from retrieval.encoders import EncoderOptions
from retrieval.evaluation import EvaluationOptions, MeasureOptions, evaluate_collection
from retrieval.evaluation.learned import SeenQueriesError, evaluate_learning
from retrieval.evaluation.protocols import Protocol, Round
from retrieval.learn import LearnOptions
from retrieval.learn.sources import frozen_sources, learner_of, outgrown
from retrieval.learn.training import learn, refit
from retrieval.learn.view_cache import view_vectors
from retrieval.learn.views import View
from retrieval.marks import SCOPE_GUIDE, Marks
from retrieval.report.summary import summary_lines
from retrieval.spaces import UnsupportedQueryError, create_space, metric_of, open_space
from retrieval.spaces.learned import LearnedSpace

OPTIONS = LearnOptions(dimension=12, unlearned=0.3, seed=2)


@pytest.fixture(scope="module")
def learned(indexed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("learned") / "c"
    shutil.copytree(indexed.path, path)
    with CollectionWriter(path) as writer:
        learn(writer, "findings", method="lda", views="central", options=OPTIONS)
    return path


def test_every_image_gets_the_vector_that_a_query_gets(learned: Path) -> None:
    engine = retrieval.open(learned)
    collection = engine.collection
    ids, vectors = collection.vectors("findings")
    assert len(ids) == len(collection)  # the picture without a class too
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    made = engine.vectors_of(collection.read(3), ["findings"])["findings"]
    assert np.allclose(made, vectors[3], atol=1e-3)
    hits = engine.search(collection.read(3), 3, spaces="findings")
    assert hits[0].id == 3


def test_the_recipe_says_how_it_was_learned(learned: Path) -> None:
    definition = Collection.open(learned).manifest.space("findings")
    recipe = definition.recipe
    assert (definition.kind, definition.metric, metric_of(definition).name) == ("learned", "cosine", "cosine")
    assert (recipe["sources"], recipe["method"], recipe["seed"]) == (["tf_efficientnet_lite0"], "lda", 2)
    assert (recipe["images"], recipe["classes"]) == (25, ["cecum", "polyps", "pylorus"])
    assert recipe["shares"] == pytest.approx({"discriminant": 0.7, "base": 0.3})
    assert 0.5 < recipe["validation"]["lda"]["precision@1"] <= 1
    space = open_space(learned, definition)
    assert isinstance(space, LearnedSpace)
    opened = Collection.open(learned)
    assert len(open_space(learned, opened.manifest.space("findings")).training_ids(opened)) == 25
    assert space.fault() is None
    assert "learned by lda on tf_efficientnet_lite0 from 25 images" in space.summary


def test_new_images_pass_through_it(
    learned: Path, tmp_path: Path, draw: Callable[..., Image.Image], encode_file: Callable[..., bytes]
) -> None:
    path = tmp_path / "c"
    shutil.copytree(learned, path)
    (tmp_path / "more" / "polyps").mkdir(parents=True)
    (tmp_path / "more" / "polyps" / "new.jpg").write_bytes(encode_file(draw(777, (90, 160, 60))))
    with open_dataset(tmp_path / "more") as dataset, CollectionWriter(path) as writer:
        assert run_dataset(dataset, writer).exit_status == 0
    collection = Collection.open(path)
    assert len(collection.ids("findings")) == len(collection) == 27
    assert retrieval.open(path).search(26, 1, spaces="findings")[0].class_name == "polyps"


def test_views_are_extracted_once_and_damaged_caches_again(learned: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(learned, path)
    collection = Collection.open(path)
    space = open_space(path, collection.spaces[0])
    counts: list[int] = []
    (cache,) = (path / "learned" / "views").glob("*.central.*.npz")
    ids = collection.images.ids[:4]
    made = view_vectors(collection, space, View("central"), ids, counts.append)
    assert counts == [4]  # from the cache, in one step
    assert made[0].tolist() == ids.tolist()
    assert not np.allclose(made[1], collection.vectors(space.name)[1][:4], atol=1e-3)
    cache.write_bytes(b"damaged")
    again = view_vectors(collection, space, View("central"), ids)
    assert np.allclose(again[1], made[1], atol=1e-4)
    (file,) = (collection.path / "learned" / "views").glob("*.central.*")
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\1\2") + 8] ^= 1  # an entry of the archive's table says that it is encrypted
    file.write_bytes(data)
    assert np.allclose(view_vectors(collection, space, View("central"), ids)[1], made[1], atol=1e-4)


def test_an_evaluation_counts_the_queries_that_a_space_was_learned_from(learned: Path) -> None:
    options = EvaluationOptions(measures=MeasureOptions(samples=0))
    frozen, made = evaluate_collection(Collection.open(learned), "c", options).spaces
    assert (frozen.learned_from, made.learned_from) == (0, 25)
    assert "learned_from" not in frozen.to_dict()["queries"]
    assert made.to_dict()["queries"]["learned_from"] == 25
    assert "learned from 25 of the queries" in summary_lines(made)[-1]


def test_an_evaluation_leaves_out_the_queries_that_a_space_was_learned_from(indexed: Any, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    images = Collection.open(path).images
    split = tmp_path / "split.csv"
    nth = [int((images.labels[:at] == label).sum()) for at, label in enumerate(images.labels)]  # in its class
    lines = [f"{file},{'test' if at < 2 else 'train'}" for file, at in zip(images.files, nth, strict=True)]
    split.write_text("\n".join(["file,split", *lines]))
    with CollectionWriter(path) as writer:
        learn(writer, "taught", method="lda", split=split)
    opened = Collection.open(path)
    tests = [int(i) for i, label, at in zip(images.ids, images.labels, nth, strict=True) if label >= 0 and at < 2]
    measures = MeasureOptions(samples=0)
    frozen, made = evaluate_collection(opened, "c", EvaluationOptions(measures=measures)).spaces
    assert frozen.ids.tolist() == made.ids.tolist() == tests
    assert made.learned_from == 0
    assert made.protocol_sentence.endswith(f"{25 - len(tests)} queries that taught a space are left out")
    (alone,) = evaluate_collection(opened, "c", EvaluationOptions((frozen.space,), measures=measures)).spaces
    assert len(alone.ids) == 25  # which taught it nothing
    frozen, made = evaluate_collection(opened, "c", EvaluationOptions(measures=measures, taught=True)).spaces
    assert (len(frozen.ids), len(made.ids), made.learned_from) == (25, 25, 25 - len(tests))
    told = CliRunner().invoke(kvasir, ["evaluate", str(path), "--samples", "0", "--json", "--taught"])
    assert json.loads(told.stdout)["spaces"][1]["queries"]["learned_from"] == 25 - len(tests)


def test_a_method_is_evaluated_by_models_that_have_not_seen_the_queries(indexed: Any) -> None:
    collection = Collection.open(indexed.path)
    options = EvaluationOptions(protocol="k-fold", folds=3, measures=MeasureOptions(samples=20), learn=("lda", "pca"))
    frozen, lda, pca = evaluate_collection(collection, "c", options).spaces
    assert [lda.space, pca.space] == ["lda(tf_efficientnet_lite0)", "pca(tf_efficientnet_lite0)"]
    assert lda.files == frozen.files
    assert lda.learned_from == 0
    assert 0.5 < lda.means("precision@1").micro <= 1
    assert not np.array_equal(lda.distances, pca.distances)
    with pytest.raises(SeenQueriesError, match="leave-cluster-out the queries are in the gallery"):
        evaluate_collection(collection, "c", EvaluationOptions(learn=("lda",)))


def test_queries_get_no_views(indexed: Any, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    collection = Collection.open(path)
    rows = np.arange(len(collection))
    protocol = Protocol("transfer", "the first two query the others", (Round(rows[:2], rows[2:]),), rows)
    learner = learner_of(collection, replace(OPTIONS, method="lda"), (), "central")
    result = evaluate_learning(collection, protocol, learner, "lda", MeasureOptions(samples=0))
    assert result.ids.tolist() == [0, 1]
    (cache,) = (path / "learned" / "views").iterdir()
    with np.load(cache) as stored:
        assert stored["ids"].tolist() == [row for row in rows[2:] if collection.images.labels[row] >= 0]


def test_a_lost_model_is_a_fault_that_names_the_file(learned: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(learned, path)
    (model,) = (path / "learned").glob("findings.*.npz")
    model.unlink()
    space = open_space(path, Collection.open(path).manifest.space("findings"))
    assert f"{model.name} is missing or damaged" in (space.fault() or "")


def test_names_that_are_taken_and_learned_sources_are_refused(learned: Path) -> None:
    with CollectionWriter(learned) as writer:
        with pytest.raises(SpaceNameError, match="'findings' already"):
            learn(writer, "findings", method="lda")
        with pytest.raises(SpaceNameError, match="learned itself"):
            learn(writer, "other", ["findings"], "lda")


def test_the_command_learns_and_info_says_how(learned: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(learned, path)
    ended = CliRunner().invoke(kvasir, ["learn", str(path), "small", "--method", "pca", "--dimension", "6"])
    assert ended.exit_code == 0, ended.output
    assert "space small: 6 numbers, learned by pca from 26 images of 3 classes" in ended.output
    told = CliRunner().invoke(kvasir, ["info", str(path)]).output
    assert "learned by lda (70% discriminant, 30% unlearned) on tf_efficientnet_lite0, seed 2" in told
    assert json.loads((path / "manifest.json").read_text())["format"] == 1


@pytest.fixture(scope="module")
def by_stages(gallery_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stages") / "c"
    with open_dataset(gallery_folder) as dataset, CollectionWriter(path, create=True) as writer:
        assert run_dataset(dataset, writer, options=EncoderOptions(features="auto")).exit_status == 0
    return path


def test_principal_components_replace_the_statistics_that_they_are_made_of(by_stages: Path) -> None:
    engine = retrieval.open(by_stages)
    statistics, components = engine.collection.spaces
    assert components.recipe["replaces"] == statistics.name
    assert (components.dimension, components.recipe["images"]) == (
        24,
        26,
    )  # one is a copy; the picture without a class too
    assert engine.search(3, 2).spaces == (components.name,)
    options = EvaluationOptions(measures=MeasureOptions(samples=0))
    result = evaluate_collection(engine.collection, "c", options)
    assert [space.space for space in result.spaces] == [components.name]
    # Learning takes the statistics, whether they or their components are named.
    assert [space.name for space in frozen_sources(engine.collection, [])] == [statistics.name]
    assert [space.name for space in frozen_sources(engine.collection, [components.name])] == [statistics.name]


def test_components_are_fitted_on_the_training_part_where_an_evaluation_splits(by_stages: Path) -> None:
    options = EvaluationOptions(protocol="k-fold", folds=3, measures=MeasureOptions(samples=0))
    (result,) = evaluate_collection(Collection.open(by_stages), "c", options).spaces
    assert result.space == "tf_efficientnet_lite0-multi-pca"
    assert result.dimension is None  # each fold has its own


def test_a_refit_takes_the_images_that_are_there_now(
    by_stages: Path, tmp_path: Path, draw: Callable[..., Image.Image], encode_file: Callable[..., bytes]
) -> None:
    path = tmp_path / "c"
    shutil.copytree(by_stages, path)
    engine = retrieval.open(path)
    name = engine.collection.spaces[1].name
    before = np.array(engine.collection.vectors(name)[1])
    (tmp_path / "more" / "polyps").mkdir(parents=True)
    for index in range(30):
        (tmp_path / "more" / "polyps" / f"{index}.jpg").write_bytes(encode_file(draw(500 + index, (90, 160, 60))))
    with open_dataset(tmp_path / "more") as dataset, CollectionWriter(path) as writer:
        assert run_dataset(dataset, writer).exit_status == 0
    grown = Collection.open(path)
    assert np.array_equal(grown.vectors(name)[1][:26], before)  # never silently
    assert outgrown(grown) == [
        f"space {name}: fitted on 26 of now 56 images; `kvasir refit {path} {name}` fits it again"
    ]
    ended = CliRunner().invoke(kvasir, ["refit", str(path), name])
    assert ended.output == f"space {name}: 54 numbers, fitted on 56 images\n"
    assert np.array_equal(engine.collection.vectors(name)[1], before)  # a reader of the earlier state
    later = engine.refreshed()
    assert (later.collection.manifest.space(name).dimension, outgrown(later.collection)) == (54, [])
    assert len(later.collection.ids(name)) == 56
    assert later.search(later.collection.read(40), 1)[0].id == 40
    assert CliRunner().invoke(kvasir, ["refit", str(path), name]).exit_code == 0
    assert later.search(later.collection.read(40), 1)[0].id == 40
    assert check(path, pictures=False) == []
    files = [file.name for file in (path / "vectors").iterdir() if file.name.startswith(name)]
    assert sorted(files) == [f"{name}~2.float32", f"{name}~3.float32"]  # one for readers of the earlier state
    assert 1 <= len(list((path / "learned").glob(f"{name}.*.npz"))) <= 2


class _StoppedError(Exception):
    pass


def test_readers_see_the_old_fit_whole_until_the_new_one_is(
    by_stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    shutil.copytree(by_stages, path)
    monkeypatch.setattr("retrieval.learn.completion.BLOCK", 8)
    engine = retrieval.open(path)
    name = engine.collection.spaces[1].name
    before = np.array(engine.collection.vectors(name)[1])
    seen = []

    def look(task: str, done: int, total: int) -> None:
        if task == "vectors":
            seen.append(done)
            for state in (Collection.open(path), engine.refreshed().collection):
                assert np.array_equal(state.vectors(name)[1], before)

    def stop(task: str, done: int, total: int) -> None:
        look(task, done, total)
        if done == 16:
            raise _StoppedError

    with pytest.raises(_StoppedError), CollectionWriter(path) as writer:
        refit(writer, name, stop)
    assert seen == [8, 16]
    assert np.array_equal(Collection.open(path).vectors(name)[1], before)
    with CollectionWriter(path) as writer:
        refit(writer, name, look)
    assert seen == [8, 16, 8, 16, 24, 26]
    with CollectionWriter(path) as writer:  # takes the column that the first fit had
        added = writer.add_space("more", "imported", 2, "cosine", {})
        assert (added.number, writer.manifest.space(name).number) == (1, 2)
    later = engine.refreshed().collection
    assert len(later.ids("more")) == 0
    assert len(later.ids(name)) == 26
    assert check(path, pictures=False) == []


def test_a_stop_while_a_space_is_learned_leaves_no_space(
    by_stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    shutil.copytree(by_stages, path)
    monkeypatch.setattr("retrieval.learn.completion.BLOCK", 8)

    def stop(task: str, done: int, total: int) -> None:
        if (task, done) == ("vectors", 16):
            raise _StoppedError

    with pytest.raises(_StoppedError), CollectionWriter(path) as writer:
        learn(writer, "findings", method="lda", options=OPTIONS, progress=stop)
    assert [space.number for space in Collection.open(path).spaces] == [0, 1]
    with CollectionWriter(path) as writer:
        learn(writer, "findings", method="lda", options=OPTIONS)
    assert len(Collection.open(path).ids("findings")) == 26
    assert check(path, pictures=False) == []


def test_a_frozen_space_is_not_refitted(by_stages: Path) -> None:
    with CollectionWriter(by_stages) as writer, pytest.raises(SpaceNameError, match="not learned"):
        refit(writer, writer.manifest.spaces[0].name)


def test_cross_validation_chooses_method_and_share(learned: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(learned, path)
    with CollectionWriter(path) as writer:
        recipe = learn(writer, "chosen", options=LearnOptions(dimension=12, seeds=1)).recipe
    assert recipe["chosen"]
    assert set(recipe["validation"]) == {"lda", "head", "blend", "ensemble"}
    figures = recipe["validation"][recipe["method"]]
    assert recipe["shares"]["base"] == pytest.approx(figures["unlearned"])
    assert {"precision@1", "mAP", "left-out mAP", "left-out mAP without learning"} <= set(figures)


def test_damaged_learned_vectors_are_made_anew_from_their_sources_and_a_lost_model_by_a_refit(
    by_stages: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    shutil.copytree(by_stages, path)
    name = Collection.open(path).spaces[1].name
    before = np.array(Collection.open(path).vectors(name)[1])
    vectors = path / "vectors" / f"{name}.float32"
    data = bytearray(vectors.read_bytes())
    data[len(data) // 2] ^= 1
    vectors.write_bytes(data)
    mended = repair(path, check(path, pictures=False))
    assert (mended.failed, mended.done) == ([], ["1 derived vector computed anew"])
    assert np.array_equal(Collection.open(path).vectors(name)[1], before)
    (model,) = (path / "learned").glob("*.npz")
    model.unlink()
    failed = repair(path, check(path, pictures=False)).failed
    assert [what for what, _ in failed] == [f"the encoder or model of the space {name}"]
    assert "kvasir refit" in failed[0][1]
    assert CliRunner().invoke(kvasir, ["refit", str(path), name]).exit_code == 0
    assert check(path, pictures=False) == []
    assert np.allclose(Collection.open(path).vectors(name)[1], before, atol=1e-5)


def test_marks_are_removed_from_the_unlearned_share_and_again_at_a_refit(indexed: Any, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    arguments = ["learn", str(path), "unmarked", "--method", "lda", "--unlearned", "0.5", "--marks", "remove"]

    def store(marks: dict[int, Marks]) -> None:
        with closing(sqlite3.connect(path / "catalog.sqlite")) as catalog, catalog:
            store_marks(catalog, marks)

    store(dict.fromkeys(range(26), Marks()))
    for refused, why in (([*arguments[:4], "pca", *arguments[5:]], "learns from none"), (arguments, "different marks")):
        ended = CliRunner().invoke(kvasir, refused)
        assert ended.exit_code != 0
        assert why in ended.output or why in str(ended.exception)
    store(dict.fromkeys(range(0, 26, 2), Marks({SCOPE_GUIDE: (0.0, 0.7, 0.2, 0.3)})))
    for name, marks, expected in (("default", (), True), ("kept", ("--marks", "keep"), False)):
        assert CliRunner().invoke(kvasir, ["learn", str(path), name, "--method", "lda", *marks]).exit_code == 0
        assert Collection.open(path).manifest.space(name).recipe["unmarked"] == expected
    ended = CliRunner().invoke(kvasir, arguments)
    assert ended.exit_code == 0, ended.output
    for again in (False, True):
        if again:
            with CollectionWriter(path) as writer:
                refit(writer, "unmarked")
        definition = Collection.open(path).manifest.space("unmarked")
        space = open_space(path, definition)
        assert isinstance(space, LearnedSpace)
        assert definition.recipe["unmarked"]
        assert space.model.arrays["base.marks"].shape[1] >= 1
        assert definition.recipe["mark_directions"] == space.model.arrays["base.marks"].shape[1]
        assert "50% unlearned without marks" in space.details[0]
    split = tmp_path / "split.csv"  # a training part with one kind of mark
    files = Collection.open(path).images.files
    lines = [f"{file},{'test' if at % 2 else 'train'}" for at, file in enumerate(files)]
    split.write_text("\n".join(["file,split", *lines]))
    ended = CliRunner().invoke(kvasir, [*arguments[:2], "even", *arguments[3:], "--train", str(split)])
    assert ended.exit_code == 0, ended.output
    definition = Collection.open(path).manifest.space("even")
    assert (definition.recipe["unmarked"], definition.recipe["mark_directions"]) == (True, 0)
    assert "50% unlearned)" in open_space(path, definition).details[0]


def test_embeddings_and_descriptors_learn_together_where_they_see_the_same_picture(
    indexed: Any, tiny_spec: str, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    made = CliRunner().invoke(
        kvasir, ["index", str(indexed.data), str(path), "--encoder", tiny_spec, "--descriptors", "ColorLayout"]
    )
    assert made.exit_code in (0, 1), made.output  # one of the drawn files is no picture
    encoder = Collection.open(path).spaces[0].name
    with CollectionWriter(path) as writer:
        learn(writer, "both", sources=[encoder, "ColorLayout"], method="lda", options=OPTIONS)
    engine = retrieval.open(path)
    ids, vectors = engine.collection.vectors("both")
    assert len(ids) == len(engine)
    again = engine.vectors_of(engine.collection.read(int(ids[3])), ["both"])["both"]
    assert np.allclose(again, vectors[3], atol=1e-3)


def test_a_space_that_decodes_smaller_pictures_does_not_learn_with_descriptors(indexed: Any, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    with CollectionWriter(path) as writer:
        create_space(writer, "descriptor:ColorLayout")
        with pytest.raises(UnsupportedQueryError, match="see pictures at different sizes"):
            learn(writer, "both", sources=["tf_efficientnet_lite0", "ColorLayout"], method="lda", options=OPTIONS)
