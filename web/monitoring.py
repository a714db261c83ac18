"""Logs on stderr, plain lines on a terminal and else one JSON object a line, and metrics for Prometheus."""

from __future__ import annotations

import json
import logging
import random
import re
import sys
import time
import warnings
from datetime import UTC, datetime

from flask import Flask, Response, g, has_request_context, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from retrieval.terminal import one_line
from web.context import State

log = logging.getLogger("kvasir.requests")

_FREQUENT = ("images.thumbnail", "static")
"""Endpoints of which a page asks many; they are logged at debug level unless they fail."""
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context():
            line["request_id"] = g.get("request_id", "")
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """A log record as a line for a person: time, level where it is not info, message, and a request's milliseconds."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, with control characters escaped; a traceback follows on its own lines."""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        milliseconds = getattr(record, "fields", {}).get("ms")
        taken = "" if milliseconds is None else f" ({milliseconds:.0f} ms)"
        line = f"{datetime.fromtimestamp(record.created):%H:%M:%S} {level}{one_line(record.getMessage())}{taken}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send every log of the process to stderr: plain lines on a terminal, JSON where it is none."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter() if sys.stderr.isatty() else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Damaged pictures make Pillow warn, at length and with its own file's path; the response says what is wrong.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it lists the builds that are not installed


class Metrics:
    """The numbers of one server."""

    def __init__(self, state: State) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "kvasir_requests", "Responses by endpoint and status.", ("endpoint", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "kvasir_request_seconds",
            "Time from a request's head to its response.",
            ("endpoint",),
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=self.registry,
        )
        searches = Gauge("kvasir_searches", "Searches that run and wait.", registry=self.registry)
        limits = (state.searches, state.decodings, state.large_decodings)
        searches.set_function(lambda: sum(limit.active for limit in limits))
        images = Gauge("kvasir_images", "Images in the collection.", registry=self.registry)
        images.set_function(lambda: len(state.served.searcher.collection))


def register_monitoring(app: Flask, state: State) -> None:
    """Give each request an id (the client's own, where it is harmless); log, count and time it."""
    metrics = Metrics(state)
    app.extensions["kvasir metrics"] = metrics

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        # Unique, not secret: the kernel need not be asked for it.
        g.request_id = given if _SAFE_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        endpoint = request.endpoint or "none"
        metrics.requests.labels(endpoint, str(response.status_code)).inc()
        if "began" not in g:
            return response
        seconds = time.perf_counter() - g.began
        metrics.seconds.labels(endpoint).observe(seconds)
        response.headers["X-Request-ID"] = g.request_id
        fields = {
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "ms": round(1000 * seconds, 2),
            "client": request.remote_addr,
        }
        if key := g.get("key"):
            fields["key"] = key.id
        level = logging.DEBUG if request.endpoint in _FREQUENT and response.status_code < 400 else logging.INFO
        log.log(level, "%s %s %s", request.method, request.path, response.status_code, extra={"fields": fields})
        return response
