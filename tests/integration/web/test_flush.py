"""A server stores the indexes that uploads have outdated, so that the next one need not build them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from web.keys import create_key

SMALL = """
import retrieval.index, retrieval.index.faiss_index as faiss_index
retrieval.index.BACKENDS = retrieval.index.BACKENDS[1:]  # the indexes of large collections
faiss_index.GROWN = 10
"""


def files(collection: Path) -> dict[str, tuple[int, int]]:
    """The stored indexes: when each was written, and its size."""
    stored = (collection / "index").rglob("*.faiss")
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in stored}


def test_a_server_started_anew_builds_no_index_that_uploads_outdated(
    serve: Callable[..., Any],
    indexed: Any,
    tmp_path: Path,
    draw: Callable[..., Any],
    encode_file: Callable[..., bytes],
) -> None:
    path = shutil.copytree(indexed.path, tmp_path / "growing.collection")
    _, key = create_key(path, "grows", "write")
    server = serve(path, "--rate", "off", first=SMALL)
    for _ in range(1200):  # the server builds in the background what is missing
        if len(before := files(path)) == 1:
            break
        time.sleep(0.05)
    assert len(before) == 1
    with httpx.Client(base_url=server.url, timeout=60, headers={"X-API-Key": key}) as api:
        for seed in range(4):
            assert api.post("/api/v1/images", files={"image": encode_file(draw(500 + seed))}).status_code == 201
            number = len(api.get("/api/v1/images?limit=500").json()["images"])
        for _ in range(1200):
            if files(path) != before:
                break
            time.sleep(0.05)
        assert files(path) != before
        newest = api.post("/api/v1/search?k=1", files={"image": encode_file(draw(503))}).json()["hits"][0]
        assert newest["score"] > 0.999
    server.process.terminate()
    assert server.process.wait(40) == 0
    stored = files(path)
    assert len(stored) == 1
    assert sum(size for _, size in stored.values()) > sum(size for _, size in before.values())

    again = serve(path, "--rate", "off", first=SMALL)
    with httpx.Client(base_url=again.url, timeout=60) as api:
        assert len(api.get("/api/v1/images?limit=500").json()["images"]) == number
        assert api.get(f"/api/v1/images/{newest['id']}/similar?k=3").status_code == 200
    assert files(path) == stored
    assert "built again" not in again.log.read_text()
