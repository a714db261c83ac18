"""Search in milvus-lite against the local search: equal to the last digit, whatever is filtered, added or removed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import retrieval
from retrieval import Filter
from retrieval.collection import Collection, CollectionWriter
from retrieval.errors import RemoteAnswerError, RemoteStaleError, RemoteTimeoutError, RemoteUnreachableError
from retrieval.index.building import Wanted, store_wanted
from retrieval.index.engines import Engine, Pushed, connect
from retrieval.index.milvus.address import Address
from retrieval.index.milvus.client import Client
from retrieval.index.milvus.index import MilvusIndex
from retrieval.index.milvus.stamp import alias_of, stamp_of

CLASSES = ("cecum", "polyps", None, "pylorus")
NUMBERS = count()


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors (count, 16), one in ten a copy of another."""
    random = np.random.default_rng(seed)
    made = random.standard_normal((count, 16)).astype(np.float32)
    made[::10] = made[-1]
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


@pytest.fixture
def path(tmp_path: Path, vector_collection: Callable[..., Path]) -> Path:
    made = vectors(600)
    classes = [CLASSES[number % 4] for number in range(len(made))]
    return vector_collection(
        tmp_path / f"c{next(NUMBERS)}", {"one": made, "two": vectors(600, 1)[:, :8].copy()}, classes
    )


@pytest.fixture
def engine(milvus_lite: str) -> Engine:
    return connect(milvus_lite)


@pytest.fixture
def client(milvus_lite: str) -> Client:
    return Client(Address.parse(milvus_lite))


def push(engine: Engine, path: Path, kind: str | None = None, space: str = "one") -> Pushed:
    opened = Collection.open(path)
    return engine.push(opened, opened.manifest.space(space), kind, lambda step, done, total: None)


def deviations(engine: Engine, path: Path, space: str = "one") -> list[str]:
    opened = Collection.open(path)
    return [one.message for one in engine.compare(opened, opened.manifest.space(space), vectors=True)]


def hits(searcher: Any, queries: list[int], k: int, **options: Any) -> list[list[tuple[int, float]]]:
    return [[(hit.id, hit.score) for hit in one] for one in searcher.search(queries, k, **options)]


def require_equal(path: Path, address: str, queries: list[int], k: int = 10, **options: Any) -> None:
    local = hits(retrieval.open(path), queries, k, **options)
    assert hits(retrieval.open(path, engine=address), queries, k, **options) == local


OPTIONS: list[dict[str, Any]] = [
    {},
    {"k": 600},
    {"exclude_self": False, "k": 65},
    {"classes": ["polyps", "pylorus"]},
    {"filter": Filter(ids=range(0, 600, 2))},
    {"filter": Filter(ids=range(40))},
    {"filter": Filter(exclude_ids=range(400))},
    {"filter": Filter(exclude_ids={1, 2, 3}, exclude_clusters={5}), "classes": "polyps"},
    {"exclude_cluster": True},
    {"spaces": ["one", "two"], "fusion": "zscore"},
    {"rerank": "query-expansion"},
]


def test_every_search_is_the_local_one_to_the_last_digit(path: Path, milvus_lite: str, engine: Engine) -> None:
    pushed = push(engine, path)
    assert (pushed.written, pushed.removed, pushed.images) == (600, 0, 600)
    assert pushed.index == f"FLAT, in {milvus_lite}"
    push(engine, path, space="two")
    for options in OPTIONS:
        require_equal(path, milvus_lite, [0, 7, 10, 599], **options)
    assert deviations(engine, path) == []


@pytest.mark.parametrize("kind", ["IVF_FLAT", "IVF_SQ8", "HNSW"])
def test_an_approximate_index_proposes_and_distances_stay_exact(
    kind: str, path: Path, milvus_lite: str, engine: Engine
) -> None:
    told = push(engine, path, kind).index
    assert told.startswith(f"{kind}, ")
    engine.close()  # so that the index is loaded anew, as by another process
    measured = retrieval.open(path, engine=milvus_lite).index("one").recall_at(10)
    recall = re.search(r"recall@10 (\d\.\d{4}), in ", told)
    assert recall is not None
    assert float(recall[1]) == pytest.approx(measured, abs=0.02)  # a graph is built anew when it is loaded
    searcher, local = retrieval.open(path, engine=milvus_lite), retrieval.open(path)
    exact = {pair for one in hits(local, list(range(0, 600, 7)), 10) for pair in one}
    proposed = [pair for one in hits(searcher, list(range(0, 600, 7)), 10) for pair in one]
    assert sum(pair in exact for pair in proposed) >= 0.9 * len(proposed)  # of 60 equal images a graph misses some
    require_equal(path, milvus_lite, [3, 8], classes="polyps", k=150)  # more than are proposed: all are compared
    assert deviations(engine, path) == []


@pytest.mark.parametrize("kind", ["IVF_FLAT", "IVF_SQ8", "HNSW"])
def test_a_filter_loses_no_recall_of_an_approximate_index_also_where_the_query_disagrees(
    kind: str, tmp_path: Path, milvus_lite: str, engine: Engine, vector_collection: Callable[..., Path]
) -> None:
    random = np.random.default_rng(1)
    made = random.standard_normal((60, 16))[random.integers(0, 60, 4_000)] + 0.15 * random.standard_normal((4_000, 16))
    made = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    order = np.argsort(-made @ made[0])
    classes = np.where(np.arange(4_000)[np.argsort(order)] < 3_600, "near", "far")
    path = vector_collection(tmp_path / "c", {"one": made}, classes.tolist())
    push(engine, path, kind)
    queries = order[:40].tolist()
    for options in ({"classes": "far"}, {"classes": "near"}, {"filter": Filter(ids=range(0, 4_000, 9))}):
        local = hits(retrieval.open(path), queries, 10, **options)
        proposed = hits(retrieval.open(path, engine=milvus_lite), queries, 10, **options)
        shared = [len(set(one) & set(other)) for one, other in zip(local, proposed, strict=True)]
        assert sum(shared) >= 0.99 * 10 * len(queries), options


def test_an_index_is_tuned_for_the_recall_that_is_wanted(
    path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """milvus-lite compares all of so few images, so what fewer lists would lose is given."""
    monkeypatch.setattr(MilvusIndex, "recall_at", lambda index, k: 1 - 0.2 / index._pinned[1].search["nprobe"])
    for recall, probed in ((0.7, 1), (0.9, 3)):
        store_wanted(path / "index" / "one", Wanted(recall))
        opened = Collection.open(path)
        told = engine.push(opened, opened.manifest.space("one"), "IVF_FLAT", lambda *_: None, rebuild=True).index
        assert f"nprobe {probed}, recall@10 {1 - 0.2 / probed:.4f}" in told


def test_where_every_image_is_to_be_compared_the_index_is_flat(path: Path, engine: Engine) -> None:
    store_wanted(path / "index" / "one", Wanted(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrieval.index.milvus.kinds.EXACT_UP_TO", 100)
        assert push(engine, path).index.startswith("FLAT, in")


def test_another_kind_replaces_the_index_and_the_same_push_again_writes_nothing(
    path: Path, engine: Engine, client: Client
) -> None:
    push(engine, path, "FLAT")
    assert push(engine, path, "HNSW").written == 600
    assert push(engine, path).written == 0
    there = stamp_of(client, alias_of(Collection.open(path), "one"))
    assert there is not None
    assert there[1] is not None
    assert there[1].kind == "HNSW"
    names = [name for name in client.call("list_collections") if name.startswith(there[0][:-8])]
    assert names == [there[0]]


def test_what_came_and_went_since_the_push_is_compared_here_until_it_is_pushed(
    path: Path, milvus_lite: str, engine: Engine, vector_collection: Callable[..., Path]
) -> None:
    push(engine, path)
    served = retrieval.open(path, engine=milvus_lite)
    assert hits(served, [7], 5)
    with CollectionWriter(path) as writer:
        writer.remove([8, 9, 33])
    vector_collection(path, {"one": vectors(20, 7)}, ["polyps"] * 20, first=1000)
    later = served.refreshed()
    assert later.index("one").compared_here == 20  # type: ignore[attr-defined]
    for options in ({}, {"classes": "polyps"}, {"k": 617}):
        require_equal(path, milvus_lite, [7, 600, 610], **options)
        assert hits(later, [7, 600], 10) == hits(retrieval.open(path), [7, 600], 10)
    later.flush()
    assert later.index("one").compared_here == 0  # type: ignore[attr-defined]
    assert deviations(engine, path) == []
    assert push(engine, path).written == 0
    require_equal(path, milvus_lite, [7, 600, 610])


def test_a_searcher_of_an_earlier_state_finds_its_own_images_after_a_push(
    path: Path, milvus_lite: str, engine: Engine
) -> None:
    push(engine, path)
    before = retrieval.open(path, engine=milvus_lite)
    expected = hits(retrieval.open(path), [7, 11], 600)
    assert hits(before, [7, 11], 600) == expected
    with CollectionWriter(path) as writer:
        writer.remove(list(range(100, 150)))
    pushed = push(engine, path)
    assert (pushed.written, pushed.removed) == (0, 50)
    assert hits(before, [7, 11], 600) == expected
    require_equal(path, milvus_lite, [7, 11], k=550)


def test_the_index_itself_follows_added_and_removed_images(path: Path, milvus_lite: str, engine: Engine) -> None:
    push(engine, path)
    index = retrieval.open(path, engine=milvus_lite).index("one")
    copied = index.copy()
    copied.remove(np.array([5, 6, 1000]))
    copied.add(np.array([6]), np.empty((1, 16), np.float32))
    query = Collection.open(path).rows("one").take(np.array([5, 6]))
    assert len(index) == 600
    assert len(copied) == 599
    assert index.search(query, 1)[1].tolist() == [[5], [6]]
    found = copied.search(query, 3)[1]
    assert 5 not in found
    assert found[1, 0] == 6
    assert index.recall_at(10, sample=20) == 1.0


def test_an_index_that_was_never_pushed_or_is_of_another_collection_is_stale(
    path: Path, tmp_path: Path, milvus_lite: str, engine: Engine
) -> None:
    with pytest.raises(RemoteStaleError, match=r"kvasir push .*c\d+ milvus"):
        retrieval.open(path, engine=milvus_lite).search(3)
    push(engine, path)
    other = Path(shutil.copytree(path, tmp_path / "copy"))
    require_equal(other, milvus_lite, [3])  # of equal images
    with CollectionWriter(other) as writer:
        writer.remove([3])
    with pytest.raises(RemoteStaleError, match="another state"):
        retrieval.open(other, engine=milvus_lite).search(4)
    assert push(engine, other).images == 599
    require_equal(other, milvus_lite, [4])
    with pytest.raises(RemoteStaleError, match="another state"):
        retrieval.open(path, engine=milvus_lite).search(4)


def test_rows_that_others_changed_are_found_by_comparing_and_never_answered(
    path: Path, milvus_lite: str, engine: Engine, client: Client
) -> None:
    push(engine, path)
    there = stamp_of(client, alias_of(Collection.open(path), "one"))
    assert there is not None
    client.call("delete", there[0], ids=[4])
    other = vectors(1, 9)[0]
    client.call("upsert", there[0], [{"id": 7, "vector": other, "class": 0, "checksum": 0}])
    client.call("upsert", there[0], [{"id": 900, "vector": other, "class": 0, "checksum": 0}])
    found = deviations(engine, path)
    assert [message.partition(" in ")[0] for message in found] == [
        "1 images are missing",
        "1 images are",
        "1 images are others",
    ]
    assert [message.rpartition(": ")[2] for message in found] == ["4", "900", "7"]
    with pytest.raises(RemoteAnswerError, match="verify"):
        retrieval.open(path, engine=milvus_lite).search(3, k=600)


@pytest.fixture
def lite_server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The address of milvus-lite as a server, and what starts it; the process that it returns may be killed."""
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    port = free_port()
    command = [sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1"]
    command += ["--data-dir", str(tmp_path / "data"), "--port", str(port)]
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "server.log").open("ab") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log))
        return running[-1]

    yield f"milvus://127.0.0.1:{port}", start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_server_that_is_slow_or_gone_is_told_within_the_deadline_and_waited_for(
    path: Path, lite_server: tuple[str, Callable[[], Any]]
) -> None:
    address, start = lite_server
    process = start()
    engine = connect(f"{address}?timeout=120")
    push(engine, path)
    patient = retrieval.open(path, engine=f"{address}?timeout=120")
    impatient = retrieval.open(path, engine=f"{address}?timeout=2")
    expected = hits(retrieval.open(path), [3], 5)
    assert hits(patient, [3], 5) == expected
    client = Client(Address.parse(f"{address}?timeout=2"))
    there = stamp_of(client, alias_of(Collection.open(path), "one"))
    assert there is not None
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(RemoteTimeoutError, match="timeout=SECONDS"):
        client.load(there[0])
    with pytest.raises(RemoteTimeoutError, match="timeout=SECONDS"):
        impatient.search(3)
    process.kill()
    process.wait()
    with pytest.raises(RemoteUnreachableError, match=address):
        impatient.search(3)
    start()
    assert hits(patient, [3], 5) == expected  # tried again until the server has started
    for one in (engine, client, patient.engine, impatient.engine):
        assert one is not None
        one.close()
