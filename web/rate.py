"""How often one client may search and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from flask import Flask
from flask_limiter import Limiter

from web.access import client_name

P = ParamSpec("P")
R = TypeVar("R")


def limited(view: Callable[P, R]) -> Callable[P, R]:
    """Mark a view that counts towards its client's rate; beyond it, the answer is 429 with Retry-After."""
    view.limited = True  # type: ignore[attr-defined]
    return view


def register_rate(app: Flask, rate: str) -> None:
    """Count every marked view by client, all together; an empty rate is no limit. Call it when all views are there."""
    if not rate:
        return
    limiter = Limiter(client_name, app=app, storage_uri="memory://", strategy="moving-window", headers_enabled=True)
    limit = limiter.shared_limit(rate, scope="searches and writes")
    for endpoint, view in app.view_functions.items():
        if getattr(view, "limited", False):
            app.view_functions[endpoint] = limit(view)  # type: ignore[assignment]
