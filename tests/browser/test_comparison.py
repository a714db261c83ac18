"""A hit next to the query, in a dialog over the hits: on a slow network, and by the browser's Back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


@pytest.fixture
def page(browser: Any, served: Any) -> Iterator[Any]:
    """An answer of eight hits; what the dialog asks for waits in `held` while that is a list."""
    context = browser.new_context(base_url=served.url, viewport={"width": 1280, "height": 700})
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.held = None
    page.route("**/compare*", lambda route: route.continue_() if page.held is None else page.held.append(route))
    page.goto("/results?image=3&k=8")
    yield page
    context.close()
    assert page.faults == []


def open_hit(page: Any, number: int) -> None:
    page.locator("a[data-compare]").nth(number - 1).click()


def expect_shown(page: Any, number: int) -> None:
    expect(page.get_by_role("dialog").get_by_role("heading", name=f"Hit {number} of 8")).to_be_visible()


def wait_for_held(page: Any, count: int) -> None:
    for _ in range(200):
        if len(page.held) == count:
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"{len(page.held)} requests wait, not {count}")


def let_go(page: Any) -> None:
    """Answer what waits, the newest first; what was given up is no longer there to answer."""
    held, page.held = page.held, None
    for route in reversed(held):
        route.continue_()
    page.wait_for_timeout(400)


def test_closed_while_the_next_one_comes_it_stays_closed(page: Any) -> None:
    open_hit(page, 1)
    expect_shown(page, 1)
    page.held = []
    page.keyboard.press("ArrowRight")
    wait_for_held(page, 1)
    page.keyboard.press("Escape")
    let_go(page)
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.url.endswith("/results?image=3&k=8")


def test_of_two_that_are_asked_for_the_later_one_is_shown(page: Any) -> None:
    page.held = []
    open_hit(page, 2)
    wait_for_held(page, 1)
    open_hit(page, 5)
    wait_for_held(page, 2)
    let_go(page)
    expect_shown(page, 5)


def test_the_sign_of_work_shows_above_the_dialog_as_well(page: Any) -> None:
    page.held = []
    open_hit(page, 1)
    sign = page.locator("#progress")
    expect(sign).to_be_visible()
    let_go(page)
    expect_shown(page, 1)
    expect(sign).to_be_hidden()
    page.held = []
    page.keyboard.press("ArrowRight")
    expect(sign).to_be_visible()
    on_top = """() => {
        const sign = document.getElementById("progress"), box = sign.getBoundingClientRect();
        return sign.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
    }"""
    assert page.evaluate(on_top)
    let_go(page)
    expect_shown(page, 2)
    expect(sign).to_be_hidden()


def test_back_closes_it_and_forward_opens_it_again(page: Any) -> None:
    open_hit(page, 1)
    expect_shown(page, 1)
    page.keyboard.press("ArrowRight")
    expect_shown(page, 2)
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".hit")).to_have_count(8)
    page.go_forward()
    expect_shown(page, 2)
    page.reload()
    expect_shown(page, 2)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.wait_for_url(re.compile(r"/results\?[^#]*$"))  # the way back in the history takes a moment longer
    page.wait_for_load_state("networkidle")
    page.goto("/collection/")
    page.go_back()
    expect(page.locator(".hit")).to_have_count(8)
    expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize("way", ["Escape", "Back to the hits", "Back"])
def test_closing_leaves_one_where_the_shown_hit_is(page: Any, way: str) -> None:
    entries = page.evaluate("history.length")
    open_hit(page, 3)
    expect_shown(page, 3)
    for number in range(4, 9):
        page.keyboard.press("ArrowRight")
        expect_shown(page, number)
    if way == "Back":
        page.go_back()
    elif way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.get_by_role("link", name=way).click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("a[data-compare]").nth(7)).to_be_focused()
    page.wait_for_timeout(300)  # the browser puts the page back to where it was scrolled to
    expect(page.locator("a[data-compare]").nth(7)).to_be_in_viewport()
    assert page.evaluate("history.length") <= entries + 1
    assert page.evaluate("history.state") is None
    assert re.search(r"/results\?image=3&k=8$", page.url)


def test_a_search_from_the_dialog_comes_back_to_it(page: Any) -> None:
    open_hit(page, 1)
    expect_shown(page, 1)
    page.get_by_role("link", name="Search from this image").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.wait_for_load_state()
    page.go_back()
    expect_shown(page, 1)
