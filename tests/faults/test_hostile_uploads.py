"""Pictures made to cost time or memory, uploaded again and again beside a client that searches by image.

Each is refused for its reason or answered, the steady client has every answer, and no process takes more memory than
is stated. By hand `pytest tests/faults/test_hostile_uploads.py --rounds 60` goes on for so many seconds in each attack.
The counts have the steady client's 95th percentile in milliseconds, idle and under attack, and peaks in MiB.
"""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

CLIENTS = 3
IDLE = 60
MOST = 1500
"""MiB of one process."""
SIDE = 8000


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (image or Image.linear_gradient("L").resize((64, 64)).convert("RGB")).save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(colour: int, channels: int) -> bytes:
    packer = zlib.compressobj()
    row = bytes(1 + SIDE * channels)
    pixels = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def progressive(scans: int) -> bytes:
    """A grey JPEG of 7992x7992 pixels with so many further scans that say nothing."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body

    blocks = 999 * 999
    head = b"\xff\xd8" + segment(0xDB, bytes(1) + bytes([1]) * 64)
    head += segment(0xC2, struct.pack(">BHHB", 8, 7992, 7992, 1) + bytes((1, 0x11, 0)))
    for table, symbol in ((0x00, 0), (0x10, 0xE0)):
        head += segment(0xC4, bytes((table, 1)) + bytes(15) + bytes((symbol,)))
    flat = segment(0xDA, bytes((1, 1, 0, 0, 0, 0))) + bytes(blocks // 8 + 1)
    bits = ("0" + "1" * 14) * -(-blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return head + flat + (segment(0xDA, bytes((1, 1, 0, 1, 63, 0))) + runs) * scans + b"\xff\xd9"


def after_the_start(data: bytes, extra: bytes, at: int = 2) -> bytes:
    return data[:at] + extra + data[at:]


def claiming(width: int, height: int) -> bytes:
    data = saved("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def tall_tiff(height: int) -> bytes:
    """One row a strip, of which the first alone is listed."""
    entries = [(256, 4, 1, 1), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 100), (278, 4, 1, 1)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(40)


@dataclass(frozen=True)
class Attack:
    """A file, and the status that its uploads get; 503 where all turns are taken is right as well."""

    make: Callable[[], bytes]
    status: int


ATTACKERS = """
import collections, http.client, json, sys, threading, urllib.parse
address, file, count = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
data, statuses, over = open(file, "rb").read(), collections.Counter(), threading.Event()
def attack():
    client = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
    while not over.is_set():
        client.request("POST", "/api/v1/search?k=3", data, {"Content-Type": "image/png"})
        response = client.getresponse()
        response.read()
        statuses[response.status] += 1
attackers = [threading.Thread(target=attack) for _ in range(count)]
for attacker in attackers:
    attacker.start()
print("begun", flush=True)
sys.stdin.read()
over.set()
for attacker in attackers:
    attacker.join()
print(json.dumps(statuses))
"""
"""Clients in a process of their own, so that they do not slow the steady one; they end with their stdin."""

ATTACKS = {
    "scans": Attack(lambda: progressive(8000), 422),
    "fill bytes": Attack(lambda: after_the_start(saved("JPEG"), b"\xff" * 19_000_000), 422),
    "comments": Attack(lambda: after_the_start(saved("JPEG"), b"\xff\xfe\0\x02" * 4_000_000), 422),
    "chunks": Attack(lambda: after_the_start(saved("PNG"), chunk(b"tEXt", b"k\0v") * 1_000_000, 33), 422),
    "strips that are not listed": Attack(lambda: tall_tiff(SIDE * SIDE), 422),
    "pixels that are not there": Attack(lambda: claiming(SIDE, SIDE), 422),
    "RGBA PNG": Attack(lambda: flat_png(6, 4), 200),
    "lossless WebP": Attack(lambda: saved("WEBP", Image.new("RGBA", (SIDE, SIDE)), lossless=True, method=0), 200),
    "beyond the limit": Attack(lambda: claiming(65_000, 65_000), 413),
}


def peak(process: int) -> dict[int, int]:
    """MiB at most resident in a process and all below it, by process."""
    sizes, waiting = {}, [process]
    while waiting:
        one = waiting.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
        if size := re.search(r"VmHWM:\s+(\d+)", status):
            sizes[one] = int(size[1]) // 1024
    return sizes


def p95(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 95))


def timed(api: httpx.Client, number: int) -> float:
    begun = time.perf_counter()
    response = api.get(f"/api/v1/images/{number % 6}/similar?k=5")
    assert response.status_code == 200, response.text
    return time.perf_counter() - begun


@pytest.mark.parametrize("kind", ATTACKS)
def test_a_search_by_image_is_answered_meanwhile_and_memory_stays(
    served: Any, kind: str, rounds: Callable[[int], int], tally: Callable[..., None], tmp_path: Path
) -> None:
    file, seconds = tmp_path / "upload", rounds(2)
    file.write_bytes(ATTACKS[kind].make())
    with httpx.Client(base_url=served.url, timeout=60) as api:
        idle = [timed(api, number) for number in range(IDLE)]
        command = [sys.executable, "-c", ATTACKERS, served.url, str(file), str(CLIENTS)]
        attackers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert attackers.stdout is not None
        attackers.stdout.readline()  # they begin
        peaks: dict[int, int] = {}
        try:
            meanwhile, end = [], time.monotonic() + seconds
            while time.monotonic() < end:
                meanwhile.append(timed(api, len(meanwhile)))
                for process, size in peak(served.process.pid).items():
                    peaks[process] = max(size, peaks.get(process, 0))
        finally:
            said, _ = attackers.communicate()
    statuses = Counter({int(status): count for status, count in json.loads(said).items()})
    assert set(statuses) <= {ATTACKS[kind].status, 503}
    assert statuses[ATTACKS[kind].status]
    assert max(peaks.values()) < MOST
    tally(
        uploads=statuses.total(),
        searches=len(meanwhile),
        p95_idle=round(1000 * p95(idle), 1),
        p95_meanwhile=round(1000 * p95(meanwhile), 1),
        peak=max(peaks.values()),
    )
