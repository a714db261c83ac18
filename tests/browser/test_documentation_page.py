"""The API's documentation in a real browser: what it offers to try works as it is offered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from web.keys import create_key

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")


def tried(page: Any, operation: str, picture: Path) -> Any:
    """The server's answer to an operation that was tried with a file and nothing else."""
    block = page.locator(f"#operations-{operation}")
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Try it out").click()
    block.locator('input[type="file"]').set_input_files(picture)
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        block.get_by_role("button", name="Execute").click()
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
    answer = tried(page, "search-search", picture)
    assert answer.status == 200, answer.text()
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_label("auth-bearer-value").fill(key)
    page.locator(".auth-container button.authorize").first.click()
    page.locator(".close-modal").click()
    answer = tried(page, "images-add_image", picture)
    assert answer.status == 201, answer.text()
    assert answer.json()["class"] is None
    page.context.close()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_only_what_swagger_itself_nests(browser: Any, served: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    context = browser.new_context(base_url=served.url, viewport={"width": 1280, "height": 900})
    context.add_cookies([{"name": "theme", "value": theme, "url": served.url}])
    page = context.new_page()
    page.goto("/api/v1/docs")
    page.locator("#operations-health-metrics").wait_for()
    # In every operation's head, which is a button, Swagger puts a link and buttons: no style of ours can part them.
    found = axe.Axe().run(page, options={"rules": {"nested-interactive": {"enabled": False}}})
    assert found.violations_count == 0, found.generate_report()
    context.close()
