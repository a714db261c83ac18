"""Where a request comes from: the host name that it was sent to, and the page that sent it."""

from __future__ import annotations

from flask import Flask, current_app, request

from retrieval.errors import RetrievalError


class ForeignHostError(RetrievalError):
    """The server does not answer for this host name."""


class ForeignPageError(RetrievalError):
    """A page of another site sent this form."""


def register_origin(app: Flask, trusted: tuple[str, ...]) -> None:
    """Answer for trusted host names only, or all where there are none, and take forms from our own pages only.

    Not by Flask's TRUSTED_HOSTS: what werkzeug compares ends at the first colon, so that no `[::1]` ever fits.
    """
    app.extensions["kvasir hosts"] = frozenset(map(host_name, trusted))

    @app.before_request
    def refuse_foreign() -> None:
        if not host_is_trusted():
            raise ForeignHostError(f"this server does not answer for the host name '{request.host[:100]}'")
        if request.method == "POST" and not request.path.startswith("/api/") and _from_another_site():
            raise ForeignPageError(
                "open this server's own page, under the address that you see now, and send it from there"
            )


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
    """Whether the browser says so; a program that says nothing of the kind carries nobody's password."""
    # Behind a proxy the host may have another name here, so what the browser itself found comes first.
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.host
