from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.collection import (
    Collection,
    CollectionBusyError,
    CollectionWriter,
    DamagedCatalogError,
    DamagedVectorError,
    FormatError,
    NewImage,
    NoSuchImageError,
    NotACollectionError,
    NotWritableError,
    SpaceNameError,
)
from retrieval.collection.catalog import checksum

ROOT = Path(__file__).resolve().parents[4]
Vector = NDArray[np.float32]
MakeImage = Callable[..., NewImage]


def vector(seed: int, dimension: int = 4) -> Vector:
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)


def reopened(writer: CollectionWriter) -> Collection:
    return Collection.open(writer.path)


def damage_rows(writer: CollectionWriter, row: int) -> None:
    """Overwrite a vector of the space `s`."""
    with (writer.path / "vectors" / "s.float32").open("r+b") as file:
        file.seek(row * 16)
        file.write(b"\xff" * 16)


# What is stored


def test_a_new_collection_is_empty_and_opens(writer: CollectionWriter) -> None:
    collection = reopened(writer)
    assert len(collection) == 0
    assert collection.classes == ()
    ids, vectors = collection.vectors("s")
    assert ids.shape == (0,)
    assert vectors.shape == (0, 4)


def test_appended_images_come_back_with_everything(writer: CollectionWriter, tmp_path: Path, image: MakeImage) -> None:
    assert writer.append([image(0), image(1, class_name=None), image(2, class_name="b", width=9, height=8)]) == [
        0,
        1,
        2,
    ]
    collection = reopened(writer)
    assert collection.manifest.name == "test"
    assert collection.images.ids.tolist() == [0, 1, 2]
    assert collection.classes == ("a", "b")
    assert [collection.class_of(i) for i in range(3)] == ["a", None, "b"]
    assert collection.images.sizes.tolist() == [[720, 576], [720, 576], [9, 8]]
    assert collection.file_of(2) == "a/2.jpg"
    assert collection.images.source_paths == ((tmp_path, "folder"),)
    ids, vectors = collection.vectors("s")
    assert ids.tolist() == [0, 1, 2]
    assert np.array_equal(vectors, [vector(0), vector(1), vector(2)])
    stored = [checksum(row.tobytes()) for row in np.asarray(vectors)]
    assert collection.images.checksums[:, 0].tolist() == stored


def test_what_is_appended_lasts_after_the_writer_is_closed(tmp_path: Path, image: MakeImage) -> None:
    for run in range(3):
        with CollectionWriter(tmp_path / "c", create=True) as opened:
            if run == 0:
                opened.add_space("s", "encoder", 4, "cosine", {})
                opened.source(tmp_path, "folder")
            assert opened.append([image(run)]) == [run]
    assert reopened(opened).images.ids.tolist() == [0, 1, 2]


def test_removing_leaves_other_ids_as_they_are(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(n) for n in range(5)])
    assert writer.remove([1, 3, 77]) == 2
    collection = reopened(writer)
    assert collection.images.ids.tolist() == [0, 2, 4]
    ids, vectors = collection.vectors("s")
    assert np.array_equal(vectors, [vector(0), vector(2), vector(4)])
    assert ids.tolist() == [0, 2, 4]
    with pytest.raises(NoSuchImageError, match="no image 3"):
        collection.vector("s", 3)


def test_a_removed_id_never_comes_back_not_even_the_last_after_reopening(tmp_path: Path, image: MakeImage) -> None:
    with CollectionWriter(tmp_path / "c", create=True) as opened:
        opened.add_space("s", "encoder", 4, "cosine", {})
        opened.source(tmp_path, "folder")
        opened.append([image(0), image(1), image(2)])
        opened.remove([2])
    with CollectionWriter(tmp_path / "c") as opened:
        assert opened.append([image(2)]) == [3]
        opened.remove([0, 1, 3])
    with CollectionWriter(tmp_path / "c") as opened:
        assert len(reopened(opened)) == 0
        assert opened.append([image(9)]) == [4]
    assert np.array_equal(reopened(opened).vector("s", 4), vector(9))


def test_a_file_that_is_replaced_gets_a_new_id(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(0), image(1)])
    assert writer.append([image(0, content=b"changed", vectors={"s": vector(50)})]) == [2]
    collection = reopened(writer)
    assert collection.images.ids.tolist() == [1, 2]
    assert collection.images.files == ("a/1.jpg", "a/0.jpg")
    assert np.array_equal(collection.vector("s", 2), vector(50))


def test_exact_copies_join_the_cluster_of_the_first(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(0), image(1, content=b"same"), image(2, content=b"same")])
    writer.append([image(3, content=b"same"), image(4)])
    assert reopened(writer).images.clusters.tolist() == [0, 1, 1, 1, 4]


def test_copies_are_named_with_the_first_of_their_bytes(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(0), image(1, content=b"0"), image(2)])
    assert writer.copies(0) == [(1, 0)]
    writer.append([image(3, content=b"2"), image(4), image(5, content=b"4"), image(6, content=b"0")])
    assert writer.copies(3) == [(3, 2), (5, 4), (6, 0)]
    assert writer.copies(7) == []


def test_a_collection_that_an_error_ends_before_its_first_image_is_taken_away(tmp_path: Path, image: MakeImage) -> None:
    (tmp_path / "empty folder").mkdir()
    for name in ("new", "empty folder"):
        with pytest.raises(ZeroDivisionError), CollectionWriter(tmp_path / name, create=True) as writer:  # noqa: PT012
            writer.add_space("s", "encoder", 4, "cosine", {})
            (tmp_path / name / "encoders" / "s").mkdir(parents=True)
            raise ZeroDivisionError
        assert not (tmp_path / name).exists()
    with pytest.raises(ZeroDivisionError), CollectionWriter(tmp_path / "kept", create=True) as writer:  # noqa: PT012
        writer.add_space("s", "encoder", 4, "cosine", {})
        writer.source(tmp_path, "folder")
        writer.append([image(0)])
        raise ZeroDivisionError
    assert len(Collection.open(tmp_path / "kept")) == 1
    with CollectionWriter(tmp_path / "kept") as writer:
        writer.remove([0])
    with pytest.raises(ZeroDivisionError), CollectionWriter(tmp_path / "kept"):
        raise ZeroDivisionError
    assert len(Collection.open(tmp_path / "kept")) == 0


@contextmanager
def without_rights() -> Iterator[Path]:
    """A folder that this process may read and not write; root gives up being root for the while."""
    folder = Path(tempfile.mkdtemp())
    with CollectionWriter(folder / "c", create=True):
        pass
    user = os.geteuid()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if user == 0:
            os.seteuid(65534)
        yield folder
    finally:
        os.seteuid(user)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_collection_that_may_not_be_written_says_what_to_do() -> None:
    with without_rights() as folder:
        for path, create in ((folder / "c", False), (folder / "new", True)):
            with pytest.raises(NotWritableError) as told:
                CollectionWriter(path, create=create)
            text = str(told.value)
            assert text.startswith(f"cannot write to the collection {path} (Permission denied: {folder}")
            assert "must be writable for you: change their permissions, or write to a copy" in text
        assert len(Collection.open(folder / "c")) == 0  # reading needs no more than reading


def test_known_files_tell_what_they_have(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(0), image(1, vectors={}, class_name=None)])
    known = writer.known(1)
    assert known["a/0.jpg"].spaces == {"s"}
    assert known["a/1.jpg"].spaces == frozenset()
    assert known["a/1.jpg"].class_name is None
    assert writer.known(2) == {}
    writer.fill({}, {0: (99, 1234)})
    assert (writer.known(1)["a/0.jpg"].file_size, writer.known(1)["a/0.jpg"].stamp) == (99, 1234)


def test_the_vectors_of_a_copy_are_found_by_content(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(0, content=b"x")])
    found = writer.vectors_of_content(hashlib.sha256(b"x").digest())
    assert np.array_equal(found["s"], vector(0))
    assert writer.vectors_of_content(bytes(32)) == {}


def test_a_copy_never_takes_over_a_vector_that_is_damaged_or_cut_off(
    writer: CollectionWriter, image: MakeImage
) -> None:
    writer.append([image(0), image(1, content=b"x")])
    writer.add_space("late", "encoder", 2, "cosine", {})
    writer.fill({1: {"late": np.ones(2, np.float32)}})
    damage_rows(writer, 1)
    assert list(writer.vectors_of_content(hashlib.sha256(b"x").digest())) == ["late"]
    os.truncate(writer.path / "vectors" / "s.float32", 20)
    assert list(writer.vectors_of_content(hashlib.sha256(b"x").digest())) == ["late"]


# Spaces


def test_a_space_that_comes_later_is_filled_without_touching_the_first(
    writer: CollectionWriter, image: MakeImage
) -> None:
    writer.append([image(0), image(1), image(2)])
    before = (writer.path / "vectors" / "s.float32").read_bytes()
    later = writer.add_space("late", "descriptor", 2, "lire-phog", {}, "float64")
    assert later.number == 1
    assert reopened(writer).vectors("late")[0].tolist() == []
    writer.fill({2: {"late": np.array([1, 2.5])}, 0: {"late": np.array([3, 4.5])}})
    collection = reopened(writer)
    ids, vectors = collection.vectors("late")
    assert ids.tolist() == [0, 2]
    assert vectors.dtype == np.float64
    assert vectors.tolist() == [[3, 4.5], [1, 2.5]]
    assert collection.vector("late", 1) is None
    assert (writer.path / "vectors" / "s.float32").read_bytes() == before
    assert writer.append([image(3, vectors={"late": np.array([9, 9.0])})]) == [3]
    assert reopened(writer).vectors("s")[0].tolist() == [0, 1, 2]
    assert reopened(writer).vectors("late")[0].tolist() == [0, 2, 3]


def test_a_damaged_vector_stays_known_as_damaged_until_another_is_filled_in(
    writer: CollectionWriter, image: MakeImage
) -> None:
    writer.append([image(0), image(1)])
    damage_rows(writer, 1)
    with pytest.raises(DamagedVectorError):
        reopened(writer).vector("s", 1)
    writer.fill({1: {"s": vector(11)}})
    assert np.array_equal(reopened(writer).vector("s", 1), vector(11))
    assert np.array_equal(reopened(writer).vector("s", 0), vector(0))


@pytest.mark.parametrize("name", ["", "../s", "a/b", ".hidden", "s p a c e", "x" * 200, "ü"])
def test_names_that_are_no_file_names_are_refused(writer: CollectionWriter, name: str) -> None:
    with pytest.raises(SpaceNameError, match="cannot name a space"):
        writer.add_space(name, "encoder", 4, "cosine", {})


def test_a_space_name_is_taken_once_and_an_unknown_one_lists_those_there_are(writer: CollectionWriter) -> None:
    with pytest.raises(SpaceNameError, match="already"):
        writer.add_space("s", "encoder", 4, "cosine", {})
    with pytest.raises(SpaceNameError, match="no space 't' in this collection; its spaces: s"):
        reopened(writer).vectors("t")


# Readers beside a writer


def test_a_reader_keeps_its_view_while_a_writer_works(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(n) for n in range(4)])
    reader = reopened(writer)
    _, mapped = reader.vectors("s")
    writer.append([image(n) for n in range(4, 300)])
    writer.append([image(1, content=b"changed", vectors={"s": vector(1000)})])
    writer.remove([0, 2])
    writer.add_space("late", "encoder", 2, "cosine", {})
    writer.fill({3: {"late": np.ones(2, np.float32)}})
    assert reader.images.ids.tolist() == [0, 1, 2, 3]
    assert np.array_equal(mapped, [vector(n) for n in range(4)])
    assert np.array_equal(reader.vectors("s")[1], [vector(n) for n in range(4)])
    assert [space.name for space in reader.spaces] == ["s"]
    now = reopened(writer)
    assert len(now) == 298
    assert np.array_equal(now.vector("s", 300), vector(1000))


def test_readers_open_while_a_writer_commits(writer: CollectionWriter, image: MakeImage) -> None:
    script = """
        import sys
        from retrieval.collection import Collection
        seen = 0
        while seen < 300:
            collection = Collection.open(sys.argv[1])
            ids, vectors = collection.vectors("s")
            assert len(ids) == len(vectors) == len(collection) and len(ids) % 10 == 0, len(ids)
            assert seen <= len(ids)
            seen = len(ids)
            if seen == 0:
                print("open", flush=True)
    """
    with subprocess.Popen(python(script, writer.path), stdout=subprocess.PIPE, cwd=ROOT) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        for start in range(0, 300, 10):
            writer.append([image(n) for n in range(start, start + 10)])
        assert reader.wait(60) == 0


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]


# One writer


def test_a_second_writer_is_refused_here_and_in_another_process(writer: CollectionWriter) -> None:
    with pytest.raises(CollectionBusyError, match="another process is writing"):
        CollectionWriter(writer.path)
    script = """
        import sys
        from retrieval.collection import CollectionBusyError, CollectionWriter
        try:
            CollectionWriter(sys.argv[1])
        except CollectionBusyError as error:
            print(error)
    """
    told = subprocess.run(python(script, writer.path), capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert told.startswith(f"another process is writing to {writer.path}; wait until it is done")
    writer.close()
    CollectionWriter(writer.path).close()


def test_a_writer_that_was_killed_keeps_nobody_out(tmp_path: Path) -> None:
    script = """
        import pathlib, sys, time
        from retrieval.collection import CollectionWriter
        writer = CollectionWriter(sys.argv[1], create=True)
        writer.source(pathlib.Path(sys.argv[1]), "folder")
        print("open", flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(python(script, tmp_path / "c"), stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(CollectionBusyError):
            CollectionWriter(tmp_path / "c")
        child.send_signal(signal.SIGKILL)
    CollectionWriter(tmp_path / "c").close()


# What is not, or no longer, a collection


def test_a_folder_that_is_no_collection_says_how_to_make_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotACollectionError, match="make one with `kvasir index DATA"):
            Collection.open(path)
        with pytest.raises(NotACollectionError):
            CollectionWriter(path)
    assert not (tmp_path / "nowhere").exists()


def test_a_path_that_begins_with_the_home_folder_is_found(
    writer: CollectionWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(writer.path.parent))
    assert Collection.open("~/c").path == writer.path


def test_a_file_is_no_collection(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(NotACollectionError):
        Collection.open(path)
    with pytest.raises(NotACollectionError, match="is a file"):
        CollectionWriter(path, create=True)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(NotACollectionError, match=r"not empty.*thesis\.tex"):
        CollectionWriter(tmp_path, create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_and_one_half_made_become_a_collection(tmp_path: Path) -> None:
    for names in ((), ("writer.lock",), ("writer.lock", "catalog.sqlite", "manifest.json.new")):
        folder = tmp_path / str(len(names))
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"")
        with CollectionWriter(folder, create=True) as opened:
            assert len(reopened(opened)) == 0


def test_another_format_is_named_and_not_guessed_at(writer: CollectionWriter) -> None:
    manifest = writer.path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 7}))
    with pytest.raises(FormatError, match="has format 7; this version reads format 1"):
        reopened(writer)


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", '{"format": 1}', '{"format": 1, "spaces": [3], "name": "", "created": ""}', "\0\xff"],
)
def test_a_damaged_manifest_is_told(writer: CollectionWriter, damage: str) -> None:
    writer.close()
    (writer.path / "manifest.json").write_text(damage, "latin-1")
    with pytest.raises(FormatError):
        reopened(writer)
    with pytest.raises(FormatError):
        CollectionWriter(writer.path, create=True)


def spoil(path: Path, damage: str) -> None:
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_bytes(b"not a database " * 400)
    elif damage == "cut off":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:4096] + bytes(len(data) - 4096))


@pytest.mark.parametrize("damage", ["gone", "empty", "text", "cut off", "zeros"])
def test_a_damaged_catalog_is_told_to_readers_and_writers(
    writer: CollectionWriter, damage: str, image: MakeImage
) -> None:
    writer.append([image(n) for n in range(400)])
    writer.close()
    spoil(writer.path / "catalog.sqlite", damage)
    with pytest.raises(DamagedCatalogError):
        Collection.open(writer.path)
    with pytest.raises(DamagedCatalogError), CollectionWriter(writer.path, create=True) as opened:
        opened.known(1)


def test_no_flipped_bit_of_a_manifest_changes_what_is_read(writer: CollectionWriter) -> None:
    path = writer.path / "manifest.json"
    sound, expected = path.read_bytes(), reopened(writer).manifest
    told = 0
    for at in range(len(sound)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << at % 8]) + sound[at + 1 :])
        try:
            assert reopened(writer).manifest == expected
        except FormatError:
            told += 1
    assert told > len(sound) / 2
    path.write_bytes(sound.replace(b'"name": "s"', b'"name": "t"'))
    with pytest.raises(FormatError, match=r"manifest\.json is damaged \(its SHA-256 differs\); restore it from a copy"):
        reopened(writer)


def test_a_manifest_of_before_there_was_a_checksum_is_read_and_gets_one(writer: CollectionWriter) -> None:
    path = writer.path / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["sha256"]
    path.write_text(json.dumps(fields))
    assert reopened(writer).manifest == writer.manifest
    writer.update_recipe("s", {"spec": "other"})
    assert len(json.loads(path.read_text())["sha256"]) == 64


def test_a_vector_file_shorter_than_the_catalog_says_is_told(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(n) for n in range(8)])
    path = writer.path / "vectors" / "s.float32"
    os.truncate(path, 7 * 16)
    with pytest.raises(FormatError, match="does not hold the vectors"):
        reopened(writer).vectors("s")
    path.unlink()
    with pytest.raises(FormatError, match=r"kvasir verify --repair"):
        reopened(writer).vector("s", 0)


def test_a_disk_that_fills_up_in_the_middle_of_a_vector_loses_only_what_was_not_reported(tmp_path: Path) -> None:
    script = """
        import pathlib, resource, signal, sys
        import numpy as np
        from retrieval.collection import CollectionWriter, NewImage
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        def image(n):
            return NewImage(1, f"{n}", None, 1, 1, 1, 1, bytes([n]) * 32, {"s": np.full(25_000, n, np.float32)})
        with CollectionWriter(sys.argv[1], create=True) as writer:
            writer.add_space("s", "encoder", 25_000, "cosine", {})
            writer.source(pathlib.Path(sys.argv[1]), "folder")
            writer.append([image(1), image(2)])
            resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
            try:
                writer.append([image(3)])
            except OSError as error:
                print(type(error).__name__)
    """
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    told = subprocess.run(python(script, tmp_path / "c"), capture_output=True, text=True, cwd=ROOT, check=True)
    assert told.stdout == "OSError\n"
    collection = Collection.open(tmp_path / "c")
    assert collection.images.ids.tolist() == [0, 1]
    assert np.asarray(collection.vectors("s")[1])[:, 0].tolist() == [1, 2]


# Size


def test_adding_to_a_large_collection_writes_only_what_is_new(writer: CollectionWriter, image: MakeImage) -> None:
    writer.append([image(n) for n in range(8000)])
    vectors = writer.path / "vectors" / "s.float32"
    inode, before = vectors.stat().st_ino, vectors.read_bytes()
    manifest = (writer.path / "manifest.json").stat().st_mtime_ns
    time.sleep(0.01)
    writer.append([image(8000)])
    assert vectors.stat().st_ino == inode
    assert vectors.read_bytes() == before + vector(8000).tobytes()
    assert (writer.path / "manifest.json").stat().st_mtime_ns == manifest
