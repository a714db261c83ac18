"""Which requests a browser may send here, and what it may do with the responses: host names, origins, headers."""

from __future__ import annotations

from flask import Flask, Response, current_app, request

from web.context import state
from web.errors import ForeignHostError, ForeignPageError

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


def register_security(app: Flask, trusted_hosts: tuple[str, ...]) -> None:
    """Refuse foreign host names and forms, and set security headers and CORS in every response.

    trusted_hosts: host names that the server answers to; empty for all. Not by Flask's TRUSTED_HOSTS: what werkzeug
    compares ends at the first colon, so that no `[::1]` ever matches.
    """
    app.extensions["kvasir hosts"] = frozenset(map(host_name, trusted_hosts))

    @app.before_request
    def refuse_foreign() -> None:
        if not host_is_trusted():
            raise ForeignHostError(f"this server does not answer for the host name '{request.host[:100]}'")
        if request.method == "POST" and not request.path.startswith("/api/") and _from_another_site():
            raise ForeignPageError(
                "open this server's own page, under the address that you see now, and send it from there"
            )

    @app.after_request
    def set_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if not response.cache_control:
            response.headers["Cache-Control"] = "no-store" if request.method == "POST" else "private, no-cache"
        if response.status_code not in (429, 503):
            response.headers.pop("Retry-After", None)  # flask-limiter sets it in every response
        _allow_origin(response)
        return response


def host_is_trusted() -> bool:
    """Whether the server answers for the host name that this request was sent to."""
    trusted: frozenset[str] = current_app.extensions["kvasir hosts"]
    return not trusted or host_name(request.host) in trusted


def host_name(host: str) -> str:
    """A host without its port and brackets: of `[::1]:8000` and of `::1` it is `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return (host if host.count(":") > 1 else host.partition(":")[0]).lower()


def bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _from_another_site() -> bool:
    """Whether the browser says so; a program that sends no such header carries nobody's password."""
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
