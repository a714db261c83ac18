"""The ledger of retrieval quality: each step as a gain over the one before, with its paired interval, time and memory.

    python tests/benchmarks/bench_quality.py DATA [OTHER]

DATA is a folder or zip of class folders, OTHER one of pictures of other sources, whose classes have the same names.
Unlearned spaces are searched by leave-cluster-out; learned ones in five folds over clusters, each learned from the
other four. The interval of a gain is of its mean over the same queries, by bootstrap over clusters of near duplicates.
Steps that do not pay stay in the list.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.datasets import open_dataset
from indexer.run import run_dataset
from indexer.transfer_queries import with_queries
from retrieval.collection import Collection, CollectionWriter
from retrieval.encoders import EncoderOptions
from retrieval.evaluation import MeasureOptions
from retrieval.evaluation.bootstrap import resampled_means
from retrieval.evaluation.learned import evaluate_learning
from retrieval.evaluation.protocols import Protocol, k_fold, leave_cluster_out
from retrieval.evaluation.retrievers import RerankedRetriever, Retriever, SpaceRetriever
from retrieval.evaluation.run import evaluate_retriever
from retrieval.evaluation.space_result import SpaceResult
from retrieval.index import Cosine
from retrieval.learn.model import LearnOptions

MEASURES = MeasureOptions(ks=(1, 10), samples=0)
SAMPLES = 1000
MULTI, LAST = "tf_efficientnet_lite0-multi", "tf_efficientnet_lite0"


@dataclass(frozen=True)
class Step:
    """One line: its name, the line that it is compared with, and what measures it in a collection by a protocol."""

    name: str
    base: str | None
    fit: str
    result: Callable[[Collection, Protocol], SpaceResult]
    learned: bool = False


def frozen(space: str, rerank: str | None = None) -> Callable[[Collection, Protocol], SpaceResult]:
    """A stored space, its nearest images ranked anew or not."""

    def result(opened: Collection, protocol: Protocol) -> SpaceResult:
        vectors = opened.vectors(space)[1]
        retriever: Retriever = SpaceRetriever(vectors, Cosine())
        if rerank is not None:
            retriever = RerankedRetriever(vectors, protocol.groups, rerank)
        images = opened.images
        return evaluate_retriever(
            retriever, images.labels, opened.classes, images.clusters, images.ids, None, protocol, space, MEASURES
        )

    return result


def learned(
    method: str, unlearned: float, views: str = "none", seeds: int = 3
) -> Callable[[Collection, Protocol], SpaceResult]:
    """A space that is learned from the gallery of each round."""
    options = LearnOptions(method, unlearned=unlearned, seeds=seeds)
    return lambda opened, protocol: evaluate_learning(opened, protocol, [MULTI], options, MEASURES, views)


STEPS = (
    Step("last layer, whole frame", None, "squash", frozen(LAST)),
    Step("last layer, field of view", "last layer, whole frame", "field", frozen(LAST)),
    Step("all blocks, whole frame", "last layer, whole frame", "squash", frozen(MULTI)),
    Step("all blocks, components, whole frame", "all blocks, whole frame", "squash", frozen(f"{MULTI}-pca")),
    Step("all blocks, components, field of view", "last layer, field of view", "field", frozen(f"{MULTI}-pca")),
    *(
        Step(f"the same, {way}", "all blocks, components, field of view", "field", frozen(f"{MULTI}-pca", way))
        for way in ("query-expansion", "database-augmentation", "expansion", "k-reciprocal")
    ),
    Step("in folds: components, field of view", None, "field", learned("pca", 1.0), True),
    Step("in folds: LDA, whole frame", "in folds: components, field of view", "squash", learned("lda", 0.3), True),
    Step("the same and the central view", "in folds: LDA, whole frame", "squash", learned("lda", 0.3, "central"), True),
    Step("in folds: LDA, field of view", "in folds: components, field of view", "field", learned("lda", 0.3), True),
    Step("the same without an unlearned share", "in folds: LDA, field of view", "field", learned("lda", 0.0), True),
    Step("in folds: WCCN", "in folds: LDA, field of view", "field", learned("wccn", 0.0), True),
    Step("in folds: Nystroem", "in folds: LDA, field of view", "field", learned("nystroem", 0.3, seeds=1), True),
    Step("in folds: network", "in folds: LDA, field of view", "field", learned("head", 0.3), True),
    Step("in folds: LDA and network", "in folds: LDA, field of view", "field", learned("blend", 0.3), True),
)


def main() -> None:
    data, other = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        collections: dict[str, Collection] = {}
        for fit in ("squash", "field"):
            path = Path(scratch) / fit
            with open_dataset(data) as dataset, CollectionWriter(path, create=True) as writer:
                for features in ("last", "multi"):
                    run_dataset(dataset, writer, fit=fit, options=EncoderOptions(features=features))
            collections[fit] = Collection.open(path)
        images = collections["field"].images
        print(f"{len(images):,} pictures, {len(set(images.clusters.tolist())):,} clusters")
        print(f"{'step':42}{'P@1':>7}{'mAP':>7}  {'gain in mAP, interval':34}{'others: P@1, mAP, least class':>30}")
        whole, folds = leave_cluster_out(images.clusters), k_fold(images.labels, images.clusters)
        results: dict[str, SpaceResult] = {}
        grown = {}
        if other is not None:
            for fit, opened in collections.items():
                grown[fit] = stack.enter_context(with_queries(opened, other, None))
        for step in STEPS:
            start = time.perf_counter()
            result = step.result(collections[step.fit], folds if step.learned else whole)
            seconds = time.perf_counter() - start
            results[step.name] = result
            line = f"{step.name:42}" + "".join(f"{np.nanmean(result.measures[m]):7.3f}" for m in ("precision@1", "mAP"))
            line += f"  {gain(result, results[step.base]) if step.base else '':34}"
            if other is not None:
                moved = step.result(*grown[step.fit])
                first = moved.measures["precision@1"]
                least = min(first[moved.labels == label].mean() for label in np.unique(moved.labels))
                line += f"{first.mean():7.3f}{moved.measures['mAP'].mean():7.3f}{least:7.3f}"
            print(f"{line}{seconds:8.1f} s", flush=True)
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MiB")


def gain(result: SpaceResult, base: SpaceResult) -> str:
    """The mean gain in mAP over the same queries, and its 95 % interval."""
    differences = (result.measures["mAP"] - base.measures["mAP"])[:, None]
    drawn = resampled_means(differences, result.labels, result.clusters, len(result.class_names), SAMPLES, 0).micro
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{differences.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
