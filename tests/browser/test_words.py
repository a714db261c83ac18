"""Words on the search page, in a real browser: they are searched, and the page says how."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


def test_words_alone_are_searched_and_the_page_says_by_which_class(page: Any) -> None:
    page.goto("/")
    page.get_by_label("Or say it in words").fill("appendiceal orifice")
    page.get_by_label("Or say it in words").press("Enter")
    page.wait_for_url(re.compile(r"/results\?.*text=appendiceal"))
    expect(page.locator(".query [data-said]")).to_have_text("appendiceal orifice")
    expect(page.locator("[data-text-match]")).to_contain_text("was matched by its words to the class cecum")
    expect(page.locator("h1")).to_contain_text("are cecum")
    page.locator("#words").fill("pyloric ring")
    page.get_by_role("button", name="Search again").click()
    expect(page.locator("h1")).to_contain_text("are pylorus")
    page.locator(".hit .look").first.click()
    expect(page.get_by_role("dialog").locator("[data-said]")).to_have_text("pyloric ring")
    page.goto("/")
    expect(page.locator("[data-recent] a").first).to_contain_text("pyloric ring: ")


def test_unknown_words_are_told_where_they_were_typed(page: Any) -> None:
    page.goto("/")
    page.get_by_label("Or say it in words").fill("zebra")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("known terms are")
    expect(page.get_by_label("Or say it in words")).to_have_value("zebra")
    page.goto("/results?text=polyps")
    page.locator("#words").fill("zebra")
    page.get_by_role("button", name="Search again").click()
    expect(page.get_by_role("alert")).to_contain_text("known terms are")
    expect(page.locator("#words")).to_have_value("zebra")


def test_a_picture_and_words_are_one_query_with_a_weight_each(page: Any, polyp: Path) -> None:
    page.goto("/")
    page.get_by_label("Or say it in words").fill("cecum")
    page.locator("#file").set_input_files(polyp)
    page.wait_for_url(re.compile(r"/results\?.*text=cecum"))
    expect(page.locator(".query .framed img")).to_be_visible()
    expect(page.locator(".query [data-said]")).to_have_text("“cecum”")
    page.get_by_label("Weight of the words").fill("1000")
    page.get_by_role("button", name="Search again").click()
    expect(page.locator(".hit .what").first).to_contain_text("cecum")
    page.get_by_label("Take the words out of the query").click()
    expect(page.locator(".query [data-said]")).to_have_count(0)
    expect(page.locator(".query .framed img")).to_be_visible()


def test_unknown_words_beside_a_picture_leave_its_hits(page: Any, polyp: Path) -> None:
    page.goto("/")
    page.locator("#file").set_input_files(polyp)
    page.wait_for_url(re.compile(r"/results"))
    hits = page.locator(".hit input[name=relevant]")
    shown = [hit.input_value() for hit in hits.all()]
    assert shown
    page.locator("#words").fill("zebra")
    page.get_by_role("button", name="Search again").click()
    expect(page.get_by_role("alert")).to_contain_text("known terms are")
    expect(page.locator(".query .framed img")).to_be_visible()
    assert [hit.input_value() for hit in hits.all()] == shown
