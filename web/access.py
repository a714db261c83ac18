"""Who may do what: host names, pages of other sites, API keys; and the headers that tell browsers so.

Flask-HTTPAuth is not used: it guards single views by one scheme each, while here one check stands before every
endpoint, a key comes by one of three ways (Bearer, X-API-Key, Basic), and the way decides what it may do.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from functools import wraps
from math import ceil
from pathlib import Path
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar

from flask import Flask, Response, current_app, g, request
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from web.context import state
from web.errors import (
    BadPrefixError,
    ForeignHostError,
    ForeignPageError,
    KeyNeededError,
    KeyRefusedError,
    KeysFileError,
    TooManyKeysError,
)
from web.keys import FILE, Key, find_key, read_keys
from web.serving.client import network_of

log = logging.getLogger(__name__)

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

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FAILED_KEYS = "20/minute"
"""Requests of one address with a key that there is not; further ones get 429 instead of 401."""

_FAILED_KEYS = parse(FAILED_KEYS)
_PREFIX = re.compile(r"(/[\w~-][\w.~-]*)*/?", re.ASCII)
"""The path that a proxy serves this server under. Two slashes at its start would lead to another host."""
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer, a browser sends `Origin: null` with the forms of our own pages too.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


# Host names, pages of other sites, and headers


def register_security(app: Flask, trusted_hosts: tuple[str, ...]) -> None:
    """Refuse foreign host names and forms, and set security headers and CORS in every response.

    trusted_hosts: host names that the server serves; empty for all. Not by Flask's TRUSTED_HOSTS: what werkzeug
    compares ends at the first colon, so that no `[::1]` ever matches.
    """
    app.extensions["kvasir hosts"] = frozenset(map(host_name, trusted_hosts))

    @app.before_request
    def refuse_foreign() -> None:
        if not host_is_trusted():
            raise ForeignHostError(f"this server does not serve the host name '{request.host[:100]}'")
        if not _PREFIX.fullmatch(request.environ["SCRIPT_NAME"]):
            raise BadPrefixError("the proxy's X-Forwarded-Prefix is no path: it has to be like /kvasir")
        if request.method not in SAFE_METHODS and _from_another_site():
            raise ForeignPageError(
                "open this server's own page, under the address that you see now, and send it from there; pages of "
                "other sites may call the API where --cors names their origin"
            )

    @app.after_request
    def set_headers(response: Response) -> Response:
        present = {name for name, _ in response.headers}  # once: to look for each costs as much as a small search
        response.headers.extend({name: value for name, value in HEADERS.items() if name not in present})
        if not response.cache_control:
            response.headers["Cache-Control"] = "no-store" if request.method == "POST" else "private, no-cache"
        if response.status_code not in (429, 503):
            response.headers.pop("Retry-After", None)  # flask-limiter sets it in every response
        _allow_origin(response)
        return response


def host_is_trusted() -> bool:
    """Whether the server serves the host name that this request was sent to."""
    trusted: frozenset[str] = current_app.extensions["kvasir hosts"]
    return not trusted or host_name(request.host) in trusted


def host_name(host: str) -> str:
    """A host without its port and brackets: of `[::1]:8000` and of `::1` it is `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return (host if host.count(":") > 1 else host.partition(":")[0]).lower()


def _from_another_site() -> bool:
    """Whether the browser says so; a program that sends no such header carries nobody's password.

    A form needs no permission of CORS, whatever it is sent to: so the API is no exception, but for origins of --cors.
    """
    if request.path.startswith("/api/") and request.headers.get("Origin") in state().settings.cors:
        return False
    # Behind a proxy the host may have another name here, so what the browser itself compared comes first.
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.host


def _allow_origin(response: Response) -> None:
    allowed = state().settings.cors
    if not allowed or not request.path.startswith("/api/"):
        return
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin not in allowed:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = "ETag, Location, Retry-After, X-Request-ID"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET")
        response.headers["Access-Control-Allow-Headers"] = (
            "Authorization, X-API-Key, Content-Type, If-None-Match, X-Request-ID"
        )
        response.headers["Access-Control-Max-Age"] = "600"


# Keys


class KeyStore:
    """The keys of a collection, read again when their file changes, so that a revoked one ends at once.

    Where the file is damaged, the keys that were read last stay, and the log says so once.
    """

    def __init__(self, collection: Path) -> None:
        self._collection = collection
        self._stamp: tuple[int, int] | None = None
        self._keys: list[Key] = []
        self._lock = threading.Lock()

    def find(self, text: str) -> Key | None:
        """The key that a client gave, or None."""
        with self._lock:
            stamp = self._file_stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._keys = read_keys(self._collection)
                except KeysFileError as error:
                    log.error("the keys that were read last stay valid: %s", error)
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
    store.find("")  # while the file is sound
    app.extensions["kvasir failed keys"] = MovingWindowRateLimiter(MemoryStorage())

    @app.before_request
    def authenticate() -> None:
        token, password = _credentials()
        g.token_key = store.find(token) if token else None
        # A browser sends a Basic password with every request, whichever page caused it: it may read only.
        g.key = g.token_key or (store.find(password) if password else None)
        # A browser sends the preflight of a request of another origin without a key.
        is_open = request.endpoint in OPEN_ENDPOINTS or request.method == "OPTIONS"
        if not may_read() and not is_open:
            _refuse("read")


def may_read() -> bool:
    """Whether the response may say anything of the collection, its name included."""
    return not state().settings.require_key or g.get("key") is not None


def write_key_required(view: Callable[P, R]) -> Callable[P, R]:
    """A view that needs a key that may write."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if g.token_key is None:
            _refuse("write")
        if g.token_key.scope != "write":
            raise KeyRefusedError(f"the key '{g.token_key.name}' may only read")
        return view(*args, **kwargs)

    return guarded


def _refuse(scope: Literal["read", "write"]) -> NoReturn:
    """Raise KeyNeededError, or TooManyKeysError for a client that tries one wrong key after another.

    A valid key is served all the same: with 256 random bits it cannot be guessed, and others may share the address.
    """
    if g.key is None and any(_credentials()):
        failures: MovingWindowRateLimiter = current_app.extensions["kvasir failed keys"]
        client = network_of(request.remote_addr or "")
        if not failures.hit(_FAILED_KEYS, client):
            again = failures.get_window_stats(_FAILED_KEYS, client).reset_time
            raise TooManyKeysError(max(1, ceil(again - time.time())))
    raise KeyNeededError(scope)


def client_name() -> str:
    """Whom a rate limit counts: the key, or else the address, of IPv6 its network."""
    key: Key | None = g.get("key")
    return f"key {key.id}" if key else f"address {network_of(request.remote_addr or '')}"


def _credentials() -> tuple[str, str]:
    """The token (of Bearer or X-API-Key) and the Basic password of a request; empty where there is none."""
    authorization = request.authorization
    if authorization is None:
        return request.headers.get("X-API-Key", ""), ""
    if authorization.type == "bearer":
        return authorization.token or "", ""
    return "", (authorization.password or "") if authorization.type == "basic" else ""
