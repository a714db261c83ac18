"""The catalog's rows as a columnar file: a cache that never says anything else than the catalog."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.collection import Collection, CollectionWriter, Images, NewImage
from retrieval.collection.catalog import connect
from retrieval.collection.columns import NAME, stored_position
from retrieval.collection.file_names import FileNames
from retrieval.collection.images import COLUMNS, read_images

SPACE = "dots"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("reading", "writing"):
        monkeypatch.setattr(f"retrieval.collection.{module}.COLUMNS_FROM", 5)
    monkeypatch.setattr("retrieval.collection.images._PACKED_FROM", 5)
    monkeypatch.setattr("retrieval.collection.images._BLOCK", 4)
    monkeypatch.setattr("retrieval.collection.changed_images._BLOCK", 4)
    monkeypatch.setattr("retrieval.collection.changed_images.COPIED_UP_TO", 4)
    monkeypatch.setattr("retrieval.collection.columns._BLOCK", 4)
    monkeypatch.setattr("retrieval.collection.changes.FEW", 3)


def image(number: int, source: int, class_name: str | None = None) -> NewImage:
    file, digest = f"größe/{number}.jpg", hashlib.sha256(b"%d" % number).digest()
    return NewImage(source, file, class_name, 4, 3 + number, 9, 1, digest, {SPACE: np.full(2, number, np.float32)})


def made(path: Path, count: int = 12) -> Path:
    with CollectionWriter(path, create=True) as writer:
        writer.add_space(SPACE, "imported", 2, "cosine", {})
        source = writer.source(Path("/pictures"), "folder")
        writer.append([image(at, source, f"class {at % 3}" if at % 4 else None) for at in range(count)])
    return path


def rows_of(images: Images) -> list[object]:
    return [
        images.classes, images.source_paths, images.damaged, tuple(images.files),
        *(getattr(images, name).tolist()
          for name in ("ids", "labels", "clusters", "sizes", "checksums", "contents", "marks",
                       "scene_rows", "sources")),
    ]  # fmt: skip


def require_current(path: Path) -> Images:
    """What is opened by the columns, compared with what the catalog itself says, by a file and in memory."""
    opened = Collection.open(path).images
    assert rows_of(opened) == rows_of(Collection.open(path, damaged_rows=True).images)
    with closing(connect(path)) as connection:
        assert rows_of(opened) == rows_of(read_images(connection, opened.checksums.shape[1], path.resolve()))
    return opened


def add(path: Path, numbers: range, class_name: str | None = None) -> None:
    with CollectionWriter(path) as writer:
        writer.append([image(at, writer.source(Path("/pictures"), "folder"), class_name) for at in numbers])


def test_the_writer_stores_columns_and_a_reader_opens_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "c")
    assert (path / NAME).exists()
    opened = require_current(path)
    assert isinstance(opened.files, FileNames)
    assert opened.files[3] == "größe/3.jpg"
    monkeypatch.setattr("retrieval.collection.reading.read_images", None)  # nothing is read from the catalog
    assert rows_of(Collection.open(path).images) == rows_of(opened)


def test_a_small_collection_has_none(tmp_path: Path) -> None:
    path = made(tmp_path / "c", 4)
    assert not (path / NAME).exists()
    assert Collection.open(path).images.files == tuple(f"größe/{at}.jpg" for at in range(4))
    assert not (path / NAME).exists()


def test_what_changed_since_is_read_from_the_catalog(tmp_path: Path) -> None:
    path = made(tmp_path / "c")
    position = stored_position(path)
    with CollectionWriter(path) as writer:
        writer.remove([3])
        writer.set_clusters({5: 4}, {})
    assert stored_position(path) == position  # few entries behind
    assert require_current(path).ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    add(path, range(20, 26), "another class")
    assert stored_position(path) != position
    images = require_current(path)
    assert images.files[-1] == "größe/25.jpg"
    assert "another class" in images.classes


def test_columns_are_brought_up_to_date_by_what_changed_in_every_part(tmp_path: Path) -> None:
    path = made(tmp_path / "c", 30)
    position = stored_position(path)
    with CollectionWriter(path) as writer:
        writer.remove([0, 7, 8, 9, 10, 11, 12, 29])
        writer.set_clusters({5: 4, 28: 27}, {})
        writer.append([image(at, writer.source(Path("/others"), "folder"), "a class") for at in range(40, 46)])
    assert stored_position(path) != position
    images = require_current(path)
    assert images.classes == ("a class", "class 0", "class 1", "class 2")
    assert images.ids.tolist() == [1, 2, 3, 4, 5, 6, *range(13, 29), *range(30, 36)]


def looked_up(images: Images) -> list[object]:
    """What is read of an image, of a class and of a cluster, each by itself, without a column as a whole."""
    places = np.arange(len(images))
    some = np.random.default_rng(len(images)).permutation(places)[:7]
    return [
        [images.value(name, place).tolist() for name in COLUMNS for place in places.tolist()],
        [images.taken(name, some).tolist() for name in COLUMNS],
        [(images.file(place), images.scene_at(place), images.has_picture(place)) for place in places.tolist()],
        [images.position(image_id) for image_id in range(60)],
        [images.ids_of_label(label).tolist() for label in range(-1, len(images.classes))],
        [images.ids_of_cluster(cluster).tolist() for cluster in range(60)],
        [images.ids_of_content(hashlib.sha256(b"%d" % number).digest()).tolist() for number in range(60)],
        images.label_counts.tolist(),
        images.with_vector(0).tolist(),
        images.at(some).scenes.tolist(),
        images.at(some).files,
        images.has_scenes,
    ]


@pytest.mark.parametrize("changed", [5, 10_000])
def test_every_change_is_seen_without_a_column_copied(
    changed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.collection.changed_images._CHANGED", changed)
    path = made(tmp_path / "c", 20)
    random = np.random.default_rng(7)
    opened = Collection.open(path)
    for step in range(12):
        with CollectionWriter(path) as writer:
            source = writer.source(Path("/others" if step > 5 else "/pictures"), "folder" if step % 3 else "vectors")
            if step % 4 != 1:  # of a new class, of an old one, of none, and in the place of another
                names = [f"new {step}", "class 1", None][: 1 + step % 3]
                writer.append(
                    [image(20 + 2 * step + at, source, name) for at, name in enumerate(names)]
                    + [image(3 + step, writer.source(Path("/pictures"), "folder"), "class 0")]
                )
            ids = Collection.open(path).images.ids
            writer.remove(random.choice(ids, 2, replace=False).tolist())
            if step in (4, 7):
                writer.fill({int(ids[-1]): {SPACE: np.full(2, step, np.float32)}})
                writer.set_clusters({int(ids[-1]): int(ids[-3])}, {})
            if step == 8:
                writer.set_scenes({int(ids[-1]): int(ids[1]), int(ids[1]): int(ids[1])}, 1)
        before, (opened, _) = rows_of(opened.images), opened.refreshed()
        with closing(connect(path)) as connection:
            expected = read_images(connection, 1, path.resolve())
        assert looked_up(opened.images) == looked_up(expected), step
        assert not {*COLUMNS, "files"} - {"ids", "clusters", "scene_rows"} & {*vars(opened.images)} or changed == 5
        assert before != rows_of(opened.images) == rows_of(expected)
    require_current(path)


def test_a_class_without_an_image_is_gone(tmp_path: Path) -> None:
    path = made(tmp_path / "c", 30)
    with CollectionWriter(path) as writer:
        ids = writer.append([image(at, writer.source(Path("/others"), "folder"), "a class") for at in range(40, 46)])
    assert "a class" in require_current(path).classes
    with CollectionWriter(path) as writer:
        writer.remove(ids)
    assert require_current(path).classes == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("cut", [0, 10, 60, 500, -1])
@pytest.mark.parametrize("flip", [True, False])
def test_a_damaged_file_is_made_again(cut: int, flip: bool, tmp_path: Path) -> None:
    path = made(tmp_path / "c")
    data = bytearray((path / NAME).read_bytes())
    if flip:
        data[cut] ^= 1
    (path / NAME).write_bytes(data if flip else data[:cut])
    require_current(path)


def test_columns_of_another_catalog_are_not_taken(tmp_path: Path) -> None:
    first, second = made(tmp_path / "first"), made(tmp_path / "second", 9)
    shutil.copy(first / NAME, second / NAME)
    assert len(require_current(second)) == 9
    copied = Path(shutil.copytree(first, tmp_path / "third"))
    assert len(require_current(copied)) == 12


def test_an_earlier_catalog_put_back_is_seen(tmp_path: Path) -> None:
    path = made(tmp_path / "c")
    before = (path / "catalog.sqlite").read_bytes()
    add(path, range(20, 30))
    with (path / "catalog.sqlite").open("r+b") as stream:  # the same file, with an earlier content
        stream.write(before)
        stream.truncate()
    assert len(require_current(path)) == 12


def test_a_folder_that_cannot_be_written_opens_without_columns(tmp_path: Path) -> None:
    path = made(tmp_path / "c")
    (path / NAME).unlink()
    (path / f"{NAME}.new").mkdir()  # so that no file can be written there
    assert len(Collection.open(path)) == 12
    assert not (path / NAME).exists()


def test_a_damaged_row_is_refused_with_columns_as_without(tmp_path: Path) -> None:
    path = made(tmp_path / "c")
    (path / NAME).unlink()
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.execute("DROP TRIGGER digests_stale")
        connection.execute("UPDATE images SET class = 'class 2' WHERE id = 7")
    for _ in range(2):
        with pytest.raises(Exception, match="not what was written"):
            Collection.open(path)


def test_names_are_those_that_were_packed() -> None:
    names = ["a", "", "größe/b.jpg", "x" * 300, "\udcff"]
    packed = FileNames.of(names)
    assert list(packed) == names
    assert packed == tuple(names)
    assert packed[-1] == "\udcff"
    assert list(packed[1:3]) == names[1:3]
    assert packed.index("x" * 300) == 3
    assert packed != ("a",)
    assert list(FileNames.of([])) == []
    assert list(packed[::-1].compact()) == names[::-1]
    assert list(packed[1:4].compact()) == names[1:4]
    assert list(FileNames.joined([packed[2:], packed[::-1]])) == names[2:] + names[::-1]
    assert list(packed.taken(np.array([3, 1]))) == [names[3], names[1]]


def test_names_that_stand_there_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["b", "a", "c", "a", "", "b", "a", "d", ""]
    expected = [[0, 5], [1, 3, 6], [4, 8]]
    assert FileNames.of(names).equal() == expected
    monkeypatch.setattr(FileNames, "_hashes", lambda self: self.lengths.astype(np.int64))  # different ones collide
    assert FileNames.of(names).equal() == expected
    assert FileNames.of(["a", "b"]).equal() == FileNames.of([]).equal() == []
