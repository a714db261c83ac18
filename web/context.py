"""What one server shares among its requests, and the one state of the collection that a request sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flask import current_app, g

MAX_PIXELS = 40_000_000
"""Largest picture of a server: with it, the worker and its process for large pictures stay under 1.5 GB together."""

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.large_pictures import LargePictures
    from retrieval.search import Searcher
    from web.jobs import Jobs
    from web.limits import ByteCache, ConcurrencyLimit
    from web.served_collection import ServedCollection


@dataclass(frozen=True)
class Settings:
    """Limits and access rules of one server.

    max_upload: bytes of one picture. max_pixels: width x height of one picture. queue: searches that may run and wait
    at once; one more gets 503. rate: searches and writes of one client, in flask-limiter's notation, or empty
    for no limit. upload_cache: bytes of memory for uploaded queries, so that their results have a link. require_key:
    reading needs a key as well. cors: origins whose pages may call the API. trusted_hosts: values of the Host header
    that it serves, or empty for all. proxies: how many reverse proxies stand before the server. engine: address of the
    vector engine that searches in the place of local indexes.
    """

    collection: Path
    max_upload: int = 20 * 2**20
    max_pixels: int = MAX_PIXELS
    queue: int = 64
    rate: str = "600/minute"
    upload_cache: int = 128 * 2**20
    require_key: bool = False
    cors: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    proxies: int = 0
    engine: str | None = None


@dataclass(frozen=True)
class State:
    """What Flask's application does not hold itself.

    searches, decodings, drawings, downloads, writes: limit how many searches, pictures to be decoded and embedded,
    pictures, maps and reports to be drawn, ZIPs to be sent and pictures to be stored there are at once; of large
    pictures one, which large_decodings limits and large_pictures decodes. A search by image or vector waits for other
    searches alone. uploads: query pictures by name. pictures: thumbnails and previews by kind and version, which names
    their content. jobs: evaluations; layouts: maps.
    """

    settings: Settings
    served: ServedCollection
    searches: ConcurrencyLimit
    decodings: ConcurrencyLimit
    large_decodings: ConcurrencyLimit
    large_pictures: LargePictures
    drawings: ConcurrencyLimit
    downloads: ConcurrencyLimit
    writes: ConcurrencyLimit
    uploads: ByteCache
    pictures: ByteCache
    jobs: Jobs
    layouts: Jobs

    def stop_jobs(self) -> None:
        """End what runs in the background, and start nothing else: the server ends."""
        self.jobs.stop()
        self.layouts.stop()


def state() -> State:
    """The state of the server that handles this request."""
    shared: State = current_app.extensions["kvasir"]
    return shared


def searcher() -> Searcher:
    """The searcher of this request: the same from its beginning to its end, whatever is written meanwhile."""
    if "searcher" not in g:
        g.searcher = state().served.searcher
    bound: Searcher = g.searcher
    return bound


def collection() -> Collection:
    """The collection as this request sees it."""
    return searcher().collection


def rebind(current: Searcher) -> None:
    """Let the rest of this request see what it wrote itself."""
    g.searcher = current
