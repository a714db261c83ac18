"""An evaluation of the served collection, in a process of its own at low priority, so that searches go first."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from retrieval.errors import RetrievalError
from retrieval.report.kept import KeptEvaluation, keep_evaluation

log = logging.getLogger(__name__)

MEASURED = 0.4
"""Share of the time that measuring takes; the rest draws the report."""


class EvaluationFailedError(RetrievalError):
    """An evaluation could not be made."""


def evaluate(collection: Path, made: KeptEvaluation, on_progress: Callable[[float], None]) -> None:
    """Measure, draw the report and store both; `on_progress` is told the share that is done.

    Raises EvaluationFailedError.
    """
    arguments = [str(collection), made.id, made.created, json.dumps(made.request)]
    # The modules of this very server, and not those of a folder that happens to be where it was started.
    command = [sys.executable, "-P", "-m", "web.evaluating", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part or str(Path.cwd()) for part in sys.path)}
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603  # the client's words are JSON in one argument, and no shell reads them
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=environment
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            try:
                on_progress(float(line))
            except ValueError:
                said.append(line)
    if child.returncode == 2 and said:
        raise EvaluationFailedError(said[-1].strip())
    if child.returncode:
        log.error("evaluation %s ended with %s:\n%s", made.id, child.returncode, "".join(said[-40:]))
        raise EvaluationFailedError("the server's log has the details")


def main(arguments: list[str]) -> int:
    """The process: tells its progress a number a line, and a fault in words."""
    collection, evaluation_id, created, request = arguments
    if hasattr(os, "nice"):
        os.nice(10)
    try:
        _evaluate(Path(collection), evaluation_id, created, json.loads(request))
    except RetrievalError as error:
        click.echo(str(error).replace(collection, "the collection"))
    except OSError as error:
        click.echo(f"the collection's folder cannot be written ({error.strerror})")
    else:
        return 0
    return 2


def _evaluate(path: Path, evaluation_id: str, created: str, request: dict[str, Any]) -> None:
    from retrieval.collection import Collection
    from retrieval.evaluation.choices import Choices, Measuring
    from retrieval.evaluation.of_collection import evaluate_collection
    from retrieval.report.contents import contents

    measuring = Measuring(samples=request["samples"])
    choices = Choices(spaces=tuple(request["spaces"]), protocol=request["protocol"], measuring=measuring)
    opened = Collection.open(path)
    clusters = opened.images.clusters.tolist()
    # Where near duplicates are left out, every space is measured once more with them.
    twice = choices.protocol == "leave-cluster-out" and len(set(clusters)) < len(clusters)
    turns = len(choices.spaces) * (1 + twice)
    passed = 0

    def measured(_: str, done: int, total: int) -> None:
        nonlocal passed
        _tell(MEASURED * (passed + done / total) / turns)
        passed += done == total

    result = evaluate_collection(opened, opened.manifest.name, choices, measured)
    drawn = contents(result, opened, lambda done, total: _tell(MEASURED + (1 - MEASURED) * done / total))
    keep_evaluation(opened, KeptEvaluation(evaluation_id, created, request), result, drawn)


def _tell(share: float) -> None:
    click.echo(f"{share:.4f}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
