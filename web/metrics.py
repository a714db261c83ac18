"""Numbers for Prometheus."""

from __future__ import annotations

import time

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from web.state import State


class Metrics:
    """The numbers of one server."""

    def __init__(self, held: State) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "kvasir_requests", "Answers by endpoint and status.", ("endpoint", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "kvasir_request_seconds",
            "Time from a request's head to its answer.",
            ("endpoint",),
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=self.registry,
        )
        inside = Gauge("kvasir_searches", "Searches that run and wait.", registry=self.registry)
        inside.set_function(lambda: held.gate.inside)
        images = Gauge("kvasir_images", "Images in the collection.", registry=self.registry)
        images.set_function(lambda: len(held.live.searcher.collection))


def register_metrics(app: Flask, held: State) -> None:
    """Count and time every request."""
    metrics = Metrics(held)
    app.extensions["kvasir metrics"] = metrics

    @app.after_request
    def count(response: Response) -> Response:
        endpoint = request.endpoint or "none"
        metrics.requests.labels(endpoint, str(response.status_code)).inc()
        if "began" in g:
            metrics.seconds.labels(endpoint).observe(time.perf_counter() - g.began)
        return response
