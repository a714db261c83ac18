"""create_app(): one Flask application on one collection."""

from __future__ import annotations

import threading
from importlib.metadata import version

from flask import request
from flask_openapi3 import Info, OpenAPI
from jinja2 import ChoiceLoader
from werkzeug.middleware.proxy_fix import ProxyFix

from retrieval.cores import available_cores
from retrieval.large_pictures import LargePictures, memory_for
from retrieval.report.render import GLOBALS as REPORT_GLOBALS
from retrieval.report.render import template_loader as report_templates
from retrieval.report.store import remove_unfinished
from retrieval.terminal import finalize
from web.access import SCHEMES, client_name, register_auth, register_security
from web.blueprints import collection, evaluations, maps, pages, reasons, search, service
from web.bounded_request import BoundedRequest
from web.context import Settings, State
from web.jobs import Jobs
from web.limits import ByteCache, ConcurrencyLimit, register_rate
from web.monitoring import register_monitoring
from web.problems import Problem, on_validation, register_problems
from web.requests import require_single
from web.served_collection import CHECK_SECONDS, ServedCollection

LARGE_QUEUE = 16
"""Large pictures that are decoded and wait; each takes seconds."""
DOWNLOADS = 8
"""ZIPs that are sent at once; each keeps a thread for as long as its client reads, so a further one is refused."""
PICTURE_CACHE = 64 * 2**20
"""Bytes of memory for thumbnails and previews."""


class _App(OpenAPI):
    request_class = BoundedRequest


def create_app(settings: Settings, *, background: bool = True) -> OpenAPI:
    """The application.

    background: load encoders and indexes in a thread, /readyz tells when they have, and then watch for writes of other
    processes there; another thread stores indexes that writes have outdated. Without it, they load with their first
    use, and requests look for writes themselves.

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
    large_pictures = LargePictures(memory=memory_for(settings.max_pixels))
    served = ServedCollection(settings.collection, settings.max_pixels, large_pictures, settings.engine)
    state = State(
        settings,
        served,
        # One more than the cores: while pictures are encoded on all of them, the next one is decoded.
        searches=ConcurrencyLimit(available_cores() + 1, settings.queue),
        decodings=ConcurrencyLimit(available_cores() + 1, settings.queue),
        large_decodings=ConcurrencyLimit(1, LARGE_QUEUE),
        large_pictures=large_pictures,
        # A small file may be a picture of a quarter of a gigabyte: as few as that are decoded at once.
        drawings=ConcurrencyLimit(available_cores(), settings.queue),
        downloads=ConcurrencyLimit(DOWNLOADS, DOWNLOADS),
        writes=ConcurrencyLimit(1, settings.queue),
        uploads=ByteCache(settings.upload_cache),
        pictures=ByteCache(PICTURE_CACHE),
        jobs=Jobs("evaluation"),
        layouts=Jobs("map"),
    )
    app.extensions["kvasir"] = state
    remove_unfinished(settings.collection)
    # Base64 makes a third more of a picture, and a form or JSON has some fields around it.
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload * 4 // 3 + 2**20
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.loader = ChoiceLoader([app.create_global_jinja_loader(), report_templates()])
    app.jinja_env.globals.update(REPORT_GLOBALS)
    app.jinja_env.finalize = finalize
    register_monitoring(app, state)
    register_security(app, settings.trusted_hosts)
    register_auth(app, served.path)
    app.before_request(lambda: require_single(request.args))
    register_problems(app)
    of_images = (search.api, reasons.api, collection.api, collection.collection_api)
    for api in (*of_images, evaluations.api, maps.api, service.api):
        app.register_api(api)
    for blueprint in (pages.blueprint, collection.blueprint, evaluations.blueprint, maps.blueprint, service.blueprint):
        app.register_blueprint(blueprint)
    register_rate(app, settings.rate, client_name)
    if settings.proxies:
        believed = dict.fromkeys(("x_for", "x_proto", "x_host", "x_prefix"), settings.proxies)
        app.wsgi_app = ProxyFix(app.wsgi_app, **believed)  # type: ignore[method-assign]
    if background:
        stop = threading.Event()  # never set: the threads end with the process
        threading.Thread(target=_warm_up_and_watch, args=(served, stop), name="collection", daemon=True).start()
        threading.Thread(target=served.flush_after_writes, args=(stop,), name="flush", daemon=True).start()
    return app


def _warm_up_and_watch(served: ServedCollection, stop: threading.Event) -> None:
    while served.warm_up() and not stop.wait(CHECK_SECONDS):
        pass
    served.watch(stop)
