"""Addresses of Milvus: `milvus://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `milvus:///FILE.db` for milvus-lite."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from retrieval.errors import RemoteAddressError

PORT = 19530
TOKEN_VARIABLE = "KVASIR_MILVUS_TOKEN"  # noqa: S105  # the name of a variable
"""Environment variable with `USER:PASSWORD` or an API key, which a command line would show to everybody."""
TIMEOUT = 10.0
"""Seconds that a search may take, with all that is tried again."""
_UNREADABLE = (
    "the address of Milvus cannot be read; give milvus://[USER:PASSWORD@]HOST[:PORT], with %2F for a slash in its "
    "password, %40 for @, %3A for :, %3F for ? and %23 for #"
)


@dataclass(frozen=True)
class Address:
    """uri: as pymilvus takes it. name: to show, without the key. timeout: seconds of a search."""

    uri: str
    name: str
    database: str = ""
    timeout: float = TIMEOUT
    token: str = field(default="", repr=False)

    @property
    def is_file(self) -> bool:
        """Whether it is a file of milvus-lite, which one process at a time can open."""
        return "://" not in self.uri

    @staticmethod
    def parse(text: str) -> Address:
        """Read an address; the key may come from the environment instead. Raises RemoteAddressError."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise RemoteAddressError(_UNREADABLE) from None  # whose text may have a part of the password
        if host and "@" in f"{parts.path}{parts.query}{parts.fragment}":  # the end of a password with / ? or #
            raise RemoteAddressError(_UNREADABLE)
        timeout = _timeout(parts.query)
        if not host:
            if not parts.path.endswith(".db"):
                raise RemoteAddressError(
                    "give milvus://HOST:PORT, or milvus:///FILE.db with the absolute path of a file of milvus-lite, "
                    "whose name ends with .db"
                )
            path = Path(unquote(parts.path))
            return Address(str(path), f"milvus://{path}", timeout=timeout)
        secure = parts.scheme.lower().endswith("+tls")
        place = f"[{host}]" if ":" in host else host
        place = f"{place}:{PORT if port is None else port}"
        database = unquote(parts.path.strip("/"))
        key = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
        return Address(
            f"{'https' if secure else 'http'}://{place}",
            f"{parts.scheme.lower()}://{place}{f'/{database}' if database else ''}",
            database,
            timeout,
            key or os.environ.get(TOKEN_VARIABLE, ""),
        )


def _timeout(query: str) -> float:
    options = dict(parse_qsl(query, keep_blank_values=True))
    text = options.pop("timeout", str(TIMEOUT))
    if options:
        raise RemoteAddressError(
            f"the address of Milvus has no option '{next(iter(options))}'; there is timeout=SECONDS"
        )
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise RemoteAddressError(f"timeout={text} in the address of Milvus: give seconds, above 0 and below 3,600")
    return seconds
