"""`kvasir serve`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from retrieval.arguments import FiniteRange, LocalPath
from retrieval.collection import Collection
from retrieval.index.engines import connect
from web.context import MAX_PIXELS, Settings
from web.errors import OpenToAllError
from web.keys import read_keys

_SEVERAL = "may be given several times, in the environment with spaces between"


def _setting(name: str, *others: str, **more: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A flag that the environment may set as well: --max-upload is KVASIR_MAX_UPLOAD."""
    variable = f"KVASIR_{name.removeprefix('--').replace('-', '_').upper()}"
    return click.option(name, *others, envvar=variable, show_envvar=True, show_default=True, **more)


@click.command("serve")
@click.argument("collection", type=LocalPath())
@_setting("--host", default="127.0.0.1", help="Listen at this address.")
@_setting("--port", default=8000, type=click.IntRange(1, 65535), help="Listen at this port.")
@_setting("--require-key", is_flag=True, help="Reading needs a key as well; writing always does.")
@_setting("--open-to-all", is_flag=True, help="Listen beyond this machine though reading needs no key.")
@_setting("--max-upload", default=20.0, type=FiniteRange(0.001, 1000), help="Largest picture file in MiB.")
@_setting(
    "--max-pixels",
    default=MAX_PIXELS / 1e6,
    type=FiniteRange(0.001, 1000),
    help="Largest picture in megapixels; to be added, 64 at most. Twice as much takes twice the memory.",
)
@_setting(
    "--queue",
    default=64,
    type=click.IntRange(1, 1000),
    help="Searches that may run and wait at once; one more gets 503.",
)
@_setting(
    "--rate", default="600/minute", help="Searches and writes of one client, such as 10/second; off for no limit."
)
@_setting(
    "--keep",
    default=128,
    type=click.IntRange(1, 100_000),
    help="Memory in MiB for uploaded pictures, so that results have links.",
)
@_setting("--engine", metavar="ADDRESS", help="Search in a vector engine, such as milvus://localhost:19530.")
@_setting(
    "--cors",
    multiple=True,
    metavar="ORIGIN",
    help=f"Let pages of this origin call the API; {_SEVERAL}.",
)
@_setting(
    "--trust-host",
    "trusted_hosts",
    multiple=True,
    metavar="NAME",
    help=f"Answer for this host name only; {_SEVERAL}.  [default: on loopback its names, else all]",
)
@_setting(
    "--proxies",
    default=0,
    type=click.IntRange(0, 5),
    help="Reverse proxies before the server, whose X-Forwarded-For, -Proto, -Host and -Prefix are believed.",
)
def command(
    collection: Path,
    host: str,
    port: int,
    require_key: bool,
    open_to_all: bool,
    max_upload: float,
    max_pixels: float,
    queue: int,
    rate: str,
    keep: int,
    engine: str | None,
    cors: tuple[str, ...],
    trusted_hosts: tuple[str, ...],
    proxies: int,
) -> None:
    """Serve COLLECTION as a page for people and a REST API for programs, until stopped.

    Each setting may come from the environment as well, under the name in brackets.

    Example:  kvasir serve kvasir.collection --port 8080
    """
    opened = Collection.open(collection)
    if engine is not None:
        connect(engine)  # an address that cannot be read is told before the server starts
    require_guarded(host, require_key, open_to_all, bool(read_keys(opened.path)))
    if not trusted_hosts and is_loopback(host):
        trusted_hosts = ("localhost", "127.0.0.1", "::1", host)
    settings = Settings(
        collection=opened.path,
        max_upload=int(max_upload * 2**20),
        max_pixels=int(max_pixels * 1e6),
        queue=queue,
        rate="" if rate == "off" else _checked_rate(rate),
        upload_cache=keep * 2**20,
        require_key=require_key,
        cors=cors,
        trusted_hosts=trusted_hosts,
        proxies=proxies,
        engine=engine,
    )
    from web.serving.server import require_free, serve

    require_free(host, port)
    serve(settings, host, port)


def require_guarded(host: str, require_key: bool, open_to_all: bool, has_keys: bool) -> None:
    """Raise OpenToAllError where the server would show the collection to a network unasked."""
    if require_key and not has_keys:
        raise OpenToAllError("--require-key, but there is no key yet: make one with `kvasir key create COLLECTION`")
    if not (is_loopback(host) or require_key or open_to_all):
        raise OpenToAllError(
            f"{host} is reachable from other machines: add --require-key (and make a key with "
            "`kvasir key create COLLECTION`), or --open-to-all where everyone may see the pictures"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_rate(rate: str) -> str:
    from limits import parse_many

    try:
        parse_many(rate)
    except ValueError:
        raise click.BadParameter(f"'{rate}' is not a rate; write it as 10/second, 600/minute or off") from None
    return rate
