"""The real server of Milvus, where it is installed: `.ci/run` has it in an environment of its own, `.venv-milvus`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retrieval
from retrieval import Filter
from retrieval.collection import Collection, CollectionWriter
from retrieval.errors import RemoteAccessError, RemoteIndexError, RemoteTimeoutError, RemoteUnreachableError
from retrieval.index.engines import Engine, connect
from retrieval.index.milvus.address import Address
from retrieval.index.milvus.client import Client

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 180


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[tuple[int, Any]]:
    """The port and the process of a server that wants a key, in a fresh folder and a process group of its own."""
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    own = ROOT / ".venv-milvus" / "bin" / "milvus-server"
    program = str(own) if own.exists() else shutil.which("milvus-server")
    if program is None:
        pytest.skip("the server of Milvus (PyPI: milvus, x86_64 alone) is not installed")
    for _ in range(3):  # some other program may take a port between the check and the start
        data, port = tmp_path_factory.mktemp("milvus server"), free_port()
        command = [program, "--data", str(data), "--proxy-port", str(port)]
        command += ["--extra-config", "common.security.authorizationEnabled=true"]
        with (data / "start.log").open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            if answers(process, data / "start.log", port):
                yield port, process
                return
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            shutil.rmtree(data, ignore_errors=True)  # half a gigabyte
    pytest.skip("the server of Milvus does not start here")


def answers(process: subprocess.Popen[bytes], log: Path, port: int) -> bool:
    """Whether a server has started and can be reached."""
    end = time.monotonic() + START_SECONDS
    while b"Welcome" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(0.2)
    client = Client(Address.parse(f"milvus://root:Milvus@127.0.0.1:{port}?timeout=30"))
    try:
        return client.call("list_collections") == []
    except RemoteIndexError:
        return False
    finally:
        client.close()


@pytest.fixture(scope="module")
def address(server: tuple[int, Any]) -> str:
    return f"milvus://root:Milvus@127.0.0.1:{server[0]}?timeout=60"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, vector_collection: Callable[..., Path]) -> Path:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((3000, 32)).astype(np.float32)
    vectors[::10] = vectors[1::10]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    classes = [("polyps", "normal-cecum", None)[number % 3] for number in range(len(vectors))]
    return vector_collection(tmp_path_factory.mktemp("served") / "server.collection", {"one": vectors}, classes)


def push(engine: Engine, path: Path, kind: str | None = None) -> Any:
    opened = Collection.open(path)
    return engine.push(opened, opened.spaces[0], kind, lambda step, done, total: None)


def hits(searcher: Any, **options: Any) -> list[list[tuple[int, float]]]:
    options = {"k": 10} | options
    return [[(hit.id, hit.score) for hit in one] for one in searcher.search([0, 10, 31, 2999], **options)]


def test_the_server_searches_as_the_collection_whatever_is_filtered_added_and_removed(path: Path, address: str) -> None:
    engine = connect(address)
    pushed = push(engine, path)
    assert (pushed.written, pushed.images) == (3000, 3000)
    options: list[dict[str, Any]] = [
        {},
        {"k": 3000},
        {"classes": "polyps"},
        {"filter": Filter(ids=range(0, 3000, 2))},
        {"filter": Filter(exclude_ids=range(100, 600))},
    ]
    before = retrieval.open(path, engine=address)
    for one in options:
        assert hits(before, **one) == hits(retrieval.open(path), **one)
    expected = hits(before, k=3000)
    with CollectionWriter(path) as writer:
        writer.remove(list(range(40, 60)))
    assert hits(before.refreshed()) == hits(retrieval.open(path))
    assert push(engine, path).removed == 20
    assert hits(before, k=3000) == expected
    assert hits(retrieval.open(path, engine=address), k=2980) == hits(retrieval.open(path), k=2980)
    opened = Collection.open(path)
    assert list(engine.compare(opened, opened.spaces[0], True)) == []
    engine.close()


def test_a_graph_takes_the_place_of_the_flat_index_and_proposes_nearly_all(path: Path, address: str) -> None:
    engine = connect(address)
    push(engine, path)
    assert push(engine, path, "HNSW").index.startswith("HNSW, ef ")
    index = retrieval.open(path, engine=address).index("one")
    assert index.recall_at(10) >= 0.95
    opened = Collection.open(path)
    assert list(engine.compare(opened, opened.spaces[0], True)) == []
    push(engine, path, "FLAT")
    engine.close()


@pytest.mark.parametrize("kind", ["IVF_FLAT", "IVF_SQ8", "HNSW"])
def test_a_filter_loses_no_recall_of_an_approximate_index_also_where_the_query_disagrees(
    kind: str, address: str, vector_collection: Callable[..., Path], tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((60, 16))[random.integers(0, 60, 4000)] + 0.15 * random.standard_normal((4000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    order = np.argsort(-vectors @ vectors[0])
    classes = np.where(np.arange(4000)[np.argsort(order)] < 2800, "near", "far").tolist()
    path = vector_collection(tmp_path / f"{kind}.collection", {"one": vectors}, classes)
    engine, queries = connect(address), order[:40].tolist()
    push(engine, path, kind)
    options: list[dict[str, Any]] = [{"classes": "far"}, {"classes": "near"}, {"filter": Filter(ids=range(0, 4000, 9))}]
    local, remote = retrieval.open(path), retrieval.open(path, engine=address)
    for one in options:
        true, found = ([{hit.id for hit in each} for each in s.search(queries, 10, **one)] for s in (local, remote))
        assert sum(len(a & b) for a, b in zip(true, found, strict=True)) >= 0.99 * 10 * len(queries), one
    engine.close()


def test_a_wrong_key_is_told(path: Path, server: tuple[int, Any]) -> None:
    for key in ("root:wrong@", ""):
        engine = f"milvus://{key}127.0.0.1:{server[0]}"
        with pytest.raises(RemoteAccessError, match="KVASIR_MILVUS_TOKEN"):
            retrieval.open(path, engine=engine).search(3)


def test_a_server_that_stops_answering_or_dies_is_told_in_time(
    path: Path, address: str, server: tuple[int, Any]
) -> None:  # the last, since the server is no more afterwards
    port, process = server
    with closing(connect(address)) as engine:
        push(engine, path)
    impatient = retrieval.open(path, engine=f"milvus://root:Milvus@127.0.0.1:{port}?timeout=5")
    assert impatient.search(3)
    os.killpg(process.pid, signal.SIGSTOP)
    with pytest.raises(RemoteTimeoutError):
        impatient.search(3)
    os.killpg(process.pid, signal.SIGKILL)
    with pytest.raises(RemoteUnreachableError):
        impatient.search(3)
