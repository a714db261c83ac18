"""Settings of one server; `kvasir serve` fills them from its flags and the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrieval.images import MAX_PIXELS


@dataclass(frozen=True)
class Settings:
    """Limits and access rules of one server.

    max_upload: bytes of one picture. max_pixels: width x height of one picture. queue: searches that may run and wait
    at once; one more gets 503. rate: searches and writes of one client, in flask-limiter's notation, or empty
    for no limit. upload_cache: bytes of memory for uploaded queries, so that their results have a link. require_key:
    reading needs a key as well. cors: origins whose pages may call the API. trusted_hosts: values of the Host header
    that the server answers to, or empty for all. proxies: how many reverse proxies stand before the server.
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
