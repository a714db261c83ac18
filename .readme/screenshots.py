"""The README's picture of the page, by `make screenshots`: of drawn pictures alone; Kvasir's may not be shown.

    python .readme/screenshots.py KVASIR WORK

KVASIR: the command. WORK: a folder for the sample and its collection.
"""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE = {"width": 1280, "height": 960}
PLACE = Path(__file__).with_name("page.jpg")
START_SECONDS = 120


def main(kvasir: str, work: Path) -> None:
    """Draw the sample, index and evaluate it, and photograph the hits of one of its pictures."""
    sample, collection = work / "drawn-sample", work / "screenshots.collection"
    if not sample.exists():
        subprocess.run([kvasir, "sample", str(sample)], check=True)  # noqa: S603  # our own command
    subprocess.run([kvasir, "index", str(sample), str(collection)], check=True)  # noqa: S603
    subprocess.run([kvasir, "evaluate", str(collection), "--keep"], check=True)  # noqa: S603
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([kvasir, "serve", str(collection), "--port", str(port)])  # noqa: S603
    try:
        wait_until_ready(f"{address}/readyz")
        picture = min((sample / "polyps").iterdir())
        PLACE.write_bytes(photographed(address, picture))
    finally:
        server.terminate()
        server.wait()


def wait_until_ready(address: str) -> None:
    """Ask until the server is ready."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(address):  # noqa: S310  # this machine's
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def photographed(address: str, picture: Path) -> bytes:
    """The page of the picture's hits as a JPEG."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="dark")
        page.goto(address)
        page.locator("#file").set_input_files(picture)
        page.wait_for_url("**/results?*")
        page.get_by_role("link", name="Leave it out").click()
        page.wait_for_load_state("networkidle")
        png = page.screenshot()
        browser.close()
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(out, "JPEG", quality=88, optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
