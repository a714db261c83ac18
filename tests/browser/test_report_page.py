"""A report's page in a real browser, from its file: keyboard, finger, narrow screen, print, axe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from indexer.commands.evaluate import command

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


@pytest.fixture(scope="module")
def address(two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report page")
    arguments = [str(two_spaces), "--report", str(folder), "--samples", "50"]
    arguments += ["--fuse", "tf_efficientnet_lite0+test_vit-test_vit"]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    return (folder / "index.html").as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Any]:
    """(options of the browser's context) -> the page; it must ask for nothing but its own file, and break nowhere."""
    contexts, faults = [], []

    def opener(**options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith("data:") else faults.append(asked.url))
        page.goto(address)
        assert faults.pop(0) == address
        return page

    yield opener
    for context in contexts:
        context.close()
    assert faults == []


def test_arrow_keys_go_from_image_to_image(opened: Any) -> None:
    page = opened()
    page.locator("figure.map canvas.map-canvas").first.focus()
    shown = page.locator(".map-card:visible")
    seen = set()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
        expect(shown).to_be_visible()
        assert shown.locator("use").count() == 1
        seen.add(shown.inner_text())
    assert len(seen) > 2
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()


def test_pointing_at_an_image_shows_it(opened: Any, point_at_map: Callable[[Any], None]) -> None:
    page = opened()
    point_at_map(page)
    expect(page.locator(".map-card:visible")).to_contain_text("image")
    expect(page.locator(".map-card:visible svg")).to_be_visible()


def test_a_finger_shows_an_image_and_it_stays(opened: Any, point_at_map: Callable[..., None]) -> None:
    page = opened(has_touch=True, viewport={"width": 390, "height": 800})
    point_at_map(page, page.touchscreen.tap)
    expect(page.locator(".map-card:visible")).to_contain_text("image")


def test_the_legend_hides_a_class_and_the_drawing_is_printed(opened: Any) -> None:
    page = opened()
    canvas = page.locator("figure.map canvas.map-canvas").first
    expect(canvas).to_have_attribute("data-drawn", re.compile("[0-9]+"))
    every = int(canvas.get_attribute("data-drawn"))
    page.locator("figure.map").first.get_by_role("checkbox").first.uncheck()
    expect(canvas).not_to_have_attribute("data-points", str(every))
    expect(page.locator("figure.map > div > svg").first).to_be_hidden()
    page.emulate_media(media="print")
    expect(page.locator("figure.map > div > svg").first).to_be_visible()
    expect(canvas).to_be_hidden()


def test_a_narrow_screen_scrolls_tables_and_pictures_but_not_the_page(opened: Any) -> None:
    page = opened(viewport={"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('figure.plot svg text')].map(t => t.getBoundingClientRect().height))"
    )
    assert smallest >= 8


def test_on_a_phone_hits_are_three_in_a_row_below_their_query(opened: Any) -> None:
    page = opened(viewport={"width": 375, "height": 800})
    row = page.locator(".row").first
    query, *hits = [thumb.bounding_box() for thumb in row.locator(".thumb").all()]
    assert hits[0]["y"] > query["y"] + query["height"]
    assert [hit["y"] for hit in hits[:3]] == [hits[0]["y"]] * 3
    assert hits[3]["y"] > hits[0]["y"]
    assert hits[2]["x"] + hits[2]["width"] > 340


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(opened(color_scheme=scheme))
    assert found.violations_count == 0, found.generate_report()


def test_what_is_folded_is_printed_and_the_menu_is_not(opened: Any) -> None:
    page = opened()
    table = page.locator("details table").first
    expect(table).to_be_hidden()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(table).to_be_visible()
    expect(page.locator("nav")).to_be_hidden()
