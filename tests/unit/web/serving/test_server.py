from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from web.context import Settings
from web.errors import CannotListenError
from web.serving.server import _gunicorn_settings, require_free

ROOT = Path(__file__).parents[4]


def test_gunicorn_knows_every_setting(tmp_path: Path) -> None:
    config = pytest.importorskip("gunicorn.config", reason="gunicorn does not run on Windows").Config()
    for name, value in _gunicorn_settings(Settings(tmp_path), "127.0.0.1", 8000).items():
        config.set(name, value)
    assert config.address == [("127.0.0.1", 8000)]


def test_a_taken_port_is_told_in_words() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(CannotListenError, match="try --port"):
            require_free("127.0.0.1", other.getsockname()[1])


def test_gunicorn_loads_no_engine_before_it_forks() -> None:
    program = (
        "import sys, web.serving.server, web.serving.worker; "
        "print({'faiss', 'openvino', 'torch', 'numba'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "set()\n"


HEAPS = """
import ctypes, sys, threading
if len(sys.argv) > 2:
    from web.serving.server import share_one_heap
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
