"""Scenes on the pages and over REST: what hits share with the query, and searches that leave scenes out."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from retrieval.collection import CollectionWriter
from web.app import create_app
from web.context import Settings


@pytest.fixture
def client(write_collection: Callable[..., Path], tmp_path: Path) -> FlaskClient:
    """Six images, the n-th the n-th nearest to the first; 0 and 1 are near duplicates, and 3 is of their scene."""
    angles = np.arange(6) * 0.01
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    path = write_collection(tmp_path / "made", {"s": vectors}, ["a", "a", "b", "a", "b", "b"], size=(40, 30))
    with CollectionWriter(path) as writer:
        writer.set_clusters({1: 0}, {})
        writer.set_scenes({0: 0, 1: 0, 3: 0, 4: 4, 5: 4}, 6)
    return create_app(Settings(path), background=False).test_client()


def text(client: FlaskClient, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def test_the_page_asks_whether_a_hit_is_of_the_same_examination(client: FlaskClient) -> None:
    said = text(client, "/results?image=0&k=6")
    assert said.count("same picture as the query") == 1
    assert said.count("same examination as the query?") == 1
    assert said.count("same examination as hit 4?") == 1
    assert "same examination as the query?" in text(client, "/compare?image=0&k=6&hit=3")


def test_a_search_on_the_page_leaves_the_scene_out(client: FlaskClient) -> None:
    said = text(client, "/results?image=0&k=6&exclude_scene=true")
    assert "Of 3 images" in said
    assert "as the query" not in said
    assert "the same scene" in text(client, "/?image=0")


def test_an_image_shows_the_other_frames_of_its_scene(client: FlaskClient) -> None:
    page = client.get("/collection/images/0").text
    assert "<h2>Near duplicates</h2>" in page
    assert "<h2>Same scene</h2>" in page
    assert 'href="/collection/images/3"' in page
    assert "<h2>Same scene</h2>" not in client.get("/collection/images/2").text


def test_the_collection_says_how_many_scenes_it_has(client: FlaskClient) -> None:
    assert "2 scenes" in text(client, "/collection/")


def test_rest_gives_the_scene_and_leaves_it_out(client: FlaskClient) -> None:
    assert client.get("/api/v1/images/3").json["scene"] == 0
    assert client.get("/api/v1/collection").json["scenes"] == 2
    hits = client.post("/api/v1/search", json={"image_id": 0, "k": 6}).json["hits"]
    assert [(hit["id"], hit["cluster"], hit["scene"]) for hit in hits] == [
        (1, 0, 0),
        (2, 2, 2),
        (3, 3, 0),
        (4, 4, 4),
        (5, 5, 4),
    ]
    left = client.post("/api/v1/search", json={"image_id": 0, "k": 6, "exclude_scene": True}).json["hits"]
    assert [hit["id"] for hit in left] == [2, 4, 5]
