"""Who may read and who may write: the API key of each request.

Flask-HTTPAuth is not used: it guards single views by one scheme each, while here one check stands before every
endpoint, a key comes by one of three ways (Bearer, X-API-Key, Basic), and the way decides what it may do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from flask import Flask, g, request

from web.context import state
from web.errors import KeyNeededError, KeyRefusedError
from web.keys import FILE, Key, find_key, read_keys

P = ParamSpec("P")
R = TypeVar("R")

OPEN_ENDPOINTS = frozenset({"static", "health.healthz", "health.readyz", "pages.classes_css"})
"""What needs no key even where reading does: nothing of the collection shows here."""

SCHEMES: dict[str, Any] = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key of `kvasir key create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in its own header."},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "The same key as password, under any name: for browsers, and for reading only.",
    },
}
"""How a key may be sent, for the OpenAPI document."""
READING: list[dict[str, list[str]]] = [{"key": []}, {"header": []}, {"password": []}]
WRITING: list[dict[str, list[str]]] = [{"key": []}, {"header": []}]
"""The schemes of SCHEMES that reading and writing accept."""


class KeyStore:
    """The keys of a collection, read again when their file changes, so that a revoked one ends at once."""

    def __init__(self, collection: Path) -> None:
        self._collection = collection
        self._stamp: tuple[int, int] | None = None
        self._keys: list[Key] = []
        self._lock = threading.Lock()

    def find(self, text: str) -> Key | None:
        """The key that a client gave, or None. Raises KeysFileError."""
        with self._lock:
            stamp = self._file_stamp()
            if stamp != self._stamp:
                self._keys, self._stamp = read_keys(self._collection), stamp
            keys = self._keys
        return find_key(keys, text)

    def _file_stamp(self) -> tuple[int, int] | None:
        try:
            stat = (self._collection / FILE).stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_ino


def register_auth(app: Flask, collection: Path) -> None:
    """Look for a key in every request, and require one where reading needs it."""
    store = KeyStore(collection)

    @app.before_request
    def authenticate() -> None:
        token, password = _credentials()
        g.token_key = store.find(token) if token else None
        # A browser sends a Basic password with every request, whoever's page asked for it: it may read only.
        g.key = g.token_key or (store.find(password) if password else None)
        # A browser asks without a key whether a page of another origin may send one.
        is_open = request.endpoint in OPEN_ENDPOINTS or request.method == "OPTIONS"
        if state().settings.require_key and g.key is None and not is_open:
            raise KeyNeededError("read")


def write_key_required(view: Callable[P, R]) -> Callable[P, R]:
    """A view that needs a key that may write."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if g.token_key is None:
            raise KeyNeededError("write")
        if g.token_key.scope != "write":
            raise KeyRefusedError(f"the key '{g.token_key.name}' may only read")
        return view(*args, **kwargs)

    return guarded


def client_name() -> str:
    """Whom a rate limit counts: the key, or else the address."""
    key: Key | None = g.get("key")
    return f"key {key.id}" if key else f"address {request.remote_addr}"


def _credentials() -> tuple[str, str]:
    """The token (of Bearer or X-API-Key) and the Basic password of a request; empty where there is none."""
    authorization = request.authorization
    if authorization is None:
        return request.headers.get("X-API-Key", ""), ""
    if authorization.type == "bearer":
        return authorization.token or "", ""
    return "", (authorization.password or "") if authorization.type == "basic" else ""
