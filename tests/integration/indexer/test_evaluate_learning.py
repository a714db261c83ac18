from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from click.testing import CliRunner
from PIL import Image

from retrieval.command_line import kvasir
from retrieval.evaluation.result import SCHEMA_FILE


@pytest.fixture
def others(tmp_path: Path, indexed: Any, draw: Callable[..., Image.Image]) -> Path:
    """Pictures of one class from another source, one of them a copy of the collection's."""
    folder = tmp_path / "others"
    (folder / "adenoma").mkdir(parents=True)
    for number in range(3):
        draw(300 + number, (90, 160, 60)).save(folder / "adenoma" / f"{number}.png")
    shutil.copyfile(indexed.data / "polyps" / "3.jpg", folder / "adenoma" / "copy.jpg")
    return folder


def test_four_figures_stand_next_to_those_of_the_unlearned_space(indexed: Any, others: Path) -> None:
    before = sorted(path.name for path in indexed.path.rglob("*"))
    arguments = ["evaluate", str(indexed.path), "--folds", "3", "--samples", "20", "--learn", "lda"]
    arguments += ["--queries", str(others), "--map", "adenoma=polyps", "--rerank", "query-expansion"]
    ended = CliRunner().invoke(kvasir, [*arguments, "--json"])
    assert ended.exit_code == 0, ended.output
    result = json.loads(ended.stdout)
    figures = result["learning"]["lda"]
    assert [figure["setting"] for figure in figures] == [
        "queries against the training part",
        "test among themselves",
        "left-out classes",
        "other sources",
    ]
    assert [figure["queries"] for figure in figures] == [25, 25, 25, 3]  # of other sources without the copy
    assert result["spaces"][0]["protocol"]["name"] == "k-fold"
    assert result["spaces"][1]["space"] == "tf_efficientnet_lite0, query-expansion"
    for figure in figures:
        low, high = figure["learned"]["micro_interval"]["precision@1"]
        assert 0 <= low <= figure["learned"]["micro"]["precision@1"] <= high <= 1
    assert figures[3]["learned"]["worst_class"]["class"] == "polyps"
    assert set(result["transfer"]) == {"tf_efficientnet_lite0"}
    moved = result["transfer"]["tf_efficientnet_lite0"]  # one class: its figures are those of all queries
    assert moved["per_class"] == {
        "polyps": {"queries": 3, **moved["micro"], "chance": pytest.approx(moved["chance"])},
    }
    assert moved["macro"] == pytest.approx(moved["micro"])
    assert moved["chance"] == pytest.approx(result["spaces"][0]["images"]["per_class"]["polyps"] / 26)
    assert moved["chances"]["queries"] == 3
    assert set(moved["chances"]["per_class"]) == {"polyps"}
    chances = result["spaces"][0]["chances"]
    assert sum(one["hits"] for one in chances["reliability"]) > 10 * 20
    assert chances["per_class"]["polyps"]["few"]
    assert chances["few"]["queries"] == chances["queries"] == 25
    jsonschema_rs.validate(json.loads(SCHEMA_FILE.read_text("utf-8")), result)
    assert sorted(path.name for path in indexed.path.rglob("*")) == before  # the collection stays as it is


def test_the_report_shows_chances_settings_of_learning_and_other_sources(
    indexed: Any, others: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", str(indexed.path), "--folds", "3", "--samples", "0", "--learn", "lda", "--queries"]
    arguments += [str(others), "--map", "adenoma=polyps", "--rerank", "expansion", "--report", str(tmp_path / "r")]
    ended = CliRunner().invoke(kvasir, arguments)
    assert ended.exit_code == 0, ended.output
    assert "Chances of tf_efficientnet_lite0 there: calibration error" in ended.output
    page = (tmp_path / "r" / "index.html").read_text("utf-8")
    for text in ("Learned by lda, and not", "Pictures of other sources as queries", "left-out classes", "by chance"):
        assert text in page
    assert page.count("<h3>Do chances hold?</h3>") == 3
    assert "too few pictures to judge by" in page


def test_queries_of_hyperkvasir_are_counted_as_the_collections_classes_with_a_word(
    indexed: Any, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    for number, name in enumerate(("cecum", "polyp", "polyp", "ileum")):
        (tmp_path / "q" / name).mkdir(parents=True, exist_ok=True)
        draw(300 + number).save(tmp_path / "q" / name / f"{number}.png")
    (tmp_path / "q" / "polyp" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = ["evaluate", str(indexed.path), "--samples", "0", "--queries", str(tmp_path / "q"), "--json"]
    ended = CliRunner().invoke(kvasir, arguments)
    assert ended.exit_code == 0, ended.output
    assert len(json.loads(ended.stdout)["transfer"]) == 1
    for line in (
        "class polyp counted as polyps: 3 pictures",
        "1 picture of q without figures, since no image of the collection is of their class: ileum",
        "1 picture of q could not be used, the first polyp/broken.png: ",
    ):
        assert line in ended.stderr


def test_queries_of_classes_that_the_collection_does_not_have_are_refused_by_name(
    indexed: Any, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    (tmp_path / "q" / "ileum").mkdir(parents=True)
    draw(300).save(tmp_path / "q" / "ileum" / "0.png")
    ended = CliRunner().invoke(
        kvasir, ["evaluate", str(indexed.path), "--samples", "0", "--queries", str(tmp_path / "q")]
    )
    assert "its classes are ileum, see --map" in str(ended.exception)


def test_queries_without_a_picture_left_are_refused(indexed: Any, tmp_path: Path) -> None:
    (tmp_path / "q" / "polyps").mkdir(parents=True)
    shutil.copyfile(indexed.data / "polyps" / "3.jpg", tmp_path / "q" / "polyps" / "copy.jpg")
    ended = CliRunner().invoke(kvasir, ["evaluate", str(indexed.path), "--queries", str(tmp_path / "q")])
    assert "no picture of a class is left" in str(ended.exception)


def test_a_slip_in_a_way_of_learning_names_the_methods_and_the_nearest(indexed: Any) -> None:
    ended = CliRunner().invoke(kvasir, ["evaluate", str(indexed.path), "--folds", "3", "--learn", "ldaa"])
    assert "(did you mean lda?); methods: auto, pca, wccn, lda" in str(ended.exception)
    assert str(ended.exception).endswith("learned spaces: none yet")
