"""Chances of hits on a phone, which has no hover: each is named beside its number."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from retrieval.command_line import kvasir

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


@pytest.fixture(scope="module")
def address(serve: Callable[..., Any], indexed: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = shutil.copytree(indexed.path, tmp_path_factory.mktemp("calibrated") / "c")
    done = CliRunner().invoke(kvasir, ["calibrate", str(path)])
    assert done.exit_code == 0, done.output
    return str(serve(path).url)


def test_a_chance_is_named_and_a_tap_explains_it(browser: Any, address: str) -> None:
    context = browser.new_context(base_url=address, viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    for path, place in (("/results?image=3", ".hit .how"), ("/results/classes?image=3", ".of-class .caption")):
        page.goto(path)
        chance = page.locator(f"{place} .chance").first
        expect(chance.locator("small")).to_be_visible()
        assert re.match(r"chance \d+ %", chance.inner_text().replace("\n", " "))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page.goto("/results?image=3")
    page.locator(".hit .chance .word").first.tap()
    expect(page.locator(".term:focus-within .tip")).to_have_text(re.compile("chance that this hit shows"))
    context.close()
