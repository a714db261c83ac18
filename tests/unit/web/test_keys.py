from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from indexer.verification import check
from retrieval.collection import CollectionWriter
from retrieval.command_line import kvasir
from web import keys
from web.access import KeyStore
from web.errors import KeysFileError, NoSuchKeyError
from web.keys import FILE, LOCK, create_key, find_key, read_keys, revoke_key


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    path = tmp_path / "c"
    CollectionWriter(path, create=True).close()
    return path


def test_a_key_is_stored_as_a_hash_that_only_its_owner_may_read(collection: Path) -> None:
    key, secret = create_key(collection, "lab", "write")
    file = collection / FILE
    assert secret.removeprefix(f"kvasir_{key.id}_") not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert find_key(read_keys(collection), secret) == key


@pytest.mark.parametrize("wrong", ["", "_", "kvasir", "kvasir_", "kvasir__", "é", "kvasir_x_y", "\ud800"])
def test_what_is_not_a_key_is_none(collection: Path, wrong: str) -> None:
    key, secret = create_key(collection, "lab", "read")
    stored = read_keys(collection)
    assert find_key(stored, wrong) is None
    assert find_key(stored, secret[:-1]) is None
    assert find_key(stored, secret.replace("kvasir", "other")) is None
    assert find_key(stored, secret.replace(key.id, "0" * 8)) is None


def test_a_revoked_key_is_deleted(collection: Path) -> None:
    first, secret = create_key(collection, "a", "read")
    second, _ = create_key(collection, "b", "write")
    revoke_key(collection, first.id)
    assert read_keys(collection) == [second]
    assert find_key(read_keys(collection), secret) is None
    with pytest.raises(NoSuchKeyError):
        revoke_key(collection, first.id)


def test_a_revoked_key_stays_revoked_whatever_is_created_meanwhile(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked, secret = create_key(collection, "revoked", "write")
    read, go_on = threading.Event(), threading.Event()
    read_file = keys.read_keys

    def slowly(path: Path) -> list[keys.Key]:
        stored = read_file(path)
        if threading.current_thread().name == "create":
            read.set()
            assert go_on.wait(20)
        return stored

    monkeypatch.setattr(keys, "read_keys", slowly)
    create = threading.Thread(target=create_key, args=(collection, "new", "read"), name="create")
    revoke = threading.Thread(target=revoke_key, args=(collection, revoked.id))
    create.start()
    assert read.wait(20)  # what it will write has the revoked key
    revoke.start()
    revoke.join(0.2)  # ends by itself only where it does not wait for the other
    go_on.set()
    create.join(20)
    revoke.join(20)

    assert [key.name for key in read_keys(collection)] == ["new"]
    assert find_key(read_keys(collection), secret) is None


def test_keys_that_are_created_at_once_are_all_stored(collection: Path) -> None:
    threads = [threading.Thread(target=create_key, args=(collection, str(n), "read")) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(key.name) for key in read_keys(collection)) == list(range(12))


def test_a_lock_that_is_never_released_is_told(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "LOCK_SECONDS", 0.05)
    with FileLock(collection / LOCK), pytest.raises(KeysFileError, match="another process has locked"):
        create_key(collection, "lab", "read")


def test_what_a_stopped_process_left_is_no_obstacle(collection: Path) -> None:
    (collection / f"{FILE}.new").write_text("half a f")
    key, _ = create_key(collection, "lab", "read")
    assert read_keys(collection) == [key]


SOUND = {"id": "0" * 8, "name": "n", "scope": "read", "created": "2026", "sha256": "0" * 64}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "null",
        "{}",
        "[1]",
        '[{"id": 1}]',
        *(json.dumps([SOUND | {name: 1}]) for name in SOUND),
        json.dumps([SOUND | {"scope": "all"}]),
        json.dumps([SOUND | {"sha256": "é" * 64}]),
        "\udcff",
    ],
)
def test_a_damaged_file_is_told_with_what_to_do(collection: Path, content: str) -> None:
    (collection / FILE).write_text(content, "utf-8", errors="surrogateescape")
    for act in (read_keys, lambda path: create_key(path, "lab", "read"), lambda path: revoke_key(path, "0" * 8)):
        with pytest.raises(KeysFileError, match=r"is damaged .*; remove it and create new keys"):
            act(collection)
    assert (collection / FILE).read_text("utf-8", errors="surrogateescape") == content


@pytest.mark.parametrize("change", [{"name": "mab"}, {"scope": "write"}, {"sha256": "1" * 64}, {"crc32": "0" * 8}])
def test_a_key_that_is_not_what_was_written_is_told_by_reading_and_verify(
    collection: Path, change: dict[str, str]
) -> None:
    create_key(collection, "lab", "read")
    (stored,) = json.loads((collection / FILE).read_bytes())
    (collection / FILE).write_text(json.dumps([stored | change]))
    with pytest.raises(KeysFileError, match="is not what was written"):
        read_keys(collection)
    assert [finding.kind for finding in check(collection)] == ["keys"]


def test_keys_of_an_older_version_have_no_digest_and_are_read(collection: Path) -> None:
    (collection / FILE).write_text(json.dumps([SOUND]))
    assert [key.name for key in read_keys(collection)] == ["n"]
    create_key(collection, "lab", "read")
    assert all("crc32" in key for key in json.loads((collection / FILE).read_bytes()))
    assert check(collection) == []


def test_the_key_command_shows_a_key_once(collection: Path) -> None:
    run = CliRunner().invoke(kvasir, ["key", "create", str(collection), "--name", "lab"])
    secret = run.stdout.strip()
    assert find_key(read_keys(collection), secret) is not None
    listed = CliRunner().invoke(kvasir, ["key", "list", str(collection)]).stdout
    assert "lab" in listed
    assert secret not in listed
    key_id = listed.split()[0]
    assert CliRunner().invoke(kvasir, ["key", "revoke", str(collection), key_id]).exit_code == 0
    assert CliRunner().invoke(kvasir, ["key", "list", str(collection)]).stdout == ""


@pytest.mark.parametrize("damage", [b"[{", b"{}", b"5", b""])
def test_a_running_server_keeps_the_keys_that_it_read_last(
    collection: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    key, text = create_key(collection, "one", "read")
    store = KeyStore(collection)
    assert store.find(text) == key
    sound = (collection / FILE).read_bytes()
    for data in (damage, sound[: len(sound) // 2]):
        (collection / FILE).write_bytes(data)
        assert store.find(text) == key
        assert store.find(text) == key
    assert (
        len([record for record in caplog.records if "the keys that were read last stay valid" in record.message]) == 2
    )
    (collection / FILE).write_bytes(b"[]")
    assert store.find(text) is None
