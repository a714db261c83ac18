"""The server that serves on Windows, run here: a query gets its answer."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

PROGRAM = """
import sys
from pathlib import Path
from web.server import _serve_by_waitress
from web.context import Settings
_serve_by_waitress(Settings(Path(sys.argv[1]), rate="", proxies=1), "127.0.0.1", int(sys.argv[2]))
"""


def test_waitress_serves_a_query_and_refuses_what_is_no_picture(
    free_port: Callable[[], int], two_spaces: Path, tmp_path: Path
) -> None:
    pytest.importorskip("waitress", reason="waitress is not installed; it serves on Windows only")
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        command = [sys.executable, "-c", PROGRAM, str(two_spaces), str(port)]
        server = subprocess.Popen(command, stderr=stderr, cwd=Path(__file__).parents[3])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as api:
            for _ in range(600):
                with contextlib.suppress(httpx.TransportError):
                    if api.get("/readyz").status_code == 200:
                        break
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            picture = api.get("/api/v1/images/3/picture")
            answer = api.post("/api/v1/search?k=2", content=picture.content, headers={"Content-Type": "image/jpeg"})
            assert answer.json()["hits"][0]["id"] == 3
            refused = api.post("/api/v1/search", content=b"<html>", headers={"Content-Type": "image/jpeg"})
            assert refused.status_code == 415
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert api.get("/").text.startswith("<!doctype html>")
            proxied = {"X-Forwarded-Prefix": "/kvasir", "X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"}
            page = api.get("/results?image=3", headers=proxied)
            assert 'value="https://a.example/kvasir/results?image=3"' in page.text
    finally:
        server.terminate()
        server.wait(40)
