"""What an endoscopist and a researcher come for, walked through with the clicks counted: at most three to a picture."""

from __future__ import annotations

import csv
import io
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from retrieval.collection import Collection
from retrieval.command_line import kvasir
from retrieval.tables import csv_rows

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect

MOST = 3
"""Clicks to the first useful picture."""


MISLABELLED = "polyps/3.jpg"


def run(*arguments: object) -> None:
    done = CliRunner().invoke(kvasir, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output


def classes(path: Path) -> dict[str, str | None]:
    opened = Collection.open(path)
    return {file: opened.class_of(i) for file, i in zip(opened.images.files, opened.images.ids.tolist(), strict=True)}


@pytest.fixture(scope="module")
def served(serve: Callable[..., Any], two_spaces: Path, indexed: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of an evaluated collection, as `make run` leaves one, in which one polyp is called a cecum."""
    folder = tmp_path_factory.mktemp("tasks")
    path = shutil.copytree(two_spaces, folder / "drawn.collection", ignore=shutil.ignore_patterns("evaluations"))
    wrong = classes(path) | {MISLABELLED: "cecum"}
    (folder / "labels.csv").write_text(csv_rows([("file", "class"), *wrong.items()]))
    run("index", indexed.data, path, "--labels", folder / "labels.csv")
    run("evaluate", path, "--keep", "--samples", "20")
    return serve(path, "--rate", "off")


class Visitor:
    """A person at a page, whose clicks are counted, and told when what was looked for is there."""

    def __init__(self, page: Any, tally: Callable[..., None]) -> None:
        self.page = page
        self.clicks = 0
        self._tally = tally

    def click(self, place: Any) -> None:
        place.click()
        self.clicks += 1

    def choose(self, picture: Path) -> None:
        """Choose a file, which is one click on the page."""
        self.page.locator("#file").set_input_files(picture)
        self.clicks += 1

    def expect_picture(self, place: Any) -> None:
        """A picture that is there and loaded, after few clicks."""
        expect(place.first).to_be_visible()
        place.first.scroll_into_view_if_needed()
        expect(place.first).to_have_js_property("complete", True)
        assert place.first.evaluate("image => image.naturalWidth") > 0
        self.arrive()

    def arrive(self) -> None:
        """Few clicks were enough, and their number is printed."""
        self._tally(clicks=self.clicks)
        assert self.clicks <= MOST


@pytest.fixture
def visitor(page: Any, tally: Callable[..., None]) -> Visitor:
    page.goto("/")
    return Visitor(page, tally)


def test_an_endoscopist_finds_like_cases_of_an_unknown_frame(visitor: Visitor, polyp: Path) -> None:
    visitor.choose(polyp)
    visitor.expect_picture(visitor.page.locator(".hit img"))
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text(re.compile("most similar images are"))


def test_an_endoscopist_checks_whether_a_label_is_right(
    visitor: Visitor, served: Any, indexed: Any, tmp_path: Path
) -> None:
    page = visitor.page
    visitor.click(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Evaluation"))
    visitor.click(page.get_by_role("navigation", name="Parts of the report").get_by_role("link").nth(1))
    visitor.click(page.get_by_role("link", name="Likely label errors and hubs"))
    suspect = page.locator(".marking .row").first
    visitor.expect_picture(suspect.locator("img"))
    expect(suspect.locator(".query")).to_contain_text("cecum, rather polyps?")
    expect(suspect.locator(".hits img").first).to_be_visible()
    suspect.locator("[data-mark]").select_option(label="is wrong: polyps")
    expect(page.get_by_text("1 image marked")).to_be_visible()
    name = suspect.locator("[data-mark]").get_attribute("name")
    page.locator(f'[data-mark]:not([name="{name}"])').first.select_option(label="is right")
    expect(page.get_by_text("2 images marked")).to_be_visible()
    page.reload()  # they stay in the browser
    expect(suspect.locator("[data-mark]")).to_have_value("wrong:polyps")
    expect(page.get_by_text("2 images marked")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Labels as CSV").click()
    table = tmp_path / "labels.csv"
    download.value.save_as(table)
    with table.open(encoding="utf-8", newline="") as stream:
        marks = {row["file"]: (row["class"], row["mark"]) for row in csv.DictReader(stream) if row["mark"]}
    assert marks.pop(MISLABELLED) == ("polyps", "wrong label")
    assert [mark for _, mark in marks.values()] == ["right"]
    corrected = shutil.copytree(served.collection, tmp_path / "corrected.collection")
    run("index", indexed.data, corrected, "--labels", table)
    assert classes(corrected) == classes(indexed.path)


def test_an_endoscopist_teaches_the_difference_of_two_findings(visitor: Visitor) -> None:
    page = visitor.page
    visitor.click(page.locator(".suggested a").first)
    visitor.click(page.get_by_role("link", name="The nearest of each class"))
    visitor.expect_picture(page.locator(".of-class img"))
    assert page.locator(".of-class").count() > 1


def test_a_researcher_sees_which_space_is_best(visitor: Visitor) -> None:
    page = visitor.page
    expect(page.get_by_text("Best here")).to_be_visible()  # before any click
    visitor.click(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Evaluation"))
    expect(page.get_by_role("heading", name="All spaces")).to_be_visible()
    expect(page.locator("figure.plot svg").first).to_be_visible()
    visitor.arrive()


def test_a_researcher_sees_the_errors_of_a_space(visitor: Visitor) -> None:
    page = visitor.page
    visitor.click(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Evaluation"))
    visitor.click(page.get_by_role("navigation", name="Parts of the report").get_by_role("link").nth(1))
    expect(page.get_by_role("heading", name="Confusion")).to_be_visible()
    visitor.click(page.get_by_role("link", name="Best and worst queries"))
    worst = page.locator("figure.gallery", has_text="Worst queries")
    visitor.expect_picture(worst.locator("img"))
    expect(worst.locator(".query").first).to_contain_text("AP")
    expect(worst.locator(".thumb.wrong").first).to_be_visible()


def test_a_researcher_exports_hits_and_tables_for_a_paper(visitor: Visitor) -> None:
    page = visitor.page
    visitor.click(page.locator(".suggested a").first)
    visitor.expect_picture(page.locator(".hit img"))
    with page.expect_download() as download:
        visitor.click(page.get_by_role("link", name="ZIP with pictures"))
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as files:
        assert sum(name.startswith("pictures/") for name in files.namelist()) == page.locator(".hit").count()
    visitor.arrive()
    visitor.clicks = 0
    visitor.click(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Evaluation"))
    with page.expect_download():
        visitor.click(page.get_by_role("link", name="tables.tex"))
    visitor.arrive()
