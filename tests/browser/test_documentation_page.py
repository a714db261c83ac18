"""The API's documentation in a real browser: what it offers to try works as it is offered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from web.keys import create_key
from web.search import SearchOptions

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


def tried(page: Any, operation: str, picture: Path | None = None) -> Any:
    """The server's answer to an operation that is tried, with a file where one is given."""
    block = page.locator(f"#{operation}")
    if block.get_attribute("open") is None:
        block.locator("summary").first.click()
    if picture is not None:
        block.locator('input[type="file"]').set_input_files(picture)
    with page.expect_response(lambda answer: "/api/v1/" in answer.url) as answer:
        block.get_by_role("button", name="Try it").click()
    return answer.value


def test_a_file_alone_is_searched_and_added(
    browser: Any, serve: Callable[..., Any], two_spaces: Path, tmp_path: Path, draw: Callable[..., Any]
) -> None:
    path = tmp_path / "tried.collection"
    shutil.copytree(two_spaces, path)
    _, key = create_key(path, "docs", "write")
    picture = tmp_path / "new.png"
    draw(31).save(picture)
    page = browser.new_context(base_url=serve(path).url).new_page()
    page.goto("/api/v1/docs")
    answer = tried(page, "search", picture)
    assert answer.status == 200, answer.text()
    expect(page.locator("#search .response pre")).to_contain_text('"score_kind": "similarity"')
    page.get_by_label("API key").fill(key)
    answer = tried(page, "add_image", picture)
    assert answer.status == 201, answer.text()
    assert answer.json()["class"] is None
    page.context.close()


def test_json_a_picture_and_a_fault_are_shown_and_options_go_with_every_search(page: Any) -> None:
    page.goto("/api/v1/docs")
    assert tried(page, "search").status == 200  # its example of JSON
    page.get_by_text("Options for trying").click()
    page.locator("#trial").get_by_label("k", exact=True).fill("2")
    assert len(tried(page, "search").json()["hits"]) == 2
    page.locator("#similar_images summary").first.click()
    page.locator("#similar_images").get_by_label("image_id").fill("3")
    assert len(tried(page, "similar_images").json()["hits"]) == 2
    page.locator("#get_thumbnail summary").first.click()
    page.locator("#get_thumbnail").get_by_label("image_id").fill("3")
    tried(page, "get_thumbnail")
    expect(page.get_by_alt_text("The picture that came back")).to_be_visible()
    page.locator("#get_image summary").first.click()
    page.locator("#get_image").get_by_label("image_id").fill("99999")
    assert tried(page, "get_image").status == 404
    expect(page.locator("#get_image .response pre")).to_contain_text("urn:kvasir:no-such-image")


def test_options_of_a_search_are_listed_once_and_every_operation_is(page: Any) -> None:
    page.goto("/api/v1/docs")
    for name in SearchOptions.model_fields:
        assert page.locator(f'dl.fields code:text-is("{name}")').count() >= 1
    assert page.locator('section:not(#schemas) dl.fields dt > code:text-is("exclude_cluster")').count() == 1
    assert "<br" not in page.locator("main").text_content()
    document = page.request.get("/api/v1/openapi.json").json()
    wanted = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert {one.get_attribute("id") for one in page.locator("section:not(#schemas) details.operation").all()} == wanted


def test_without_javascript_it_reads(browser: Any, served: Any) -> None:
    context = browser.new_context(base_url=served.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/api/v1/docs")
    page.locator("#search summary").first.click()
    expect(page.locator("#search")).to_contain_text("the options of a search")
    expect(page.get_by_role("button", name="Try it")).to_have_count(0)
    context.close()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_no_violation(browser: Any, served: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    for width in (1280, 390):
        context = browser.new_context(base_url=served.url, viewport={"width": width, "height": 900}, color_scheme=theme)
        page = context.new_page()
        page.goto("/api/v1/docs")
        for summary in page.locator("summary").all():
            if summary.is_visible():
                summary.click()
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        context.close()
