"""SIGTERM at any moment: who was accepted is answered, who comes later is refused, nobody is reset; jobs end too.

By hand `pytest tests/faults/test_stop.py --rounds 20` stops so many servers.
"""

from __future__ import annotations

import collections
import http.client
import io
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrieval.collection import Collection

CLIENTS = 16


@pytest.fixture(scope="module")
def collection(drawn_in_two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(drawn_in_two_spaces, tmp_path_factory.mktemp("stopped") / "c"))


def test_sigterm_under_load_resets_nobody(
    serve: Callable[..., Any],
    collection: Path,
    draw: Callable[..., Any],
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    stream = io.BytesIO()
    draw(7001).save(stream, "JPEG")
    counts: collections.Counter[str] = collections.Counter()
    for number in range(rounds(1)):
        server = serve(collection, "--rate", "off")
        port = httpx.URL(server.url).port

        def ask(port: Any) -> None:
            """Open a connection and search, until one is refused."""
            while True:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    counts["refused"] += 1
                    return
                try:
                    connection.request("POST", "/api/v1/search?k=3", stream.getvalue(), {"Content-Type": "image/jpeg"})
                    counts[str(connection.getresponse().status)] += 1
                except (OSError, http.client.HTTPException) as error:
                    counts[type(error).__name__] += 1
                finally:
                    connection.close()

        clients = [threading.Thread(target=ask, args=(port,)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(0.5 + 0.1 * (number % 10))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        for client in clients:
            client.join()
    tally(stops=rounds(1), **counts)
    assert set(counts) <= {"200", "503", "refused"}
    assert counts["refused"] == CLIENTS * rounds(1)


def test_a_reload_goes_on_answering(serve: Callable[..., Any], collection: Path) -> None:
    server = serve(collection, "--rate", "off")
    server.process.send_signal(signal.SIGHUP)
    with httpx.Client(base_url=server.url, timeout=60, headers={"Connection": "close"}) as api:
        for _ in range(100):  # while one worker ends and another begins, and beyond
            assert api.get("/healthz").status_code == 200
            time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0


def processes_of(collection: Path) -> list[int]:
    """Processes of evaluations and maps of a collection."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"web.jobs" in words and str(collection).encode() in words:
            found.append(int(process.name))
    return found


def started(server: Any) -> list[int]:
    """The processes of an evaluation and a map that have just begun."""
    answer = httpx.post(f"{server.url}/api/v1/evaluations", json={"samples": 2000}, timeout=60)
    assert answer.status_code == 202
    space = Collection.open(server.collection).spaces[0].name
    assert httpx.post(f"{server.url}/map/", data={"space": space, "shown": space}, timeout=60).status_code == 303
    for _ in range(600):
        if len(processes := processes_of(server.collection)) == 2:
            return processes
        time.sleep(0.05)
    raise AssertionError(server.log.read_text())


def is_gone(process: int) -> bool:
    for _ in range(600):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("ends_by", [signal.SIGTERM, signal.SIGINT])
def test_evaluations_and_maps_end_with_their_server_and_the_log_says_so(
    serve: Callable[..., Any], collection: Path, ends_by: signal.Signals
) -> None:
    server = serve(collection)
    processes = started(server)
    server.process.send_signal(ends_by)
    server.process.wait(60)
    assert not any(Path(f"/proc/{process}").exists() for process in processes)  # they were waited for
    said = server.log.read_text()
    for what in ("evaluation", "map"):
        assert re.search(rf"{what} \w+ is stopped, because the server stops", said)
    assert "Traceback" not in said


def test_they_end_with_a_server_that_is_killed(serve: Callable[..., Any], collection: Path) -> None:
    server = serve(collection)
    processes = started(server)
    parent = int(Path(f"/proc/{processes[0]}/stat").read_text().rpartition(")")[2].split()[1])
    subprocess.run(["kill", "-9", str(server.process.pid), str(parent)], check=True)
    server.process.wait(60)
    assert all(map(is_gone, processes))
