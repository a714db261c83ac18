"""Searches by image id and by vector go before all other requests.

They take a few milliseconds under Python's global lock, which they share with every thread that runs. So another
request begins while no search runs, and only one at a time, until it waits for something: a turn among the searches or
a picture's decoding. None waits longer for that than MOST_WAIT.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

MOST_WAIT = 0.05
"""Seconds that a request waits for searches, at most."""
SMALL_BODY = 256 * 2**10
"""Bytes of a body that is parsed in a few milliseconds."""

_SIMILAR = re.compile(r"/api/v1/images/[0-9]+/similar")
_PROBES = frozenset(("/healthz", "/readyz"))

before_waiting: ContextVar[Callable[[], None]] = ContextVar("before_waiting", default=lambda: None)
"""What a thread does before it waits: it lets the next request begin."""


def is_search(request: Any) -> bool:
    """Whether a request is a search by image id or by vector. request: gunicorn's, whole."""
    if request.method == "GET":
        return _SIMILAR.fullmatch(request.path) is not None
    if request.method != "POST" or request.path != "/api/v1/search" or not hasattr(request.body, "getbuffer"):
        return False
    body = request.body.getvalue()  # of BytesIO: no copy
    return len(body) <= SMALL_BODY and body[:1] == b"{" and b'"image"' not in body


def is_probe(request: Any) -> bool:
    """Whether a request asks if the server is alive."""
    return request.path in _PROBES
