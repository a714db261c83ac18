"""A backup is one state of a collection, whole or not at all, and is restored in one step."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.repair import repair
from indexer.verification import check
from retrieval import backup
from retrieval.backup import BackupError, RestorePlaceError, restore_backup, write_backup
from retrieval.collection import Collection, CollectionBusyError, CollectionWriter
from retrieval.collection.changes import LogPosition
from retrieval.collection.vectors import ReplacedCollectionError, vectors_path
from retrieval.command_line import kvasir
from retrieval.search import open_collection

Write = Callable[..., Path]


def vectors(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rows = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return {"s": rows / np.linalg.norm(rows, axis=1)[:, None]}


@pytest.fixture
def collection(write_collection: Write, tmp_path: Path) -> Path:
    path = write_collection(tmp_path / "c", vectors(40), ["discs", "rings"] * 20)
    (path / "pictures").mkdir()
    (path / "pictures" / "a.jpg").write_bytes(b"a picture")
    (path / "keys.json").write_bytes(b"[]")
    (path / "index" / "s").mkdir(parents=True)
    (path / "index" / "s" / "big.faiss").write_bytes(bytes(1000))
    (path / "shards").mkdir()
    (path / "shards" / "a.npz").write_bytes(bytes(1000))
    return path


def test_what_is_restored_is_what_was_there_without_indexes_and_locks(collection: Path, tmp_path: Path) -> None:
    done = write_backup(collection, tmp_path / "b.tar")
    restored = tmp_path / "new" / "r"
    assert restore_backup(tmp_path / "b.tar", restored) == done
    files = {str(path.relative_to(collection)): path for path in collection.rglob("*") if path.is_file()}
    expected = {name for name in files if not name.startswith(("index", "shards")) and not name.endswith(".lock")}
    assert {str(path.relative_to(restored)) for path in restored.rglob("*") if path.is_file()} == expected
    assert done.images == 40
    assert done.files == len(expected)
    for name in expected - {"catalog.sqlite"}:
        assert (restored / name).read_bytes() == files[name].read_bytes()
    assert check(restored, pictures=False) == []
    assert open_collection(restored).search(3, 5).ids == open_collection(collection).search(3, 5).ids
    assert (restored / "keys.json").stat().st_mode & 0o77 == 0


def test_vectors_beyond_the_ids_of_the_catalog_are_left_out(collection: Path, tmp_path: Path) -> None:
    path = vectors_path(collection, Collection.open(collection).manifest.space("s"))
    length = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(500))  # of a batch whose rows are not yet stored
    write_backup(collection, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.getmember("vectors/s.float32").size == length


def test_backups_while_a_writer_works_are_each_one_state(
    collection: Path, write_collection: Write, tmp_path: Path
) -> None:
    over = threading.Event()

    def write() -> None:
        number = 40
        while not over.is_set():
            write_collection(collection, vectors(5, number), ["bars"] * 5, first=number)
            with CollectionWriter(collection) as writer:
                writer.remove([number])
            number += 5

    thread = threading.Thread(target=write)
    thread.start()
    try:
        counts = [write_backup(collection, tmp_path / f"{turn}.tar").images for turn in range(6)]
    finally:
        over.set()
        thread.join()
    for turn, count in enumerate(counts):
        restore_backup(tmp_path / f"{turn}.tar", tmp_path / f"r{turn}")
        assert len(Collection.open(tmp_path / f"r{turn}")) == count
        assert check(tmp_path / f"r{turn}", pictures=False) == []


def test_a_backup_starts_over_where_the_manifest_changes_and_leaves_nothing_where_it_cannot(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, times = backup._add, []

    def changing(tar: tarfile.TarFile, name: str, path: Path, most: int | None = None) -> str:
        if name == "manifest.json" and len(times) < limit:
            times.append(name)
            with CollectionWriter(collection) as writer:
                writer.add_space(f"t{len(times)}", "encoder", 3, "cosine", {"spec": "none"})
        return add(tar, name, path, most)

    monkeypatch.setattr(backup, "_add", changing)
    limit = 2
    write_backup(collection, tmp_path / "b.tar")
    restore_backup(tmp_path / "b.tar", tmp_path / "r")
    assert [space.name for space in Collection.open(tmp_path / "r").spaces] == ["s", "t1", "t2"]
    limit = 100
    with pytest.raises(BackupError, match="try again"):
        write_backup(collection, tmp_path / "other.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar", "c", "r"}


def damaged_files(data: bytes) -> dict[str, bytes]:
    middle = bytearray(data)
    middle[data.index(b"a picture")] ^= 1
    return {"cut": data[: len(data) // 2], "empty": b"", "no tar": b"x" * 5000, "flipped": bytes(middle)}


@pytest.mark.parametrize("damage", ["cut", "empty", "no tar", "flipped"])
def test_a_damaged_backup_changes_nothing(collection: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "b.tar"
    write_backup(collection, file)
    file.write_bytes(damaged_files(file.read_bytes())[damage])
    before = (collection / "catalog.sqlite").stat()
    with pytest.raises(BackupError, match=r"b\.tar is"):
        restore_backup(file, collection, replace=True)
    assert (collection / "catalog.sqlite").stat() == before
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar", "c"}


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a\\evil"])
def test_a_file_outside_of_the_collection_is_never_written(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(BackupError, match="damaged at"):
        restore_backup(tmp_path / "b.tar", tmp_path / "r")
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar"}


def hostile(*members: tuple[str, dict[str, object], bytes]) -> bytes:
    """A tar of members: name, further fields of the header, content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, fields, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def facts(**changed: object) -> tuple[str, dict[str, object], bytes]:
    fields = {"kind": "kvasir backup", "format": 1, "images": 1, "sha256": {}} | changed
    return "backup.json", {}, json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "big", "GNU.sparse.realsize": str(2**50)}
HOSTILE: dict[str, bytes] = {
    "a symbolic link": hostile(("keys.json", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, b"")),
    "a hard link": hostile(("keys.json", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}, b"")),
    "a device": hostile(("keys.json", {"type": tarfile.CHRTYPE}, b"")),
    "a petabyte of zeros": hostile(("big", {"pax_headers": SPARSE}, b"0\n".ljust(512, b"\0"))),
    "a file twice": hostile(("a", {}, b"1"), ("a", {}, b"2"), facts()),
    "a file as a folder": hostile(("a", {}, b"1"), ("a/b", {}, b"2"), facts()),
    "a name of its folder": hostile(("a/b", {}, b"1"), ("a", {}, b"2"), facts()),
    "no digests": hostile(facts(sha256=None)),
    "digests that are none": hostile(facts(sha256=[[1]])),
    "a number that is none": hostile(facts(images="many")),
    "a name that is too long": hostile(("a" * 300, {}, b"1"), facts()),
    "nested a thousand times": hostile(("backup.json", {}, b'{"kind": ' + b"[" * 100_000)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_backup_is_refused_in_words_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "b.tar").write_bytes(HOSTILE[kind])
    with pytest.raises(
        BackupError, match=r"b\.tar is not a backup of a collection(, or is damaged|: a name in it is too long$)"
    ):
        restore_backup(tmp_path / "b.tar", tmp_path / "r")
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar"}


def test_a_running_reader_sees_the_earlier_state_and_then_the_restored_one(
    collection: Path, write_collection: Write, tmp_path: Path
) -> None:
    write_backup(collection, tmp_path / "b.tar")
    first = open_collection(collection).search(3, 50).ids
    write_collection(collection, vectors(20, 7), ["bars"] * 20, first=40)
    running = open_collection(collection)
    second = running.search(3, 70).ids
    restore_backup(tmp_path / "b.tar", collection, replace=True)
    assert running.search(3, 70).ids == second
    assert running.refreshed().search(3, 50).ids == first


def test_a_reader_that_has_not_mapped_its_vectors_never_takes_those_of_the_restored_state(
    collection: Path, write_collection: Write, tmp_path: Path
) -> None:
    write_backup(collection, tmp_path / "b.tar")
    write_collection(collection, vectors(20, 7), ["bars"] * 20, first=40)
    opened = Collection.open(collection)
    mapped = Collection.open(collection)
    _, before = mapped.vectors("s")
    restore_backup(tmp_path / "b.tar", collection, replace=True)
    for _ in range(2):
        with pytest.raises(ReplacedCollectionError, match="was replaced by another collection; try again"):
            opened.vectors("s")
    assert np.array_equal(mapped.vectors("s")[1], before)
    later, _ = opened.refreshed()
    assert len(later.vectors("s")[0]) == 40


@pytest.mark.parametrize("sequence", ["later", "as many changes"])
def test_a_restored_state_is_read_anew_though_its_log_goes_on(
    collection: Path, write_collection: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sequence: str
) -> None:
    """Even where the system gives the restored catalog the number of the earlier one's file."""
    write_backup(collection, tmp_path / "b.tar")
    running = Collection.open(collection)
    write_collection(collection, vectors(1 if sequence == "later" else 20, 7), first=40)
    with monkeypatch.context() as patch:
        patch.setattr("retrieval.collection.changes.LogPosition", lambda log, inode, last: LogPosition(log, 7, last))
        running, _ = running.refreshed()
        restore_backup(tmp_path / "b.tar", collection, replace=True)
        restored, difference = running.refreshed()
    assert len(restored) == 40
    assert difference is None


def test_a_stop_between_two_steps_of_a_restore_loses_nothing(collection: Path, tmp_path: Path) -> None:
    write_backup(collection, tmp_path / "b.tar")
    collection.rename(tmp_path / ".c.earlier")  # where folders cannot change places in one step
    (tmp_path / ".c.restoring").mkdir()
    (tmp_path / "bad.tar").write_bytes(b"none")
    with pytest.raises(BackupError):
        restore_backup(tmp_path / "bad.tar", collection, replace=True)
    assert len(Collection.open(collection)) == 40
    restore_backup(tmp_path / "b.tar", collection, replace=True)
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar", "bad.tar", "c"}


def test_shards_of_a_run_that_was_stopped_are_told_and_stay_for_the_next_one(collection: Path) -> None:
    shutil.rmtree(collection / "index")
    (finding,) = check(collection, pictures=False)
    assert (finding.kind, finding.repairable) == ("shards", False)
    assert "`kvasir index --ray` again uses and deletes it" in finding.message
    repair(collection, [finding])
    assert (collection / "shards" / "a.npz").exists()


def test_what_a_stopped_restore_or_backup_left_is_told_and_removed(collection: Path, tmp_path: Path) -> None:
    for name in ("index", "shards"):
        shutil.rmtree(collection / name)
    left = tmp_path / ".c.restoring"
    left.mkdir()
    (left / "catalog.sqlite").touch()
    assert check(collection, pictures=False) == []  # perhaps one is running
    for path in (left / "catalog.sqlite", left):
        os.utime(path, (0, 0))
    (finding,) = check(collection, pictures=False)
    assert (finding.kind, finding.repairable) == ("leftover", True)
    CollectionWriter(collection).close()
    assert not left.exists()
    for name in ("b.tar.new", "b.tar.new.catalog.sqlite", "b.tar.new.catalog.sqlite-journal"):
        (tmp_path / name).write_bytes(b"half")
    write_backup(collection, tmp_path / "b.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar", "c"}


def test_a_place_that_has_something_else_is_left_alone(collection: Path, tmp_path: Path) -> None:
    write_backup(collection, tmp_path / "b.tar")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(RestorePlaceError, match="is not a collection and not empty"):
        restore_backup(tmp_path / "b.tar", tmp_path / "other", replace=True)
    with pytest.raises(RestorePlaceError, match="--replace"):
        restore_backup(tmp_path / "b.tar", collection)
    with CollectionWriter(collection), pytest.raises(CollectionBusyError):
        restore_backup(tmp_path / "b.tar", collection, replace=True)
    with pytest.raises(BackupError, match="outside of it"):
        write_backup(collection, collection / "b.tar")
    with pytest.raises(BackupError, match="no such file"):
        restore_backup(tmp_path / "gone.tar", tmp_path / "new")


def test_the_commands_say_what_they_did(collection: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(kvasir, ["backup", str(collection), str(tmp_path / "b.tar"), "--json"])
    assert json.loads(run.stdout)["images"] == 40
    run = CliRunner().invoke(kvasir, ["restore", str(tmp_path / "b.tar"), str(collection), "--replace"])
    assert run.stdout == f"{collection}: 40 images, 5 files restored\n"
