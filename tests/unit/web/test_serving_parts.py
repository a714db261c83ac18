"""The parts that a server is put together from, each alone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from retrieval.collection import Collection, CollectionWriter
from retrieval.command_line import kvasir
from retrieval.report.palette import CLASS_COLOURS
from web.caches import ByteCache
from web.commands.serve import is_loopback, require_guarded
from web.errors import BusyError, CannotListenError, KeysFileError, NoSuchKeyError, OpenToAllError
from web.figures import class_stylesheet, colour_number
from web.keys import FILE, create_key, find_key, read_keys, revoke_key
from web.limits import ConcurrencyLimit
from web.responses import collection_to_dict
from web.server import require_free

ROOT = Path(__file__).parents[3]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    path = tmp_path / "c"
    CollectionWriter(path, create=True).close()
    return path


# Gate


def test_the_gate_turns_away_who_finds_it_full_and_lets_others_in_by_order() -> None:
    gate = ConcurrencyLimit(running=1, queue=3)
    order: list[int] = []

    def come(number: int) -> None:
        with gate.slot():
            order.append(number)

    with gate.slot():
        threads = []
        for number in (1, 2):
            threads.append(threading.Thread(target=come, args=(number,)))
            threads[-1].start()
            while gate.active < number + 1:
                time.sleep(0.001)
        with pytest.raises(BusyError, match="3 searches"), gate.slot():
            pass
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == [1, 2]
    assert gate.active == 0
    with gate.slot():
        assert gate.active == 1


def test_a_search_that_fails_leaves_the_gate() -> None:
    gate = ConcurrencyLimit(running=1, queue=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.slot():
            _ = 1 / 0
    assert gate.active == 0


# Kept


def test_kept_things_go_when_room_ends_the_least_used_first() -> None:
    kept = ByteCache(10)
    kept.put("a", b"1234")
    kept.put("b", b"1234")
    assert kept.get("a") == b"1234"
    kept.put("c", b"1234")
    assert kept.get("b") is None
    assert kept.get("a") == b"1234"
    kept.put("a", b"1")
    kept.put("d", b"12345")
    assert [kept.get(name) for name in "acd"] == [b"1", b"1234", b"12345"]
    kept.put("large", bytes(50))
    assert kept.get("large") == bytes(50)
    assert kept.get("d") is None


# Keys


def test_a_key_is_kept_as_a_hash_that_only_its_owner_may_read(collection: Path) -> None:
    key, secret = create_key(collection, "lab", "write")
    file = collection / FILE
    assert secret.removeprefix(f"kvasir_{key.id}_") not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert find_key(read_keys(collection), secret) == key


@pytest.mark.parametrize("wrong", ["", "_", "kvasir", "kvasir_", "kvasir__", "é", "kvasir_x_y", "\ud800"])
def test_what_is_not_a_key_is_none(collection: Path, wrong: str) -> None:
    key, secret = create_key(collection, "lab", "read")
    keys = read_keys(collection)
    assert find_key(keys, wrong) is None
    assert find_key(keys, secret[:-1]) is None
    assert find_key(keys, secret.replace("kvasir", "other")) is None
    assert find_key(keys, secret.replace(key.id, "0" * 8)) is None


def test_a_revoked_key_is_forgotten_and_a_damaged_file_is_told(collection: Path) -> None:
    first, secret = create_key(collection, "a", "read")
    second, _ = create_key(collection, "b", "write")
    revoke_key(collection, first.id)
    assert read_keys(collection) == [second]
    assert find_key(read_keys(collection), secret) is None
    with pytest.raises(NoSuchKeyError):
        revoke_key(collection, first.id)
    (collection / FILE).write_text('[{"id": 1}]')
    with pytest.raises(KeysFileError):
        read_keys(collection)


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


# Serve


def test_a_server_for_others_asks_for_a_key_or_is_told_not_to() -> None:
    require_guarded("127.0.0.1", False, False, False)
    require_guarded("::1", False, False, False)
    require_guarded("0.0.0.0", False, True, False)
    require_guarded("0.0.0.0", True, False, True)
    for host, require_key, has_keys in (
        ("0.0.0.0", False, True),
        ("0.0.0.0", True, False),
        ("lab.example", False, True),
    ):
        with pytest.raises(OpenToAllError):
            require_guarded(host, require_key, False, has_keys)
    assert is_loopback("localhost")
    assert not is_loopback("10.0.0.1")


def test_every_setting_of_serve_has_a_flag_and_a_variable_in_the_help() -> None:
    text = CliRunner().invoke(kvasir, ["serve", "--help"]).stdout
    command = kvasir.get_command(None, "serve")  # type: ignore[arg-type]
    assert command is not None
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    assert len(options) == 12
    for option in options:
        flag = option.opts[0]
        assert flag in text
        assert f"KVASIR_{flag[2:].replace('-', '_').upper()}" in text


def test_a_taken_port_is_told_in_words() -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(CannotListenError, match="try --port"):
            require_free("127.0.0.1", other.getsockname()[1])


# Colours


def test_classes_have_colours_that_begin_again_and_no_class_has_none() -> None:
    assert len(set(CLASS_COLOURS)) == 10
    assert [colour_number(label) for label in (0, 9, 10, -1)] == [0, 9, 0, -1]
    assert class_stylesheet().count("color:") == 10


def test_gunicorn_loads_no_engine_before_it_forks() -> None:
    program = "import sys, web.server, web.worker; print({'faiss', 'openvino', 'torch', 'numba'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "set()\n"


HEAPS = """
import ctypes, sys, threading
if len(sys.argv) > 2:
    from web.server import share_one_heap
    share_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = ctypes.c_int, ctypes.c_void_p
libc.fclose.argtypes = (ctypes.c_void_p,)
together = threading.Barrier(4)

def allocate():
    together.wait()
    libc.malloc(1000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives each thread a heap")
@pytest.mark.parametrize("shared", [True, False])
def test_threads_of_the_server_share_one_heap(tmp_path: Path, shared: bool) -> None:
    counted = tmp_path / "heaps.xml"
    arguments = [sys.executable, "-c", HEAPS, str(counted), *(["shared"] if shared else [])]
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    subprocess.run(arguments, check=True, env=environment | {"PYTHONPATH": str(ROOT)})
    assert (counted.read_text().count("<heap nr=") == 1) == shared


def test_a_recipe_names_a_file_of_the_server_without_its_folders(tmp_path: Path) -> None:
    with CollectionWriter(tmp_path / "c", create=True) as writer:
        writer.add_space("s", "encoder", 4, "cosine", {"spec": "timm:vit//home/J Doe/weights.pt", "fit": "squash"})

    (space,) = collection_to_dict(Collection.open(tmp_path / "c"))["spaces"]

    assert space["recipe"] == {"spec": "timm:vit/…/weights.pt", "fit": "squash"}
