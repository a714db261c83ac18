"""The production server: gunicorn with one worker and threads.

One process holds one copy of the encoders, indexes and caches. On SIGTERM it stops listening, lets running requests
end, and exits.
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import sys
from typing import Any

from retrieval.collection import Collection
from retrieval.terminal import counted
from web.context import Settings
from web.errors import CannotListenError
from web.monitoring import log_to_stderr

log = logging.getLogger("kvasir.server")

GRACE = 30
"""Seconds that running requests are given after SIGTERM."""
SWITCH_SECONDS = 0.0005
"""After how long a thread of Python gives way to another, by default 5 ms: as long as a search by image takes."""
QUEUES = 4
"""Searches, pictures to be decoded, to be drawn and to be stored; what waits in any of them keeps a thread."""
SPARE_THREADS = 32
"""Threads beyond the queues, so that other requests are served, and a full queue is refused at once."""

_M_ARENA_MAX = -8
"""malloc.h of glibc."""


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    from gunicorn.app.base import BaseApplication
    from gunicorn.arbiter import Arbiter

    from web.serving.draining import refuse_new

    share_one_heap()

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            for name, value in _gunicorn_settings(settings, host, port).items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            # In the worker, after the fork: threads of OpenVINO and FAISS do not survive one.
            from web.app import create_app

            log_to_stderr()
            sys.setswitchinterval(SWITCH_SECONDS)
            app = create_app(settings)
            tell_address(settings, host, port)
            return app

    class Master(Arbiter):  # type: ignore[misc]
        def stop(self, graceful: bool = True) -> None:
            if self.reexec_pid == self.master_pid == 0:  # no other master listens on the same sockets
                for listener in self.LISTENERS:
                    refuse_new(listener.sock)
            super().stop(graceful)

    Master(Application()).run()


def require_free(host: str, port: int) -> None:
    """Raise CannotListenError where the address is taken or is not this machine's."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except OSError as error:
        raise CannotListenError(f"cannot listen at {host}, port {port} ({error.strerror}); try --port") from None


def bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def tell_address(settings: Settings, host: str, port: int) -> None:
    """Log what is served and where, as the last line of a start."""
    opened = Collection.open(settings.collection)
    address = f"http://{bracketed(host)}:{port}/"
    log.info("%s: %s; stop with Ctrl-C; %s", opened.manifest.name, counted(len(opened), "image"), address)


def share_one_heap() -> None:
    """Let all threads allocate from one heap, where the C library is glibc.

    It would give each of the many threads one of its own, which keeps what its largest request took: with 32 clients
    memory crept from 419 to 437 MiB in five minutes, and with one heap it stays at 378 from the first minute on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, 1)


def _gunicorn_settings(settings: Settings, host: str, port: int) -> dict[str, Any]:
    from web.serving.connection import KEPT_ALIVE

    threads = QUEUES * settings.queue + SPARE_THREADS
    return {
        "bind": f"{bracketed(host)}:{port}",
        "workers": 1,
        "worker_class": "web.serving.worker.Worker",
        "threads": threads,
        "worker_connections": 2 * threads,  # the worker has limits of its own; gunicorn closes beyond the difference
        "graceful_timeout": GRACE,
        "timeout": 120,  # for the worker as a whole, not for a request
        "keepalive": KEPT_ALIVE,
        "sendfile": False,  # web.serving.connection sends, and never blocks
        "limit_request_line": 8190,
        "control_socket_disable": True,
        "forwarded_allow_ips": "",  # the application itself believes what --proxies says
        "loglevel": "warning",
        "proc_name": "kvasir",
    }
