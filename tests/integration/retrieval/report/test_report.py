"""A report of a real collection with real picture files, from the command to the page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from indexer.commands.evaluate import command
from retrieval.collection import CollectionWriter
from retrieval.report.folder import NotAReportError

CLASSES = ("esophagitis", "polyps", "normal-cecum")


@pytest.fixture(scope="module")
def report(write_collection: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    pictures, numbers = folder / "pictures", np.arange(45)
    for number in numbers[numbers != 7].tolist():  # one picture is gone since
        file = pictures / CLASSES[number % 3] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (80 * (number % 3), 100, number)).save(file)
    vectors = np.random.default_rng(0).standard_normal((45, 2, 8)).astype(np.float32)
    vectors[numbers, 0, numbers % 3] += 4
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    path = write_collection(
        folder / "collection",
        {"one": vectors[:, 0], "two": vectors[:, 1]},
        [CLASSES[number % 3] for number in range(45)],
        source=pictures,
        size=(40, 30),
    )
    arguments = [str(path), "--report", str(folder / "out"), "--samples", "100", "--fuse", "one=2+two"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "out"


def test_a_second_report_replaces_the_first_with_all_its_runs(report: Path, tmp_path: Path) -> None:
    shutil.copytree(report, tmp_path / "out")
    (tmp_path / "out" / "mine.run").touch()
    arguments = [str(report.parent / "collection"), "--report", str(tmp_path / "out"), "--samples", "0", "--k", "3"]
    CliRunner().invoke(command, [*arguments, "--space", "two"], catch_exceptions=False)
    assert {file.name for file in (tmp_path / "out").glob("*.run")} == {"two.run", "mine.run"}


@pytest.mark.parametrize(("samples", "told"), [("0", False), ("20", True)])
def test_intervals_are_explained_only_where_there_are_some(
    report: Path, tmp_path: Path, samples: str, told: bool
) -> None:
    arguments = [str(report.parent / "collection"), "--report", str(tmp_path / "out"), "--samples", samples]
    assert CliRunner().invoke(command, [*arguments, "--space", "two"], catch_exceptions=False).exit_code == 0
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert ("in brackets the 95 % interval" in page) == told
    assert ("thin lines are 95 % intervals" in page) == told


def test_a_report_without_relevant_images_has_a_sentence_instead_of_figures(report: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.csv"
    parts = [f"{CLASSES[n % 3]}/{n}.jpg,{'test' if n % 3 == 0 else 'train'}" for n in range(45)]
    split.write_text("\n".join(["file,split", *parts]))
    arguments = [str(report.parent / "collection"), "--split", str(split), "--report", str(tmp_path / "out")]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "No query has anything relevant to find" in (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "nan" not in (tmp_path / "out" / "tables.tex").read_text("utf-8").replace("dominance", "")


def test_another_page_is_not_overwritten_and_that_is_refused_before_measuring(report: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    arguments = [str(report.parent / "collection"), "--report", str(tmp_path)]
    with pytest.raises(NotAReportError, match="another folder"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            self.labels += [value or ""] if name == "aria-label" else []
            if name in ("src", "href", "xlink:href") and not (value or "").startswith(("#", "data:")):
                self.outside.append(value or "")


def test_page_needs_no_other_file(report: Path) -> None:
    text = (report / "index.html").read_text("utf-8")
    assert Page(text).outside == []
    assert not re.search(r"@import|url\((?!#)", text)


def test_no_two_pictures_share_an_id(report: Path) -> None:
    """Matplotlib names marks and clips by hash; a shared one would let one picture change another."""
    ids = Page((report / "index.html").read_text("utf-8")).ids
    assert len(ids) > 20
    assert len(set(ids)) == len(ids)


def test_every_point_of_a_map_has_its_image(report: Path) -> None:
    text = (report / "index.html").read_text("utf-8")
    (shown,) = re.findall(r"const pictures = (\{.*\});", text)
    pictures = json.loads(shown)
    for key in (f"map-{number}-{c}" for number in range(3) for c in range(3) if f'id="space-{number}"' in text):
        if key not in pictures["points"]:
            continue  # of the fusion
        (drawing,) = (svg for svg in re.findall("<svg .*?</svg>", text, re.DOTALL) if f'<g id="{key}">' in svg)
        group = ElementTree.fromstring(drawing).find(f".//*[@id='{key}']")
        assert len(list(group.iter("{http://www.w3.org/2000/svg}use"))) == len(pictures["points"][key]) == 15
    assert len(pictures["points"]) == 2 * 4  # the fusion has none
    symbols = re.findall(r'<symbol id="i(\d+)"', text)
    assert sorted(map(int, symbols)) == [number for number in range(45) if number != 7]  # that one is gone


def test_each_small_picture_is_there_once_however_often_it_is_shown(report: Path) -> None:
    text = (report / "index.html").read_text("utf-8")
    assert text.count("data:image/webp") == 44
    assert text.count('href="#i3"') > 1
    assert "image 3" in Page(text).labels


def test_every_figure_has_a_caption(report: Path) -> None:
    text = (report / "index.html").read_text("utf-8")
    assert text.count("<figure ") == text.count("<figcaption>") == 1 + 2 * 11 + 10  # the fusion has no map
    assert "there is no map of it" in text


def test_the_files_of_a_report_folder(report: Path) -> None:
    names = {
        "index.html",
        "evaluation.json",
        "evaluation.schema.json",
        "means.csv",
        "queries.csv",
        "tables.tex",
        "qrels.txt",
        "one.run",
        "two.run",
        "one=2+two.run",
    }
    assert {file.name for file in report.iterdir()} == names
    assert json.loads((report / "evaluation.json").read_text())["schema"] == "kvasir-evaluation/1"
    assert len((report / "qrels.txt").read_text().splitlines()) == 45 * 14


def test_what_a_known_encoder_has_seen_stands_beside_its_figures(report: Path, tmp_path: Path) -> None:
    shutil.copytree(report.parent / "collection", tmp_path / "c")
    with CollectionWriter(tmp_path / "c") as writer:
        writer.update_recipe("one", {"known": "biomedclip"})
        writer.update_recipe("two", {"spec": "timm:vit_small_patch14_dinov2.lvd142m"})  # named by its published weights
    arguments = [str(tmp_path / "c"), "--report", str(tmp_path / "out"), "--samples", "0", "--fuse", "one+two"]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert page.count("Encoder of one: BiomedCLIP, ViT-B/16, trained on PMC-15M") == 2  # by itself and in the fusion
    assert page.count("Encoder of two: DINOv2, ViT-S/14, trained on LVD-142M") == 2
    assert page.count("it may have seen images of Kvasir or HyperKvasir in training") == 4
    assert "Encoder of" not in (report / "index.html").read_text("utf-8")
