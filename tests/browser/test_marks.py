"""Hits that fit or do not, in a real browser: marked by mouse and key, searched again, kept in the address."""

from __future__ import annotations

import re
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


def test_marks_by_mouse_and_key_search_again_and_stand_in_the_address(page: Any) -> None:
    page.goto("/results?image=3&k=12")
    bar = page.locator("#marks")
    expect(bar).to_be_hidden()
    fits, unfit = (
        page.get_by_role("checkbox", name=re.compile(", fits$")),
        page.get_by_role("checkbox", name=re.compile(", does not fit$")),
    )
    first, second, third = (fits.nth(at).get_attribute("value") for at in (0, 1, 2))
    fits.first.check()
    expect(bar).to_be_visible()
    expect(bar.get_by_role("status")).to_have_text("1 fits")
    page.locator(".hit .look").nth(1).focus()
    page.keyboard.press("y")
    page.keyboard.press("n")  # the later one counts
    expect(fits.nth(1)).not_to_be_checked()
    expect(unfit.nth(1)).to_be_checked()
    page.locator(".hit .look").nth(2).focus()
    page.keyboard.press("y")
    expect(bar.get_by_role("status")).to_have_text("2 fit, 1 does not")
    bar.get_by_label("only new images").check()
    page.get_by_role("button", name="3 marked: search again").click()
    page.wait_for_url(f"**/results?*relevant={first}%2C{third}&irrelevant={second}")
    expect(page.locator(".lead")).to_contain_text("the query was moved by 3 marks")
    expect(page.locator(".hit")).to_have_count(12)
    shown = {fits.nth(at).get_attribute("value") for at in range(12)}
    assert not shown & {first, second, third}
    expect(bar.get_by_role("status")).to_have_text("2 fit, 1 does not")
    # One more in the dialog, and one mark taken back beside the options
    page.locator("a[data-compare]").first.click()
    page.get_by_role("dialog").get_by_role("link", name="It fits").click()
    expect(page.get_by_role("dialog").locator("[data-fit][aria-current]")).to_have_text(re.compile("It fits"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="4 marked: search again")).to_be_visible()
    page.get_by_role("checkbox", name=f"Image {second} does not fit").uncheck()
    page.locator(".refine").get_by_role("button", name="Search again").click()
    expect(bar.get_by_role("status")).to_have_text("3 fit")
    page.get_by_role("link", name="Forget the marks").click()
    expect(bar).to_be_hidden()
    assert "relevant" not in page.url


def test_marks_survive_more_hits(page: Any) -> None:
    page.goto("/results?image=3&k=6")
    page.locator(".fit input").first.check()
    page.get_by_role("link", name="6 more hits").click()
    expect(page.locator(".hit")).to_have_count(12)
    expect(page.locator(".fit input").first).to_be_checked()
    expect(page.get_by_role("button", name="1 marked: search again")).to_be_in_viewport()


def test_marks_work_without_javascript(browser: Any, served: Any) -> None:
    context = browser.new_context(base_url=served.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/results?image=3&k=12")
    page.locator('.fit input[name="relevant"]').first.check()
    page.locator('.fit input[name="irrelevant"]').nth(3).check()
    page.locator("#marks").get_by_role("button", name="Search again").click()
    expect(page.locator(".lead")).to_contain_text("moved by 2 marks")
    expect(page.locator(".marked li")).to_have_count(2)
    context.close()


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_the_bar_is_on_the_screen(browser: Any, served: Any, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    context = browser.new_context(base_url=served.url, viewport={"width": width, "height": 800})
    context.add_cookies([{"name": "theme", "value": theme, "url": served.url}])
    page = context.new_page()
    for address in ("/results?image=3&relevant=9,12&irrelevant=20", "/compare?image=3&relevant=9&hit=9"):
        page.goto(address)
        if "results" in address:
            expect(page.get_by_role("button", name="3 marked: search again")).to_be_in_viewport(ratio=1)
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
