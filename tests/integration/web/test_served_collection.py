"""A collection that is served: what it takes up while it is looked at, and its pictures when it moves."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from indexer.datasets import open_dataset
from indexer.near_duplicates import clusters, update_clusters
from indexer.run import run_dataset
from retrieval import search
from retrieval.collection import Collection, CollectionWriter, NewImage, NoSuchImageError
from retrieval.collection.catalog import NAME as CATALOG
from retrieval.command_line import kvasir
from retrieval.cores import available_cores
from retrieval.disk import DiskFullError
from retrieval.images import MAX_PIXELS
from web import served_collection, served_picture
from web.app import create_app
from web.context import Settings
from web.keys import create_key
from web.served_collection import ServedCollection


@pytest.fixture
def held(indexed: Any, tmp_path: Path) -> ServedCollection:
    return ServedCollection(shutil.copytree(indexed.path, tmp_path / "held"), MAX_PIXELS)


@pytest.fixture(scope="module")
def new_picture(draw: Callable[..., Image.Image], encode_file: Callable[..., bytes]) -> bytes:
    return encode_file(draw(4242, (40, 160, 150)))


def test_an_added_picture_moves_with_its_collection(held: ServedCollection, new_picture: bytes) -> None:
    image_id, _ = held.add(new_picture, "polyps")
    moved = held.path.rename(held.path.with_name("elsewhere"))

    assert Collection.open(moved).read(image_id) == new_picture
    assert ServedCollection(moved, MAX_PIXELS).add(new_picture, "polyps") == (image_id, False)
    ServedCollection(moved, MAX_PIXELS).remove(image_id)
    assert not list((moved / "pictures").iterdir())


def test_a_picture_that_cannot_be_stored_leaves_no_file(
    held: ServedCollection, new_picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(writer: CollectionWriter, images: Any, ids: Any = None) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(writer.path / "vectors" / "s.float32"))

    with monkeypatch.context() as patched:
        patched.setattr(CollectionWriter, "append", no_room)
        with pytest.raises(DiskFullError, match=r"s\.float32: no space left on the disk; .*send the request again$"):
            held.add(new_picture, None)
    assert not list((held.path / "pictures").iterdir())
    image_id, _ = held.add(new_picture, "polyps")
    with monkeypatch.context() as patched:
        patched.setattr(CollectionWriter, "append", no_room)
        with pytest.raises(DiskFullError):
            held.add(new_picture, "cecum")
    assert held.searcher.collection.read(image_id) == new_picture  # it is stored under its first class


def test_a_picture_without_a_class_keeps_the_one_that_it_has(held: ServedCollection, new_picture: bytes) -> None:
    image_id, _ = held.add(new_picture, "polyps")
    assert held.add(new_picture, None) == (image_id, False)
    assert held.searcher.collection.class_of(image_id) == "polyps"
    later, new = held.add(new_picture, "cecum")
    assert new
    assert held.add(new_picture, None) == (later, False)


def test_an_image_that_another_process_removed_is_not_removed_again_nor_the_file_of_its_successor(
    held: ServedCollection, new_picture: bytes
) -> None:
    image_id, _ = held.add(new_picture, None)
    removed = CliRunner().invoke(kvasir, ["remove", str(held.path), str(image_id)])
    assert removed.exit_code == 0
    assert not list((held.path / "pictures").iterdir())  # the collection's own file goes with its image
    other = ServedCollection(held.path, MAX_PIXELS)
    later, new = other.add(new_picture, None)
    assert new
    with pytest.raises(NoSuchImageError):
        held.remove(image_id)
    assert Collection.open(held.path).read(later) == new_picture
    held.remove(later)
    assert not list((held.path / "pictures").iterdir())


def test_files_that_were_indexed_in_their_place_stay_when_their_images_go(
    gallery_folder: Path, index_folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(gallery_folder, data)
    path = index_folder(data, tmp_path / "c")
    before = sorted(data.rglob("*"))
    assert CliRunner().invoke(kvasir, ["remove", str(path), "0", "1"]).exit_code == 0
    assert sorted(data.rglob("*")) == before


def test_a_picture_gets_its_vectors_in_a_space_that_another_process_made_just_now(
    held: ServedCollection, indexed: Any, new_picture: bytes
) -> None:
    assert len(held.searcher.collection.spaces) == 1
    with open_dataset(indexed.data) as dataset, CollectionWriter(held.path) as writer:
        assert run_dataset(dataset, writer, descriptors="JCD").exit_status == 0
    held._checked = time.monotonic() + 3600  # no look in between
    image_id, _ = held.add(new_picture, None)
    assert image_id in Collection.open(held.path).ids("JCD")


def test_an_added_copy_joins_the_cluster_of_its_original_at_once(held: ServedCollection, indexed: Any) -> None:
    _, key = create_key(held.path, "writer", "write")
    client = create_app(Settings(held.path, rate=""), background=False).test_client()
    opened = Collection.open(held.path)
    original = int(opened.images.ids[opened.images.files.index("cecum/3.jpg")])
    smaller = io.BytesIO()
    Image.open(indexed.data / "cecum" / "3.jpg").resize((108, 81)).save(smaller, "JPEG", quality=80)

    added = client.post(
        "/api/v1/images?class=cecum", data=smaller.getvalue(), content_type="image/jpeg", headers={"X-API-Key": key}
    )
    copy = added.json["id"]
    similar = f"/api/v1/images/{original}/similar?k=5"

    assert added.status_code == 201
    assert added.json["cluster"] == client.get(f"/api/v1/images/{original}").json["cluster"]
    assert client.get(similar).json["hits"][0]["id"] == copy
    assert copy not in [hit["id"] for hit in client.get(f"{similar}&exclude_cluster=true").json["hits"]]


def test_an_added_picture_is_known_though_a_slow_look_began_before_it(
    held: ServedCollection, new_picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, go_on = threading.Event(), threading.Event()
    refreshed = served_collection.Searcher.refreshed

    def slowly(searcher: served_collection.Searcher) -> served_collection.Searcher:
        later = refreshed(searcher)
        if threading.current_thread().name == "look":
            opened.set()
            assert go_on.wait(20)
        return later

    monkeypatch.setattr(served_collection.Searcher, "refreshed", slowly)
    monkeypatch.setattr(held, "_checked", float("-inf"))
    monkeypatch.setattr(held, "_stamp", ())  # as though another process had written
    look = threading.Thread(target=lambda: held.searcher, name="look")
    look.start()
    assert opened.wait(20)
    added: list[int] = []
    write = threading.Thread(target=lambda: added.append(held.add(new_picture, None)[0]))
    write.start()
    while len(Collection.open(held.path)) == len(held.searcher.collection):
        time.sleep(0.05)
    write.join(0.5)  # ends by itself where nothing keeps the look's older state from being put over it
    go_on.set()
    look.join(20)
    write.join(20)

    assert held.searcher.collection.position(added[0]) == len(held.searcher.collection) - 1


@pytest.fixture
def watched(held: ServedCollection, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedCollection]:
    """The collection as a server watches it."""
    monkeypatch.setattr(served_collection, "CHECK_SECONDS", 0.02)
    held.warm_up()
    assert held.ready
    stop = threading.Event()
    watch = threading.Thread(target=held.watch, args=(stop,))
    watch.start()
    while not held._watched:
        time.sleep(0.001)
    yield held
    stop.set()
    watch.join(20)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_search_after_a_write_builds_an_index_or_reads_the_whole_catalog(
    watched: ServedCollection, new_picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(search, "open_index", refuse)
    monkeypatch.setattr(Collection, "_read", refuse)
    for write in (lambda: watched.add(new_picture, "polyps"), lambda: watched.remove(3)):
        before = watched.searcher
        write()
        assert watched.searcher is not before
        assert len(watched.searcher.search(0, 5)) == 5
    before = watched.searcher
    with CollectionWriter(watched.path) as writer:
        writer.remove([4])
    until(lambda: watched.searcher is not before)
    assert not {3, 4} & set(watched.searcher.search(0, 30).ids)


def test_a_warm_server_has_loaded_what_prepares_pictures(indexed: Any) -> None:
    program = (
        "import sys; from pathlib import Path; from web.served_collection import ServedCollection; "
        "ServedCollection(Path(sys.argv[1]), 10**6).warm_up(); print('retrieval.encoders.resizing' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(indexed.path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert run.stdout == "True\n"


def test_a_space_that_another_process_made_is_loaded_before_it_is_served(
    watched: ServedCollection, indexed: Any
) -> None:
    with open_dataset(indexed.data) as dataset, CollectionWriter(watched.path) as writer:
        assert run_dataset(dataset, writer, descriptors="JCD").exit_status == 0
    until(
        lambda: (
            len(watched.searcher.collection.positions("JCD") if len(watched.searcher.collection.spaces) > 1 else ()) > 0
        )
    )
    assert watched.searcher.search(0, 3, spaces="JCD").ids


def test_a_collection_that_cannot_be_read_any_more_is_served_as_it_was(
    watched: ServedCollection, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = watched.path / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(b"damaged")
    until(lambda: "cannot be read" in caplog.text)
    assert len(watched.searcher.search(0, 5)) == 5
    time.sleep(0.2)
    assert caplog.text.count("cannot be read") == 1
    manifest.write_bytes(whole)
    before = len(watched.searcher.collection)
    with CollectionWriter(watched.path) as writer:
        writer.remove([4])
    until(lambda: len(watched.searcher.collection) == before - 1)


def test_a_copy_without_a_label_is_no_fault_in_the_labels(held: ServedCollection, indexed: Any) -> None:
    labelled = (indexed.data / "cecum" / "3.jpg").read_bytes()
    held.add(labelled, None)
    with CollectionWriter(held.path) as writer:
        update_clusters(writer)
    client = create_app(Settings(held.path), background=False).test_client()

    shown = client.get("/collection/duplicates/").get_data(as_text=True)

    assert [cluster.spans_classes for cluster in clusters(Collection.open(held.path))] == [False, False]
    assert shown.count(": 2 images</h2>") == 2
    assert "different classes" not in shown


def test_an_id_that_a_restored_catalog_gives_again_never_shows_the_earlier_picture(
    held: ServedCollection, draw: Callable[..., Image.Image], encode_file: Callable[..., bytes]
) -> None:
    _, key = create_key(held.path, "writer", "write")
    client = create_app(Settings(held.path, rate=""), background=False).test_client()
    copy = (held.path / CATALOG).read_bytes()

    def added(seed: int) -> tuple[int, str, str, bytes]:
        """Id, address, ETag and picture of the thumbnail of a new picture."""
        data = encode_file(draw(seed))
        image = client.post("/api/v1/images", data=data, content_type="image/jpeg", headers={"X-API-Key": key}).json
        assert hashlib.sha256(data).hexdigest() in image["links"]["thumbnail"]
        shown = client.get(image["links"]["thumbnail"])
        assert "immutable" in shown.headers["Cache-Control"]
        return image["id"], image["links"]["thumbnail"], shown.headers["ETag"], shown.data

    first = added(7001)
    (held.path / CATALOG).write_bytes(copy)
    time.sleep(served_collection.CHECK_SECONDS + 0.1)
    assert client.get(f"/api/v1/images/{first[0]}").status_code == 404
    second = added(7002)

    assert second[0] == first[0]
    assert {one == other for one, other in zip(first[1:], second[1:], strict=True)} == {False}
    old = client.get(first[1])  # an address that somebody noted
    assert old.data == second[3]
    assert "immutable" not in old.headers["Cache-Control"]


def test_a_file_that_changes_after_it_was_indexed_is_not_cached_as_what_was_indexed(
    gallery_folder: Path, index_folder: Callable[..., Path], tmp_path: Path, new_picture: bytes
) -> None:
    data = Path(shutil.copytree(gallery_folder, tmp_path / "data"))
    path = index_folder(data, tmp_path / "c")
    client = create_app(Settings(path), background=False).test_client()
    image = client.get("/api/v1/images?limit=1").json["images"][0]
    (data / image["file"]).write_bytes(new_picture)

    for part in ("picture", "thumbnail"):
        shown = client.get(image["links"][part])
        assert hashlib.sha256(new_picture).hexdigest() in shown.headers["ETag"]
        assert "immutable" not in shown.headers["Cache-Control"]
    (data / image["file"]).write_bytes((gallery_folder / image["file"]).read_bytes())
    assert "immutable" in client.get(image["links"]["thumbnail"]).headers["Cache-Control"]


def test_pictures_are_drawn_few_at_a_time_and_not_again_for_those_who_wait(
    held: ServedCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(held.path), background=False)
    drawn, inside, most = [], 0, 0
    lock = threading.Lock()
    draw = served_picture.decode

    def slowly(data: bytes, **options: Any) -> Any:
        nonlocal inside, most
        with lock:
            drawn.append(data)
            inside += 1
            most = max(most, inside)
        time.sleep(0.1)
        try:
            return draw(data, **options)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(served_picture, "decode", slowly)
    places = ["images/0/thumbnail"] * 8 + ["images/25/picture"] * 8
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda place: app.test_client().get(f"/api/v1/{place}").status_code, places))

    assert statuses == [200] * 16
    assert 1 + 8 <= len(drawn) <= available_cores() + 8
    assert most <= available_cores()


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/results?image=0",
        "/compare?image=0&hit=1",
        "/collection/",
        "/collection/images/",
        "/collection/images/0",
        "/collection/duplicates/",
        "/evaluation/",
        "/api/v1/collection",
        "/api/v1/images",
        "/api/v1/images/0",
        "/api/v1/images/0/similar",
        "/api/v1/images/0/thumbnail",
    ],
)
def test_a_request_sees_one_state_of_the_collection(
    held: ServedCollection, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(held.path), background=False)
    taken: list[served_collection.Searcher] = []
    current = ServedCollection.searcher

    def searcher(served: ServedCollection) -> served_collection.Searcher:
        taken.append(current.fget(served))  # type: ignore[misc]
        return taken[-1]

    monkeypatch.setattr(ServedCollection, "searcher", property(searcher))
    assert app.test_client().get(address).status_code == 200
    assert len(taken) == 1


def test_nobody_is_told_where_pictures_lie(held: ServedCollection, tmp_path: Path) -> None:
    with CollectionWriter(held.path) as writer:
        source = writer.source(tmp_path / "ward 3" / "data", "folder")
        (lost,) = writer.append([NewImage(source, "a.jpg", None, 9, 9, 1, 0, bytes(32), {})])
    client = create_app(Settings(held.path), background=False).test_client()

    answer = client.get(f"/api/v1/images/{lost}/picture")

    assert answer.status_code == 410
    assert answer.json["detail"].startswith("data cannot be opened")
    assert "ward 3" not in answer.text


def test_a_page_shows_a_placeholder_where_a_picture_is_gone(held: ServedCollection, tmp_path: Path) -> None:
    with CollectionWriter(held.path) as writer:
        source = writer.source(tmp_path / "gone", "folder")
        (lost,) = writer.append([NewImage(source, "a.jpg", None, 9, 9, 1, 0, bytes(32), {})])
    client = create_app(Settings(held.path), background=False).test_client()
    chromium = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
    firefox = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
    addresses = [(f"/api/v1/images/{lost}/{part}", 410) for part in ("picture", "thumbnail")]
    for address, status in [*addresses, ("/queries/none.jpg", 410)]:
        for accept in (chromium, firefox):
            shown = client.get(address, headers={"Accept": accept})
            assert (shown.status_code, shown.mimetype) == (status, "image/svg+xml")
            assert "Accept" in shown.headers["Vary"]
        program = client.get(address, headers={"Accept": "application/json"})
        assert (program.status_code, program.mimetype) == (status, "application/problem+json")
    assert client.get(addresses[0][0], headers={"Accept": "*/*"}).mimetype == "application/problem+json"


def test_a_source_above_the_collection_gives_no_part_of_its_path_away(indexed: Any, tmp_path: Path) -> None:
    path = shutil.copytree(indexed.path, tmp_path / "archive" / "ward 3" / "kvasir.collection")
    with CollectionWriter(path) as writer:
        writer.source(tmp_path / "archive", "folder")
        writer.source(tmp_path, "folder")
    client = create_app(Settings(path, rate=""), background=False).test_client()
    for address in ("/api/v1/images/999999", "/collection/images/999999", "/api/v1/images/999999/thumbnail"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert "no image 999999" in answer.text
        for folder in ("ward 3", "archive", tmp_path.name):
            assert folder not in answer.text


def test_an_upload_that_shows_an_image_of_the_collection_joins_its_cluster(
    held: ServedCollection, encode_file: Callable[..., bytes]
) -> None:
    original = int(held.searcher.collection.images.ids[3])
    picture = Image.open(io.BytesIO(held.searcher.collection.read(original))).convert("RGB")
    copy, new = held.add(encode_file(picture, quality=60), None)
    images = held.searcher.collection.images
    assert new
    assert images.clusters[images.position(copy)] == images.clusters[images.position(original)]
    hits = held.searcher.search(original, 26, exclude_cluster=True)
    assert copy not in hits.ids
