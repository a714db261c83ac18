"""Download archives over HTTP: first all addresses and the free disk are checked; each file gets its SHA-256."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from indexer.errors import DownloadError
from indexer.transfer import Progress, check_status, fetch, may_pass, part_of, remote_file, size_of
from retrieval.disk import DiskFullError, full_disk

if TYPE_CHECKING:
    import httpx

FIRST_RESPONSE = 8.0
"""Seconds until a site that has not responded counts as unreachable, name look-up included."""

SILENCE = 30.0
"""Seconds without a byte after which a transfer counts as broken off."""

RETRIES = 5
"""Attempts in a row that bring nothing before a transfer is given up."""

MARGIN = 64 << 20
"""Bytes that a download leaves free on the disk."""


class SiteUnreachableError(DownloadError):
    """A site does not respond: no network, no such name, or a firewall."""


class CannotStoreError(DownloadError):
    """The directory cannot be made or written to."""


class BadAddressError(DownloadError):
    """An address names no file, or is not HTTP."""


@dataclass(frozen=True)
class Downloaded:
    """A complete file: size in bytes, SHA-256 in hex, and whether it existed before this call."""

    path: Path
    bytes: int
    sha256: str
    existed: bool


def download(
    urls: Sequence[str],
    directory: Path,
    *,
    on_progress: Progress | None = None,
    retries: int = RETRIES,
    first_response: float = FIRST_RESPONSE,
    backoff: float = 1.0,
) -> Iterator[Downloaded]:
    """Fetch each file into a directory, one after the other; a file that exists is not requested again.

    All addresses and the free disk are checked before the first byte is fetched. backoff: seconds before
    the second attempt, doubled for each further one. Raises `SiteUnreachableError`, `RefusedError`,
    `BrokenOffError`, `DiskFullError`, `CannotStoreError`, `NotAZipError`, `AlreadyRunningError`,
    `BadAddressError`.
    """
    report = on_progress or (lambda name, done, total: None)
    new = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        yield from _download(urls, directory, report, retries, first_response, backoff)
    except DownloadError:
        with suppress(OSError):  # a folder with a part of a file stays
            for folder in new:
                folder.rmdir()
        raise
    except OSError as error:
        if (full := full_disk(error, directory, "make room and run it again to go on")) is not None:
            raise full from error
        raise CannotStoreError(f"{error.filename or directory}: {error.strerror or error}") from error


def _download(
    urls: Sequence[str], directory: Path, report: Progress, retries: int, first_response: float, backoff: float
) -> Iterator[Downloaded]:
    import httpx

    targets = {url: directory / _name(url) for url in urls}
    wanted = {url: target for url, target in targets.items() if not target.exists()}
    directory.mkdir(parents=True, exist_ok=True)
    timeout = httpx.Timeout(SILENCE, connect=first_response / 2)
    headers = {"Accept-Encoding": "identity"}  # a range of a compressed body would be another range
    with httpx.Client(timeout=timeout, headers=headers, follow_redirects=True) as client:
        lengths = {url: _length_of(client, url, first_response) for url in wanted}
        _check_disk(directory, {wanted[url]: length for url, length in lengths.items()})
        for url, target in targets.items():
            if url in wanted:
                fetch(client, url, target, report, retries, backoff)
            yield _with_digest(target, existed=url not in wanted)


def _name(url: str) -> str:
    parts = urlsplit(url)
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or not name or parts.path.endswith("/"):
        raise BadAddressError(f"{url}: not the http(s) address of a file")
    return name


def _length_of(client: httpx.Client, url: str, seconds: float) -> int | None:
    """The length of a file in bytes; in a thread, since no timeout bounds the look-up of a name."""
    results: list[httpx.Response | Exception] = []

    def head() -> None:
        try:
            results.append(client.head(url))
        except Exception as error:  # raised below, in the caller's thread
            results.append(error)

    thread = Thread(target=head, daemon=True)
    thread.start()
    thread.join(seconds)
    response = results[0] if results else TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(response, Exception):
        raise SiteUnreachableError(
            f"{urlsplit(url).netloc} cannot be reached ({str(response) or type(response).__name__}); "
            "check the network, or give a mirror with --base-url"
        )
    if response.status_code == 405 or may_pass(response):  # no HEAD here, or not now
        return None
    check_status(response, url)
    return remote_file(response).length


def _check_disk(directory: Path, lengths: dict[Path, int | None]) -> None:
    needed = sum(length - size_of(part_of(path)) for path, length in lengths.items() if length is not None)
    free = shutil.disk_usage(directory).free
    if needed + MARGIN > free and needed > 0:
        raise DiskFullError(f"{directory}: {needed:,} bytes are needed and {free:,} are free")


def _with_digest(target: Path, existed: bool) -> Downloaded:
    with target.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Downloaded(target, size_of(target), digest, existed)
