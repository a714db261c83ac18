"""Who may read and who may write."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from flask import Flask, g, request

from retrieval.errors import RetrievalError
from web.keys import FILE, Key, Scope, find_key, read_keys
from web.state import state

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
"""Which of them each needs."""


class KeyNeededError(RetrievalError):
    """A valid API key is needed."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        verb = "changes the collection" if scope == "write" else "reads the collection"
        super().__init__(f"this {verb}: send a key of `kvasir key create` in the header Authorization: Bearer KEY")


class KeyRefusedError(RetrievalError):
    """The API key may not do this."""


class KeyRing:
    """The keys of a collection, read again when their file changes, so that a revoked one ends at once."""

    def __init__(self, collection: Path) -> None:
        self._collection = collection
        self._stamp: tuple[int, int] | None = None
        self._keys: list[Key] = []
        self._lock = threading.Lock()

    def find(self, text: str) -> Key | None:
        """The key that a client gave, or None."""
        with self._lock:
            path = self._collection / FILE
            stamp = (path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None
            if stamp != self._stamp:
                self._keys, self._stamp = (read_keys(self._collection) if stamp else []), stamp
            keys = self._keys
        return find_key(keys, text)


def register_access(app: Flask, collection: Path) -> None:
    """Look for a key in every request, and ask for one where reading needs it."""
    ring = KeyRing(collection)

    @app.before_request
    def look_for_key() -> None:
        bearer, basic = _given()
        g.bearer = ring.find(bearer) if bearer else None
        # A browser sends a Basic password with every request, whoever's page asked for it: it may read only.
        g.key = g.bearer or (ring.find(basic) if basic else None)
        # A browser asks without a key whether a page of another origin may send one.
        is_open = request.endpoint in OPEN_ENDPOINTS or request.method == "OPTIONS"
        if state().settings.reading_needs_key and g.key is None and not is_open:
            raise KeyNeededError("read")


def _given() -> tuple[str, str]:
    authorization = request.authorization
    if authorization is None:
        return request.headers.get("X-API-Key", ""), ""
    if authorization.type == "bearer":
        return authorization.token or "", ""
    return "", (authorization.password or "") if authorization.type == "basic" else ""


def writing(view: Callable[P, R]) -> Callable[P, R]:
    """A view that needs a key that may write."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if g.bearer is None:
            raise KeyNeededError("write")
        if g.bearer.scope != "write":
            raise KeyRefusedError(f"the key '{g.bearer.name}' may only read")
        return view(*args, **kwargs)

    return guarded


def client_name() -> str:
    """Whom a rate limit counts: the key, or else the address."""
    key: Key | None = g.get("key")
    return f"key {key.id}" if key else f"address {request.remote_addr}"
