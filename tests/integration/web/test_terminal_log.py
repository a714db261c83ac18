"""What `kvasir serve` prints on a terminal, run on one here."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[3]


def test_a_terminal_gets_plain_lines_with_the_address_last_and_no_thumbnails(
    two_spaces: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    ours, theirs = pty.openpty()
    program = "from retrieval.command_line import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", program, "serve", str(two_spaces), "--port", str(port)],
        stderr=theirs, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(theirs)
    printed = bytearray()

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                printed.extend(part)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            if address.encode() in printed:
                break
            assert server.poll() is None, bytes(printed)
            time.sleep(0.1)
        start = bytes(printed).decode().splitlines()
        assert re.fullmatch(rf"\d\d:\d\d:\d\d drawn: 26 images; stop with Ctrl-C; {re.escape(address)}", start[-1])
        with httpx.Client(base_url=address) as client:
            assert client.get("api/v1/images/3/thumbnail").status_code == 200
            assert client.get("api/v1/images/999/thumbnail").status_code == 404
            assert client.get("api/v1/images/3/similar?k=2").status_code == 200
    finally:
        server.terminate()
        server.wait(40)
        reader.join(10)
        os.close(ours)
    requests = [line for line in bytes(printed).decode().splitlines() if "GET" in line]
    assert [re.sub(r"\(\d+ ms\)", "(# ms)", line)[9:] for line in requests] == [
        "GET /api/v1/images/999/thumbnail 404 (# ms)",
        "GET /api/v1/images/3/similar 200 (# ms)",
    ]
