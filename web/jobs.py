"""Evaluations and maps in the background, one of each at a time; each in a process of its own at low priority.

`python -m web.jobs` is that process, so that searches go first and a fault of it never ends the server.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click

from retrieval.errors import RetrievalError
from retrieval.module_process import module_command, module_environment
from retrieval.report.store import StoredEvaluation, store_evaluation
from web.errors import BusyError, JobFailedError, JobRunningError

log = logging.getLogger(__name__)

MAX_JOBS = 20
"""Jobs of which the server remembers how they went."""
STOP_SECONDS = 10
"""How long the end of the server waits for that of a job."""
MEASURING = 0.4
"""Share of an evaluation's time that measuring takes; the rest draws the report."""
_LOGGED = "the server's log has the details"

Kind = Literal["evaluation", "map"]


@dataclass
class Job:
    """An evaluation or a map that is or was made. progress: from 0 to 1."""

    id: str
    request: dict[str, Any]
    created: str
    state: Literal["running", "done", "failed"] = "running"
    progress: float = 0.0
    kind: Kind = "evaluation"
    error: str | None = None
    process: subprocess.Popen[str] | None = None
    stopped: bool = False

    def stop(self) -> None:
        """End its process, where it has one yet; `run_process` ends one that starts later."""
        self.stopped = True
        if self.process is not None:
            self.process.kill()  # what it has written so far lies in a folder of its own, which the next one removes

    def advance(self, share: float) -> None:
        """Set the share that is done; it never goes back."""
        self.progress = max(self.progress, min(share, 1.0))


class Jobs:
    """Runs jobs of one kind in a thread of their own, and remembers how the latest went."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = False

    def start(self, request: dict[str, Any], work: Callable[[Job], None]) -> Job:
        """Start `work(job)`. Raises JobRunningError while another one runs, BusyError once the server ends."""
        with self._lock:
            if self._ended:
                raise BusyError(f"the server stops; start the {self._kind} again when it is back")
            if any(job.state == "running" for job in self._jobs.values()):
                raise JobRunningError(f"one {self._kind} is made at a time; wait until it is done")
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            job = Job(secrets.token_hex(8), request, now, kind=self._kind)
            self._jobs[job.id] = job
            while len(self._jobs) > MAX_JOBS:
                self._jobs.popitem(last=False)
            self._thread = threading.Thread(target=_run, args=(job, work), name=f"job {job.id}", daemon=True)
            self._thread.start()
        return job

    def stop(self) -> None:
        """End the job that runs, wait for its process, and start no other: the server ends."""
        with self._lock:
            self._ended = True
            running = [job for job in self._jobs.values() if job.state == "running"]
        for job in running:
            log.warning("%s %s is stopped, because the server stops", job.kind, job.id)
            job.stop()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def get(self, job_id: str) -> Job | None:
        """A job by its id, or None where this server did not start it."""
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
        job.error, job.state = _LOGGED, "failed"
    else:
        job.progress, job.state = 1.0, "done"


def run_process(collection: Path, job: Job) -> None:
    """Do a job in a process of its own and wait for it: what it makes is stored in the collection.

    Raises JobFailedError.
    """
    arguments = [job.kind, str(collection), job.id, job.created]
    output: list[str] = []
    with subprocess.Popen(  # noqa: S603  # no word of the client's is among them
        module_command("web.jobs", *arguments),
        stdin=subprocess.PIPE,  # the request, and then nothing until the server ends: see _end_with_the_server
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env=module_environment(),
        start_new_session=True,  # Ctrl-C stops the server, and the server stops this
    ) as child:
        job.process = child
        if job.stopped:
            child.kill()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(job.request) + "\n")
            child.stdin.flush()
        except BrokenPipeError:  # it has ended already, and its output says why
            with suppress(BrokenPipeError):
                child.stdin.close()
        for line in child.stdout:
            try:
                job.advance(float(line))
            except ValueError:
                output.append(line)
    if job.stopped:
        raise JobFailedError("the server has stopped")
    if child.returncode == 2 and output:
        raise JobFailedError(output[-1].strip())
    if child.returncode:
        log.error("job %s ended with %s:\n%s", job.id, child.returncode, "".join(output[-40:]))
        raise JobFailedError(_LOGGED)


def main(arguments: list[str]) -> int:
    """The process: reads the request as a line of JSON; prints its progress, a number a line, or a fault as its last
    line with exit status 2.
    """
    kind, collection, job_id, created = arguments
    os.nice(10)
    line = sys.stdin.buffer.readline()
    if not line:
        return 1  # the server has ended
    request = json.loads(line)
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    try:
        if kind == "map":
            _lay_out(Path(collection), request["spaces"])
        else:
            _evaluate(Path(collection), StoredEvaluation(job_id, created, request))
    except RetrievalError as error:
        click.echo(str(error))
    except OSError as error:
        click.echo(f"the collection's folder cannot be written ({error.strerror})")
    else:
        return 0
    return 2


def _end_with_the_server() -> None:
    """End the process when its standard input does, which the server holds open, however the server ends."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read(): a thread that holds its lock spoils the interpreter's end
    os._exit(1)


def _lay_out(path: Path, spaces: list[str]) -> None:
    from retrieval.collection import Collection
    from retrieval.space_map.store import make_map, store_map

    opened = Collection.open(path)
    for number, space in enumerate(spaces):

        def tell(done: int, total: int, number: int = number) -> None:
            _print_progress((number + done / total) / len(spaces))

        store_map(path, make_map(opened, space, on_progress=tell))


def _evaluate(path: Path, evaluation: StoredEvaluation) -> None:
    from retrieval.collection import Collection
    from retrieval.evaluation.collection import evaluate_collection
    from retrieval.evaluation.options import EvaluationOptions, Fusion, MeasureOptions
    from retrieval.report.build import build_report
    from retrieval.spaces import embedding_spaces

    request = evaluation.request
    measures = MeasureOptions(samples=request["samples"])
    options = EvaluationOptions(
        spaces=tuple(request["spaces"]),
        protocol=request["protocol"],
        measures=measures,
        fusions=tuple(map(Fusion.parse, request["fusions"])),
        rerank=tuple(request["rerank"]),
        query_ids=frozenset(request["query_ids"]) if "query_ids" in request else None,
        feedback=request["feedback"],
    )
    opened = Collection.open(path)
    images = opened.images
    # Where near duplicates are left out, all is measured once more with them, and once without whole scenes.
    others = (len(set(images.clusters.tolist())) < len(images)) + images.has_scenes
    rounds = (len(options.spaces) + len(options.fusions)) * (1 + others * (options.protocol == "leave-cluster-out"))
    rounds += sum(name in embedding_spaces(opened.manifest) for name in options.spaces) * len(options.rerank)
    rounds += options.feedback * len(options.spaces)
    finished = 0

    def measured(_: str, done: int, total: int) -> None:
        nonlocal finished
        _print_progress(MEASURING * (finished + done / total) / rounds)
        finished += done == total

    result = evaluate_collection(opened, opened.manifest.name, options, measured)
    report = build_report(
        result, opened, lambda done, total: _print_progress(MEASURING + (1 - MEASURING) * done / total)
    )
    store_evaluation(opened, evaluation, result, report)


def _print_progress(share: float) -> None:
    click.echo(f"{share:.4f}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
