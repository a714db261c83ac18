"""Where a hit and the query agree: the toggle, the cells, and the best match of the place that is pointed at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.collection import Collection
from retrieval.reasons.faithfulness import Faithfulness
from retrieval.reasons.store import store_outcome

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect

PASSED = Faithfulness("blur", 1, 100, 0, 0.95, 0.8, 0.5, {"relevant": 0.08, "random": 0.02, "centre": 0.03})


@pytest.fixture(scope="module")
def address(serve: Callable[..., Any], drawn_in_two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server whose collection has passed the test of reasons."""
    path = shutil.copytree(drawn_in_two_spaces, tmp_path_factory.mktemp("agreement") / "drawn.collection")
    opened = Collection.open(path)
    store_outcome(opened, opened.spaces[0].name, [PASSED])
    return str(serve(path, "--rate", "off").url)


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["light", "dark-narrow"])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    scheme, width = request.param
    context = browser.new_context(
        base_url=address, color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    yield page
    context.close()
    assert page.faults == []


def test_a_place_shows_its_best_match_in_the_dialog_and_axe_finds_nothing(page: Any) -> None:
    page.goto("/results?image=3&k=6")
    page.locator("a[data-compare]").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Hit 1 of 6")).to_be_visible()
    expect(dialog.locator(".cells")).to_have_count(0)
    dialog.get_by_role("link", name="Agreement", exact=True).click()
    expect(dialog.locator(".cells")).to_have_count(2)
    expect(dialog.locator(".marked").first).to_be_visible()
    first = dialog.locator(".cells").first
    first.scroll_into_view_if_needed()
    first.hover()
    expect(dialog.locator(".cells .here")).to_have_count(1)
    expect(dialog.locator(".cells .match")).to_have_count(1)
    expect(dialog.locator("[data-matched]")).to_contain_text("alike, of 1")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dialog.get_by_role("link", name="Next").click()
    expect(dialog.get_by_role("heading", name="Hit 2 of 6")).to_be_visible()
    expect(dialog.locator(".cells")).to_have_count(2)
    dialog.get_by_role("link", name="Hide agreement").click()
    expect(dialog.locator(".cells")).to_have_count(0)


def test_without_javascript_the_cells_are_there_as_well(browser: Any, address: str) -> None:
    context = browser.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/compare?image=3&hit=1&k=6")
    page.get_by_role("link", name="Agreement", exact=True).click()
    expect(page.locator(".cells")).to_have_count(2)
    expect(page.get_by_text("Matters little")).to_be_visible()
    expect(page.get_by_text("Point at a place")).to_be_hidden()
    context.close()
