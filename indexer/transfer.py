"""One file over HTTP, attempt after attempt, continued where it broke off.

The part that has arrived is in `NAME.part`, and `NAME.part.json` says which file it is a part of
(its ETag or date), so that a part is never completed with the bytes of another file.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from indexer.errors import DownloadError
from retrieval.disk import locked, write_atomically

if TYPE_CHECKING:
    import httpx

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, bytes that are there, and bytes in all where the server says."""


class RefusedError(DownloadError):
    """A server responds, but not with the file."""


class BrokenOffError(DownloadError):
    """A transfer broke off again and again; what arrived stays for the next attempt."""


class NotAZipError(DownloadError):
    """What a server sent under the name of a zip is none."""


class AlreadyRunningError(DownloadError):
    """Another process is fetching the same file."""


@dataclass(frozen=True)
class RemoteFile:
    """What identifies a file on a server; None where the server does not say."""

    etag: str | None
    modified: str | None
    length: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range may carry: a strong ETag, or else the date (RFC 9110, 13.1.5)."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified

    def is_same(self, other: RemoteFile) -> bool:
        """Whether both are surely one file: an equal validator, and no other length."""
        same_length = None in (self.length, other.length) or self.length == other.length
        return self.validator is not None and self.validator == other.validator and same_length


def fetch(client: httpx.Client, url: str, target: Path, report: Progress, retries: int, backoff: float) -> None:
    """Fetch one file, attempt after attempt; those that bring something new do not count as failed."""
    import httpx

    busy = AlreadyRunningError(f"{target}: another process is fetching it")
    # Unbuffered, so that the size of the part is always what has arrived.
    with locked(part_of(target), busy), part_of(target).open("ab", buffering=0) as part:
        if target.exists():  # another process completed it before the lock was acquired
            part_of(target).unlink()
            return
        most = size_of(part_of(target))
        failures = 0
        while True:
            try:
                fault = _attempt(client, url, target, part, report)
            except httpx.RequestError as error:
                fault = str(error) or type(error).__name__
            if fault is None:
                break
            have = size_of(part_of(target))
            failures = 1 if have > most else failures + 1
            most = max(most, have)
            if failures > retries:
                raise BrokenOffError(f"{url}: {fault}; {have:,} bytes are stored, run it again to go on")
            time.sleep(backoff * 2 ** (failures - 1))
        os.fsync(part.fileno())
        if target.suffix == ".zip" and not zipfile.is_zipfile(part_of(target)):
            part.truncate(0)
            raise NotAZipError(f"{url}: what came is not a zip (a login page of the network?)")
        part_of(target).replace(target)
        _note(target).unlink(missing_ok=True)


def _attempt(client: httpx.Client, url: str, target: Path, part: BinaryIO, report: Progress) -> str | None:
    """One request; None when the file is complete after it, or else what went wrong."""
    have = size_of(part_of(target))
    known = _read_note(target) if have else None
    headers = {}
    if known and known.validator:
        headers = {"Range": f"bytes={have}-", "If-Range": known.validator}
    with client.stream("GET", url, headers=headers) as response:
        remote = remote_file(response)
        if response.status_code == 416 and known and remote.length == have == known.length:
            return None  # all had come, but the last run ended before the renaming
        if response.status_code == 416 or (response.status_code == 206 and not _continues(response, known, have)):
            part.truncate(0)
            return "the file on the server has changed"
        if may_pass(response):
            return f"{response.status_code} {response.reason_phrase}"
        check_status(response, url)
        if response.status_code != 206:  # the first time, a server without ranges, or another file by now
            have = 0
            part.truncate(0)
            write_atomically(_note(target), json.dumps(asdict(remote)).encode(), sync=False)
        for chunk in response.iter_raw():
            have += len(chunk)
            while chunk:  # an unbuffered write may take less than all
                chunk = chunk[part.write(chunk) :]
            report(target.name, have, remote.length)
    if remote.length not in (None, have):
        return "the connection closed early"
    if remote.length is None and _is_cut_zip(part_of(target)):
        return "the connection closed early, it seems: the zip has no end"
    return None


def check_status(response: httpx.Response, url: str) -> None:
    """Raise `RefusedError` for a response that is an error."""
    if response.status_code >= 400:
        raise RefusedError(f"{url}: {response.status_code} {response.reason_phrase}")


def may_pass(response: httpx.Response) -> bool:
    """Whether the server may respond better a little later."""
    return response.status_code in (408, 429) or response.status_code >= 500


def _continues(response: httpx.Response, known: RemoteFile | None, have: int) -> bool:
    """Whether a 206 carries the bytes that follow those that are there, of the same file."""
    first = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    return known is not None and known.is_same(remote_file(response)) and first == str(have)


def remote_file(response: httpx.Response) -> RemoteFile:
    """What the headers of a response say of the whole file."""
    headers = response.headers
    if response.status_code in (206, 416):
        length = headers.get("content-range", "").rpartition("/")[2]
    else:
        length = headers.get("content-length", "")
    number = int(length) if length.isdecimal() else None
    return RemoteFile(headers.get("etag"), headers.get("last-modified"), number)


def _is_cut_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        begins = stream.read(2) == b"PK"
    return begins and not zipfile.is_zipfile(path)


def part_of(target: Path) -> Path:
    """Where what has arrived of a file is stored."""
    return target.with_name(f"{target.name}.part")


def _note(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def _read_note(target: Path) -> RemoteFile | None:
    try:
        return RemoteFile(**json.loads(_note(target).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def size_of(path: Path) -> int:
    """Size in bytes, 0 for a file that is not there."""
    return path.stat().st_size if path.exists() else 0
