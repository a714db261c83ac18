"""`kvasir index --ray`: a cluster of this machine with two workers gives the collection that one process gives."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from indexer.datasets import open_dataset
from indexer.ray_cluster import LOCAL, RayCluster, WorkersLostError, ray_cluster
from indexer.run import IndexingResult, run_dataset
from retrieval.collection import CollectionWriter

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
SIZE = 8


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def cluster(said: list[str], pytestconfig: pytest.Config) -> Iterator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(pytestconfig.rootpath))
        with ray_cluster(LOCAL, workers=2, size=SIZE, say=said.append) as connected:
            yield connected


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., Image.Image]) -> Path:
    """30 pictures in two classes: two are near duplicates, one is a copy, one is no picture."""
    folder = tmp_path_factory.mktemp("ray") / "data"
    for number in range(28):
        (folder / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        draw(number, size=(160, 120)).save(folder / f"class{number % 2}" / f"{number:02}.png")
    with Image.open(folder / "class0" / "04.png") as image:
        image.save(folder / "class1" / "near.jpg", quality=90)
    shutil.copyfile(folder / "class0" / "00.png", folder / "class1" / "zz-copy.png")
    (folder / "class0" / "09.png").write_text("no picture")
    return folder


def index(data: Path, path: Path, spec: str, machines: RayCluster | None = None) -> IndexingResult:
    with open_dataset(data) as dataset, CollectionWriter(path, name="t", create=True) as writer:
        return run_dataset(dataset, writer, encoders=(spec,), descriptors="ColorLayout", whole=True, machines=machines)


def stored(path: Path) -> dict[str, Any]:
    """Every vector file and small grey as bytes, and the catalog's rows without the times at which they were made."""
    files = {str(file.relative_to(path)): file.read_bytes() for file in (path / "vectors").iterdir()}
    connection = sqlite3.connect(path / "catalog.sqlite")
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(images)") if name != "added"]
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM images ORDER BY id").fetchall()
    marks = connection.execute("SELECT * FROM marks ORDER BY image").fetchall()
    connection.close()
    return {**files, "greys": (path / "greys.rows").read_bytes(), "rows": rows, "marks": marks}


@pytest.fixture(scope="module")
def one_process(data: Path, tiny_spec: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IndexingResult]:
    path = tmp_path_factory.mktemp("one") / "c"
    return path, index(data, path, tiny_spec)


def test_two_workers_make_the_collection_of_one_process_to_the_bit(
    data: Path, tiny_spec: str, cluster: RayCluster, one_process: tuple[Path, IndexingResult], tmp_path: Path
) -> None:
    whole, alone = one_process
    run = index(data, tmp_path / "c", tiny_spec, cluster)
    assert stored(tmp_path / "c") == stored(whole)
    assert (run.outcome, run.clusters, run.copies) == (alone.outcome, alone.clusters, alone.copies)
    assert [file for file, _ in run.outcome.rejected] == ["class0/09.png"]
    assert alone.clusters
    assert not (tmp_path / "c" / "shards").exists()
    again = index(data, tmp_path / "c", tiny_spec, cluster)
    assert (again.outcome.added, again.outcome.unchanged) == (0, 30)


def test_no_other_machine_can_reach_it(cluster: RayCluster) -> None:
    started = psutil.Process().children(recursive=True)
    sockets = [each.laddr.ip for process in started if "ray" in process.name() or "gcs" in process.name()
               for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]  # fmt: skip
    assert len(sockets) >= 4  # of the node, of its objects, of the whole cluster, of a worker
    assert {ip.removeprefix("::ffff:") for ip in sockets} == {"127.0.0.1"}
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ  # of a cluster that is reached later


def test_a_second_run_takes_finished_shards_and_makes_damaged_ones_again_wherever_they_lie(
    data: Path,
    tiny_spec: str,
    cluster: RayCluster,
    said: list[str],
    one_process: tuple[Path, IndexingResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, shards = tmp_path / "c", tmp_path / "elsewhere"
    elsewhere = RayCluster(f"dir::file://{shards}", workers=2, size=SIZE, say=said.append)

    def end_after_two_shards(*_: object) -> None:
        """Stop as a kill does, once a worker has finished a shard more than the one that is being stored."""
        end = time.monotonic() + 120
        while len(list(shards.rglob("*.json"))) < 2:
            assert time.monotonic() < end, "no worker finishes a second shard"
            time.sleep(0.02)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # stopped in the middle, as by a kill
        patch.setattr(CollectionWriter, "append", end_after_two_shards)
        patch.setattr(CollectionWriter, "discard_if_nothing_stored", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            index(data, path, tiny_spec, elsewhere)
    tables = sorted(shards.rglob("*.json"))
    assert tables
    tables[-1].with_suffix(".npz").write_bytes(b"damaged")
    said.clear()
    index(data, path, tiny_spec, elsewhere)
    assert any("finished by an earlier run" in line for line in said)
    assert stored(path) == stored(one_process[0])
    assert not (path / "shards").exists()


def test_shards_that_no_other_process_can_read_are_an_error(
    data: Path, tiny_spec: str, cluster: RayCluster, tmp_path: Path
) -> None:
    private = RayCluster("memory://shards", workers=1, size=100)
    with pytest.raises(WorkersLostError, match="every node must reach that place"):
        index(data, tmp_path / "c", tiny_spec, private)
    assert not (tmp_path / "c").exists()
