"""Work that takes longer than a request: one job at a time, with progress."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from retrieval.errors import RetrievalError

log = logging.getLogger(__name__)

KEPT = 20


class JobRunningError(RetrievalError):
    """Another evaluation is running."""


@dataclass
class Job:
    """progress: from 0 to 1."""

    id: str
    request: dict[str, Any]
    created: str
    state: Literal["running", "done", "failed"] = "running"
    progress: float = 0.0
    error: str | None = None

    def advance(self, share: float) -> None:
        """Tell how much is done; it never goes back."""
        self.progress = max(self.progress, min(share, 1.0))


class Jobs:
    """Runs jobs in a thread of their own, and remembers how the latest went."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, request: dict[str, Any], work: Callable[[Job], None]) -> Job:
        """Start `work(job)`. Raises JobRunningError while another one runs."""
        with self._lock:
            if any(job.state == "running" for job in self._jobs.values()):
                raise JobRunningError("one evaluation runs at a time; wait until it is done")
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            job = Job(secrets.token_hex(8), request, now)
            self._jobs[job.id] = job
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
        threading.Thread(target=_run, args=(job, work), name=f"job {job.id}", daemon=True).start()
        return job

    def get(self, job_id: str) -> Job | None:
        """A job by its id; None where it is not of this server's life."""
        return self._jobs.get(job_id)

    def latest(self) -> Job | None:
        """The job that was started last."""
        return next(reversed(self._jobs.values()), None)


def _run(job: Job, work: Callable[[Job], None]) -> None:
    try:
        work(job)
    except RetrievalError as error:
        job.error, job.state = str(error), "failed"
    except Exception:
        log.exception("job %s failed", job.id)
        job.error, job.state = "the server's log has the details", "failed"
    else:
        job.progress, job.state = 1.0, "done"
