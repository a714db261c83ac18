from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import retrieval
from retrieval import Filter
from retrieval.collection import Collection, CollectionWriter
from retrieval.command_line import kvasir
from retrieval.learn import LearnOptions
from retrieval.learn.calibration_store import NotCalibratedError, calibration_path, load_calibration
from retrieval.learn.novelty import Novelty
from retrieval.learn.training import learn
from web.app import create_app
from web.context import Settings

SPACE = "tf_efficientnet_lite0"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(kvasir, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def calibrated(indexed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen space and one that is learned, with their fusion, all calibrated. Read only."""
    path = tmp_path_factory.mktemp("calibrated") / "c"
    shutil.copytree(indexed.path, path)
    with CollectionWriter(path) as writer:
        learn(writer, "findings", method="lda", options=LearnOptions(dimension=12, unlearned=0.3))
    ended = run("calibrate", path, "--space", f"{SPACE},findings", "--fuse", f"findings=2+{SPACE}", "--json")
    assert ended.exit_code == 0, ended.output
    names = [one["name"] for one in json.loads(ended.stdout)["calibrations"]]
    assert names == [SPACE, "findings", f"findings=2+{SPACE}"]
    return path


@pytest.fixture
def changed(calibrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(calibrated, tmp_path / "c"))


def test_each_hit_has_its_chance_and_the_query_its_findings(calibrated: Path) -> None:
    engine = retrieval.open(calibrated)
    for spaces, weights in ((SPACE, None), ("findings", None), ([SPACE, "findings"], [1, 2])):
        hits = engine.search(3, 12, spaces=spaces, weights=weights)
        assert all(0 < hit.chance < 1 for hit in hits if hit.chance is not None)
        assert [hit.class_name is None for hit in hits] == [hit.chance is None for hit in hits]
        assert hits.findings is not None
        assert hits.findings.coverage == 0.9
        assert not hits.findings.outdated
        best = max(hit.chance or 0 for hit in hits[:10])
        assert hits.findings.classes[0][1] == pytest.approx(best)
        assert hits.to_dict()["findings"]["classes"][0] == hits.findings.classes[0]
    assert engine.search(3, spaces=[SPACE, "findings"]).findings is None  # of equal weights it is another fusion


def test_a_chance_depends_neither_on_k_nor_on_a_filter(calibrated: Path) -> None:
    engine = retrieval.open(calibrated)
    whole = {hit.id: hit.chance for hit in engine.search(3, 25)}
    for hits in (
        engine.search(3, 2),
        engine.search(3, 5, classes="cecum"),
        engine.search(3, 5, filter=Filter(exclude_ids=frozenset({4, 5}))),
    ):
        assert len(hits) > 1
        assert [hit.chance for hit in hits] == pytest.approx([whole[hit.id] for hit in hits])


def test_hits_below_the_least_chance_are_cut(calibrated: Path) -> None:
    engine = retrieval.open(calibrated)
    whole = engine.search(3, 25)
    chances = sorted(hit.chance or 0 for hit in whole)
    least = chances[len(chances) // 2]
    cut = engine.search(3, 25, min_chance=least)
    assert cut.ids == [hit.id for hit in whole if (hit.chance or 0) >= least]
    assert [hit.rank for hit in cut] == list(range(1, len(cut) + 1))
    with pytest.raises(retrieval.BadQueryError, match="from 0 to 1"):
        engine.search(3, min_chance=2)
    with pytest.raises(NotCalibratedError, match="after re-ranking"):
        engine.search(3, min_chance=0.5, rerank="expansion")


def test_a_space_without_calibration_has_no_chances_and_says_how_to_get_them(indexed: Any) -> None:
    engine = retrieval.open(indexed.path)
    hits = engine.search(3)
    assert (hits.findings, {hit.chance for hit in hits}) == (None, {None})
    ended = run("search", 3, indexed.path, "--min-chance", "0.5")
    assert f"{SPACE} is not calibrated; `kvasir calibrate {indexed.path} --space {SPACE}` does it" in str(
        ended.exception
    )


def test_after_a_write_it_serves_on_and_is_told_as_outdated(
    changed: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    before = run("info", changed).output
    assert "chances of findings: calibration error" in before
    assert "has changed since" not in before
    draw(777, (90, 160, 60)).save(tmp_path / "new.jpg")
    assert run("add", changed, tmp_path / "new.jpg", "--class", "polyps").exit_code == 0
    hits = retrieval.open(changed).search(3)
    assert hits.findings is not None
    assert hits.findings.outdated
    assert "calibrated before the collection changed" in run("search", 3, changed).output
    assert "`kvasir calibrate" in run("info", changed).output
    assert run("calibrate", changed, "--space", SPACE).exit_code == 0
    assert retrieval.open(changed).search(3).findings != hits.findings


def test_a_space_that_is_fitted_anew_loses_its_calibration(changed: Path) -> None:
    assert load_calibration(Collection.open(changed), "findings") is not None
    with CollectionWriter(changed) as writer:
        writer.update_recipe("findings", writer.manifest.space("findings").recipe | {"seed": 9})
    assert load_calibration(Collection.open(changed), "findings") is None
    assert load_calibration(Collection.open(changed), SPACE) is not None


def test_a_damaged_calibration_is_not_used(changed: Path, caplog: pytest.LogCaptureFixture) -> None:
    calibration_path(changed, SPACE).write_text('{"name": 1}')
    assert retrieval.open(changed).search(3).findings is None
    assert "`kvasir calibrate` makes it anew" in caplog.text


def test_other_sources_are_measured_and_every_class_is_told(
    changed: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    folder = tmp_path / "others" / "adenoma"
    folder.mkdir(parents=True)
    for number in range(3):
        draw(300 + number, (90, 160, 60)).save(folder / f"{number}.png")
    arguments = ("calibrate", changed, "--space", SPACE, "--queries", folder.parent, "--map", "adenoma=polyps")
    text = run(*arguments).output
    assert "others: calibration error" in text
    assert "over 3 queries" in text
    assert text.count("    polyps: calibration error") == 2
    assert "    cecum: calibration error" in text


def test_a_batch_has_the_chances_and_findings_of_single_queries(
    calibrated: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    folder = tmp_path / "q" / "polyps"
    folder.mkdir(parents=True)
    for number in range(2):
        draw(400 + number, (90, 160, 60)).save(folder / f"{number}.png")
    command = ("search", "--batch", tmp_path / "q", calibrated, "--space", "findings", "-k", 4, "--out")
    assert run(*command, tmp_path / "all.csv").exit_code == 0
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text("utf-8").splitlines()))
    hits = retrieval.open(calibrated).search(folder / "0.png", 4, spaces="findings")
    assert [float(row["chance"]) for row in rows[:4] if row["chance"]] == pytest.approx(
        [hit.chance for hit in hits if hit.chance is not None]
    )
    assert hits.findings is not None
    told = "; ".join(f"{name} {chance:.4f}" for name, chance in hits.findings.classes)
    assert {row["findings"] for row in rows[:4]} == {told}
    assert run(*command, tmp_path / "all.jsonl").exit_code == 0
    line = json.loads((tmp_path / "all.jsonl").read_text("utf-8").splitlines()[0])
    assert line["findings"] == json.loads(json.dumps(hits.to_dict()))["findings"]
    least = sorted(float(row["chance"] or 0) for row in rows)[4]
    assert run(*command, tmp_path / "cut.csv", "--min-chance", least).exit_code == 0
    cut = list(csv.DictReader((tmp_path / "cut.csv").read_text("utf-8").splitlines()))
    assert [row["id"] for row in cut] == [row["id"] for row in rows if float(row["chance"] or 0) >= least]


def test_a_fusion_is_calibrated_as_well_as_the_spaces_unless_these_are_named(
    tmp_path: Path, vector_collection: Callable[..., Path]
) -> None:
    drawn = np.random.default_rng(0).standard_normal((2, 60, 4)) + np.tile([[0] * 4, [2] * 4], (30, 1))
    spaces = {name: vectors.astype(np.float32) for name, vectors in zip(("s", "t"), drawn, strict=True)}
    path = vector_collection(tmp_path / "v", spaces, ["a", "b"] * 30)
    for more, expected in (((), ["s", "t", "s+t"]), (("--space", "t"), ["t", "s+t"])):
        made = json.loads(run("calibrate", path, "--fuse", "s+t", *more, "--json").stdout)["calibrations"]
        assert [one["name"] for one in made] == expected


def test_too_few_pictures_are_refused(tmp_path: Path, vector_collection: Callable[..., Path]) -> None:
    path = vector_collection(tmp_path / "v", {"s": np.eye(6, dtype=np.float32)}, ["a", "b"] * 3)
    ended = run("calibrate", path)
    assert "too few to calibrate on" in str(ended.exception)


def test_a_picture_of_another_kind_is_told_and_one_of_the_collection_is_not(
    index_folder: Callable[..., Path], tmp_path: Path, tiny_spec: str, draw: Callable[..., Image.Image]
) -> None:
    for number in range(120):
        folder = tmp_path / "data" / ("polyps", "cecum")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        draw(number, ((150, 90, 80), (90, 160, 60))[number % 2]).save(folder / f"{number}.png")
    path = index_folder(tmp_path / "data", tmp_path / "c", tiny_spec)
    told = json.loads(run("calibrate", path, "--json").stdout)["detectors"]
    assert [one["rates"] for one in told] == [{"the pictures here": {"foreign": 0.005, "unlike": 0.05}}]
    engine = retrieval.open(path)
    checks = np.indices((90, 120)).sum(axis=0) // 6 % 2 * 255
    novelty = engine.search(np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8)).novelty
    assert novelty is not None
    assert novelty.level == "foreign"
    strange = engine.search(np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8))
    assert (strange.findings, {hit.chance for hit in strange}) == (None, {None})
    (tmp_path / "q").mkdir()
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "checks.png")
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "q" / "checks.png")
    assert run("search", "--batch", tmp_path / "q", path, "--out", tmp_path / "out.csv").exit_code == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text("utf-8").splitlines()))
    assert {(row["chance"], row["findings"], row["novelty"]) for row in rows} == {("", "", "foreign")}
    assert "note: this is another kind of picture" in run("search", tmp_path / "checks.png", path).output
    client = create_app(Settings(path), background=False).test_client()
    with (tmp_path / "checks.png").open("rb") as file:
        answer = client.post("/api/v1/search", data={"image": (file, "checks.png")}).get_json()
    assert answer["novelty"]["level"] == "foreign"
    with (tmp_path / "checks.png").open("rb") as file:
        page = client.post("/search", data={"picture": (file, "checks.png")}, follow_redirects=True)
    assert "<b>Another kind of picture.</b>" in page.text
    hint = Novelty("unlike", {"the pictures here": 0.05, "others": 0.07})
    assert str(hint).endswith("a hint that is given for 5.0% of the pictures here, 7.0% of others too")
    assert engine.search(3).novelty is None
    assert engine.search(tmp_path / "data" / "polyps" / "4.png").novelty is None
    assert engine.search(3).to_dict()["novelty"] is None
