"""An evaluation of the served collection, as a job runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from retrieval.search import Searcher


def evaluate(
    searcher: Searcher, spaces: Sequence[str], protocol: str, samples: int, on_progress: Callable[[float], None]
) -> dict[str, Any]:
    """Every measure of every space as plain values; `on_progress` is told the share that is done.

    It takes one core, so that searches go on. Raises NothingToEvaluateError.
    """
    from retrieval.evaluation import Evaluation, evaluate_space

    collection = searcher.collection
    held = collection.images
    results = []
    for turn, space in enumerate(spaces):
        positions = collection.positions(space)
        ids, vectors = collection.vectors(space)

        def progress(done: int, total: int, turn: int = turn) -> None:
            on_progress((turn + done / max(total, 1)) / len(spaces))

        results.append(
            evaluate_space(
                vectors,
                searcher.metric(space),
                held.labels[positions],
                held.classes,
                clusters=held.clusters[positions],
                ids=ids,
                files=[held.files[position] for position in positions.tolist()],
                protocol=protocol,
                space=space,
                samples=samples,
                threads=1,
                progress=progress,
            )
        )
    return Evaluation(collection.manifest.name, tuple(results)).to_dict(per_query=False)
