"""Searches by image id and by vector go before all other requests.

They take a few milliseconds under Python's global lock, which they share with every thread that runs. So another
request begins while no search runs or has just ended, since most clients that search go on searching, and only one at a
time, until it waits for something: a turn among the searches or a picture's decoding. After MOST_WAIT it begins beside
a search, after LONG_WAIT beside another that is beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

PAUSE = 0.005
"""Seconds after a search in which its client may send the next one."""
MOST_WAIT = 0.05
"""Seconds that a request waits for searches, at most."""
LONG_WAIT = 0.5
"""Seconds that it waits for another one that is beginning, at most."""
SMALL_BODY = 256 * 2**10
"""Bytes of a body that is parsed in a few milliseconds."""

_SIMILAR = re.compile(r"/api/v1/images/[0-9]+/similar")
_COSTLY = (b'"image"', b'"text"', b'"region"', b'relevant"', b"\\")
"""Fields for which a picture is decoded, the text tower runs, or marks move the query; and what could spell them."""
_PROBES = frozenset(("/healthz", "/readyz"))

before_waiting: ContextVar[Callable[[], None]] = ContextVar("before_waiting", default=lambda: None)
"""What a thread does before it waits: it lets the next request begin."""


def is_search(request: Any) -> bool:
    """Whether a request is a search by image id or by vector. request: gunicorn's, whole."""
    if request.method == "GET":
        costly = "region" in request.query or "relevant" in request.query
        return _SIMILAR.fullmatch(request.path) is not None and not costly
    if request.method != "POST" or request.path != "/api/v1/search" or not hasattr(request.body, "getbuffer"):
        return False
    body = request.body.getvalue()  # of BytesIO: no copy
    return len(body) <= SMALL_BODY and body[:1] == b"{" and not any(field in body for field in _COSTLY)


def least_wait(beginning: bool, searching: bool, since_search: float) -> float:
    """Seconds that a request which is no search waits before it begins.

    beginning: whether another one is; searching: whether a search runs; since_search: seconds since one has ended.
    """
    if beginning:
        return LONG_WAIT
    return MOST_WAIT if searching or since_search < PAUSE else 0.0


def is_probe(request: Any) -> bool:
    """Whether a request asks if the server is alive."""
    return request.path in _PROBES
