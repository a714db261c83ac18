"""A server that searches in a vector engine, milvus-lite."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import retrieval
from retrieval.collection import Collection
from retrieval.command_line import kvasir
from retrieval.index.engines import connect
from web.app import create_app
from web.context import MAX_PIXELS, Settings
from web.served_collection import ServedCollection


@pytest.fixture
def pushed(drawn_in_two_spaces: Path, tmp_path: Path, milvus_lite: str) -> Path:
    path = Path(shutil.copytree(drawn_in_two_spaces, tmp_path / "drawn.collection"))
    opened = Collection.open(path)
    for space in opened.spaces:
        connect(milvus_lite).push(opened, space, None, lambda step, done, total: None, rebuild=True)
    return path


def ids_and_scores(hits: Any) -> list[tuple[int, float]]:
    return [(hit.id, hit.score) for hit in hits]


def test_uploads_are_found_at_once_and_pushed_by_the_next_flush(
    pushed: Path, milvus_lite: str, draw: Callable[..., Any], encode_file: Callable[..., bytes]
) -> None:
    served = ServedCollection(pushed, MAX_PIXELS, engine=milvus_lite)
    assert served.warm_up() is False
    assert served.ready
    space = Collection.open(pushed).spaces[0].name
    image_id, new = served.add(encode_file(draw(4711)), "polyps")
    assert new
    assert ids_and_scores(served.searcher.search(image_id, 26, spaces=space)) == ids_and_scores(
        retrieval.open(pushed).search(image_id, 26, spaces=space)
    )
    served.searcher.flush()
    opened = Collection.open(pushed)
    engine = connect(milvus_lite)
    assert [list(engine.compare(opened, one, True)) for one in opened.spaces] == [[], []]
    served.remove(image_id)
    assert image_id not in [hit.id for hit in served.searcher.search(3, 26, spaces=space)]


def test_the_api_searches_in_the_engine_and_says_so(pushed: Path, milvus_lite: str) -> None:
    client = create_app(Settings(pushed, rate="", engine=milvus_lite), background=False).test_client()
    plain = create_app(Settings(pushed, rate=""), background=False).test_client()
    query = {"image_id": 5, "k": 7, "classes": ["polyps"]}
    answers = [one.post("/api/v1/search", json=query).get_json()["hits"] for one in (client, plain)]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 7
    spaces = client.get("/api/v1/collection").get_json()["spaces"]
    assert {space["index"] for space in spaces} == {"in a vector engine"}


def test_an_engine_that_is_gone_is_a_problem_that_does_not_name_it(
    pushed: Path, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    address = f"milvus://127.0.0.1:{free_port()}?timeout=0.2"
    served = ServedCollection(pushed, MAX_PIXELS, engine=address)
    assert served.warm_up() is True  # to be tried again
    assert served.warm_up() is True
    assert not served.ready
    assert caplog.text.count("cannot be reached") == 1
    client = create_app(Settings(pushed, rate="", engine=address), background=False).test_client()
    answer = client.post("/api/v1/search", json={"image_id": 5})
    problem = answer.get_json()
    assert (answer.status_code, problem["type"]) == (503, "urn:kvasir:remote-unreachable")
    assert "127.0.0.1" not in answer.get_data(as_text=True)


def test_an_address_that_cannot_be_read_is_told_before_the_server_starts(pushed: Path) -> None:
    run = CliRunner().invoke(kvasir, ["serve", str(pushed), "--engine", "localhost:19530"])
    assert run.exit_code != 0
    assert "is not the address of a vector engine" in f"{run.output}{run.exception}"
