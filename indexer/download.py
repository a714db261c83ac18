"""Fetch archives over HTTP: resumable, checked, and renamed into place only when complete.

The part that has arrived is in `NAME.part`, and `NAME.part.json` beside it says which file it is a part of
(its ETag or date), so that a part is never completed with the bytes of another file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from indexer.errors import DownloadError

if TYPE_CHECKING:
    import httpx

FIRST_ANSWER = 8.0
"""Seconds until a site that has not answered counts as unreachable, name look-up included."""

SILENCE = 30.0
"""Seconds without a byte after which a transfer counts as broken off."""

RETRIES = 5
"""Attempts in a row that bring nothing before a transfer is given up."""

MARGIN = 64 << 20
"""Bytes that a download leaves free on the disk."""

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, bytes that are there, and bytes in all where the server says."""


class SiteUnreachableError(DownloadError):
    """A site does not answer: no network, no such name, or a firewall."""


class RefusedError(DownloadError):
    """A server answers, but not with the file."""


class BrokenOffError(DownloadError):
    """A transfer broke off again and again; what arrived is kept for the next run."""


class DiskFullError(DownloadError):
    """A file does not fit on the disk."""


class NotAZipError(DownloadError):
    """What a server sent under the name of a zip is none."""


class AlreadyRunningError(DownloadError):
    """Another process is fetching the same file."""


class BadAddressError(DownloadError):
    """An address names no file, or is not HTTP."""


@dataclass(frozen=True)
class Downloaded:
    """A file in its place: size in bytes, SHA-256 in hex, and whether it was there before this call."""

    path: Path
    bytes: int
    sha256: str
    was_there: bool


@dataclass(frozen=True)
class _Remote:
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

    def is_same(self, other: _Remote) -> bool:
        """Whether both are surely one file: an equal validator, and no other length."""
        same_length = None in (self.length, other.length) or self.length == other.length
        return self.validator is not None and self.validator == other.validator and same_length


def download(
    urls: Sequence[str],
    directory: Path,
    *,
    on_progress: Progress | None = None,
    retries: int = RETRIES,
    first_answer: float = FIRST_ANSWER,
    backoff: float = 1.0,
) -> Iterator[Downloaded]:
    """Fetch each file into a directory, one after the other; a file that is there is not asked for again.

    All addresses and the free disk are checked before the first byte is fetched. backoff: seconds before
    the second attempt, doubled for each further one. Raises `SiteUnreachableError`, `RefusedError`,
    `BrokenOffError`, `DiskFullError`, `NotAZipError`, `AlreadyRunningError`, `BadAddressError`.
    """
    import httpx

    report = on_progress or (lambda name, done, total: None)
    targets = {url: directory / _name(url) for url in urls}
    wanted = {url: target for url, target in targets.items() if not target.exists()}
    directory.mkdir(parents=True, exist_ok=True)
    timeout = httpx.Timeout(SILENCE, connect=first_answer / 2)
    headers = {"Accept-Encoding": "identity"}  # a range of a compressed answer would be another range
    with httpx.Client(timeout=timeout, headers=headers, follow_redirects=True) as client:
        lengths = {url: _ask(client, url, first_answer) for url in wanted}
        _check_disk(directory, {wanted[url]: length for url, length in lengths.items()})
        for url, target in targets.items():
            if url in wanted:
                _fetch(client, url, target, report, retries, backoff)
            yield _described(target, was_there=url not in wanted)


def _name(url: str) -> str:
    parts = urlsplit(url)
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or not name or parts.path.endswith("/"):
        raise BadAddressError(f"{url}: not the http(s) address of a file")
    return name


def _ask(client: httpx.Client, url: str, seconds: float) -> int | None:
    """The length of a file in bytes; in a thread, since no timeout bounds the look-up of a name."""
    answers: list[httpx.Response | Exception] = []

    def head() -> None:
        try:
            answers.append(client.head(url))
        except Exception as error:  # raised below, in the caller's thread
            answers.append(error)

    thread = Thread(target=head, daemon=True)
    thread.start()
    thread.join(seconds)
    answer = answers[0] if answers else TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(answer, Exception):
        raise SiteUnreachableError(
            f"{urlsplit(url).netloc} cannot be reached ({str(answer) or type(answer).__name__}); "
            "check the network, or give a mirror with --base-url"
        )
    if answer.status_code == 405 or _may_pass(answer):  # no HEAD here, or not now
        return None
    _check_status(answer, url)
    return _remote(answer).length


def _check_disk(directory: Path, lengths: dict[Path, int | None]) -> None:
    needed = sum(length - _size(_part(path)) for path, length in lengths.items() if length is not None)
    free = shutil.disk_usage(directory).free
    if needed + MARGIN > free and needed > 0:
        raise DiskFullError(f"{directory}: {needed:,} bytes are needed and {free:,} are free")


def _fetch(
    client: httpx.Client, url: str, target: Path, report: Progress, retries: int, backoff: float
) -> None:
    """Fetch one file, attempt after attempt; those that bring something new do not count as failed."""
    import httpx

    with _locked(target) as part:
        most = _size(_part(target))
        failures = 0
        while True:
            try:
                fault = _attempt(client, url, target, part, report)
            except httpx.TransportError as error:
                fault = str(error) or type(error).__name__
            if fault is None:
                break
            have = _size(_part(target))
            failures = 1 if have > most else failures + 1
            most = max(most, have)
            if failures > retries:
                raise BrokenOffError(f"{url}: {fault}; {have:,} bytes are kept, run it again to go on")
            time.sleep(backoff * 2 ** (failures - 1))
        os.fsync(part.fileno())
        if target.suffix == ".zip" and not zipfile.is_zipfile(_part(target)):
            part.truncate(0)
            raise NotAZipError(f"{url}: what came is not a zip (a login page of the network?)")
        _part(target).replace(target)
        _note(target).unlink(missing_ok=True)


def _attempt(client: httpx.Client, url: str, target: Path, part: BinaryIO, report: Progress) -> str | None:
    """One request; None when the file is complete after it, or else what went wrong."""
    have = _size(_part(target))
    known = _read_note(target) if have else None
    headers = {}
    if known and known.validator:
        headers = {"Range": f"bytes={have}-", "If-Range": known.validator}
    with client.stream("GET", url, headers=headers) as answer:
        remote = _remote(answer)
        if answer.status_code == 416 and known and remote.length == have == known.length:
            return None  # all had come, but the last run ended before the renaming
        if answer.status_code == 416 or (answer.status_code == 206 and not _continues(answer, known, have)):
            part.truncate(0)
            return "the file on the server has changed"
        if _may_pass(answer):
            return f"{answer.status_code} {answer.reason_phrase}"
        _check_status(answer, url)
        if answer.status_code != 206:  # the first time, a server without ranges, or another file by now
            have = 0
            part.truncate(0)
            _note(target).write_text(json.dumps(asdict(remote)), encoding="utf-8")
        for chunk in answer.iter_raw():
            part.write(chunk)
            have += len(chunk)
            report(target.name, have, remote.length)
    if remote.length not in (None, have):
        return "the connection closed early"
    if remote.length is None and _is_cut_zip(_part(target)):
        return "the connection closed early, it seems: the zip has no end"
    return None


def _check_status(answer: httpx.Response, url: str) -> None:
    if answer.status_code >= 400:
        raise RefusedError(f"{url}: {answer.status_code} {answer.reason_phrase}")


def _may_pass(answer: httpx.Response) -> bool:
    """Whether the server may answer better a little later."""
    return answer.status_code in (408, 429) or answer.status_code >= 500


def _continues(answer: httpx.Response, known: _Remote | None, have: int) -> bool:
    """Whether a 206 carries the bytes that follow those that are there, of the same file."""
    first = answer.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    return known is not None and known.is_same(_remote(answer)) and first == str(have)


def _remote(answer: httpx.Response) -> _Remote:
    headers = answer.headers
    if answer.status_code in (206, 416):
        length = headers.get("content-range", "").rpartition("/")[2]
    else:
        length = headers.get("content-length", "")
    number = int(length) if length.isdecimal() else None
    return _Remote(headers.get("etag"), headers.get("last-modified"), number)


def _is_cut_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        begins = stream.read(2) == b"PK"
    return begins and not zipfile.is_zipfile(path)


@contextmanager
def _locked(target: Path) -> Iterator[BinaryIO]:
    """The part, opened to append, unbuffered so that its size is always what has arrived."""
    with _part(target).open("ab", buffering=0) as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.fstat(part.fileno()), _part(target).stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:  # or the other one renamed it before the lock was ours
            raise AlreadyRunningError(f"{target}: another process is fetching it")
        yield part


def _described(target: Path, was_there: bool) -> Downloaded:
    with target.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Downloaded(target, _size(target), digest, was_there)


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _note(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def _read_note(target: Path) -> _Remote | None:
    try:
        return _Remote(**json.loads(_note(target).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
