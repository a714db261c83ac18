"""create_app(): one Flask application on one collection."""

from __future__ import annotations

import io
import threading
from importlib.metadata import version
from typing import IO, Any

from flask import Request
from flask_openapi3 import Info, OpenAPI
from werkzeug.middleware.proxy_fix import ProxyFix

from retrieval.cores import available_cores
from web.access import SCHEMES, register_access
from web.blueprints import browse, collection, documentation, evaluations, health, images, pages, report, search
from web.gate import Gate
from web.headers import register_headers
from web.jobs import Jobs
from web.kept import Kept
from web.live import LiveCollection
from web.logs import register_request_log
from web.metrics import register_metrics
from web.origin import register_origin
from web.problems import Problem, on_validation, register_problems
from web.rate import register_rate
from web.settings import Settings
from web.state import State

SHOWN_BYTES = 64 * 2**20
"""Memory for thumbnails."""


class _InMemory(Request):
    """A request whose uploads stay in memory: nothing is written outside the collection, not even to /tmp."""

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return io.BytesIO()


class _App(OpenAPI):
    request_class = _InMemory


def create_app(settings: Settings, *, warm_up: bool = True) -> OpenAPI:
    """The application; with `warm_up`, encoders and indexes load in the background and /readyz tells when they have.

    Raises NotACollectionError, FormatError, DamagedCatalogError.
    """
    app = _App(
        __name__,
        info=Info(
            title="Kvasir retrieval",
            version=version("kvasir-retrieval"),
            description="Find similar endoscopy images. For research and teaching, not for diagnosis.",
        ),
        security_schemes=SCHEMES,
        validation_error_model=Problem,
        validation_error_callback=on_validation,
        doc_ui=False,
    )
    live = LiveCollection(settings.collection, settings.max_pixels)
    # One more than the cores: while pictures are encoded on all of them, the next one is decoded.
    gate = Gate(available_cores() + 1, settings.queue)
    # A small file may be a picture of a quarter of a gigabyte: as few as that are decoded at once.
    drawing, writing = Gate(available_cores(), settings.queue), Gate(1, settings.queue)
    held = State(settings, live, gate, drawing, writing, Kept(settings.kept_bytes), Kept(SHOWN_BYTES), Jobs())
    app.extensions["kvasir"] = held
    # Base64 makes a third more of a picture, and a form or JSON has some fields around it.
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload * 4 // 3 + 2**20
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    register_request_log(app)
    register_metrics(app, held)
    register_headers(app)
    register_origin(app, settings.trusted_hosts)
    register_access(app, live.path)
    register_problems(app)
    for module in (search, images, collection, evaluations, health):
        app.register_api(module.api)
    for page in (pages, browse, report, documentation):
        app.register_blueprint(page.blueprint)
    register_rate(app, settings.rate)
    if settings.proxies:
        count = settings.proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    if warm_up:
        threading.Thread(target=live.warm_up, name="warm up", daemon=True).start()
    return app
