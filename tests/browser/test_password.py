"""Reading with a password, in a real browser: it is asked for wherever a person arrives first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from web.keys import create_key

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


def test_a_deep_link_shows_its_picture_and_the_documentation(
    browser: Any, serve: Callable[..., Any], two_spaces: Path, tmp_path: Path
) -> None:
    path = tmp_path / "guarded.collection"
    shutil.copytree(two_spaces, path)
    _, key = create_key(path, "reader", "read")
    server = serve(path, "--require-key", "--rate", "off")
    for address in ("/collection/images/3", "/api/v1/docs"):
        # The password is typed, as it were, when the server asks for it, and not before.
        context = browser.new_context(base_url=server.url, http_credentials={"username": "me", "password": key})
        page = context.new_page()
        page.goto(address)
        if address == "/api/v1/docs":
            expect(page.get_by_text("/api/v1/search", exact=True)).to_be_visible()
        else:
            picture = page.get_by_alt_text("Image 3")
            expect(picture).to_be_visible()
            assert picture.evaluate("image => image.naturalWidth") > 0
        context.close()
