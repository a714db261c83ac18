"""The ledger of retrieval quality: each step as a gain over the one before, with its paired interval, time and memory.

    python tests/benchmarks/bench_quality.py DATA [OTHER] [--strange FOLDER] [--only WORDS] [--minutes M] [--made DIR]

DATA is a folder or zip of class folders, OTHER one of pictures of other sources, whose classes have the same names.
Unlearned spaces are searched by leave-cluster-out; learned ones in five folds over clusters, each learned from the
other four. The interval of a gain is of its mean over the same queries, by bootstrap over clusters of near duplicates;
the line below has those of the means themselves. Folds never part a cluster; scenes are not looked for here.
Steps that do not pay stay in the list. Beside each: how far hits of the query's class follow its mark of the device, as
the excess over chance, and the calibration error of chances that were fitted on the other folds.

Fine-tuned encoders have seen four of the five folds, so the queries of their steps are those of the first fold, which
they are compared on. Scenes are looked for and left out; their step shows what other frames of a scene flatter.

Last, how well strange pictures are told: those of installed packages and of the folders --strange; the time of a
query that is re-ranked, in DATA and in 8,000 vectors mixed from its components; and the time that `kvasir learn` takes
to choose a method and fit it on 8,000 vectors of 1,280 numbers, which are mixed from DATA's last layer, each a cluster
of its own, with marks at random.

--only: steps whose name has one of these words, separated by commas, and those that they are compared with. --minutes:
of fine-tuning. --made: a folder for the collections, which a later run takes from there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from mixed_vectors import Mixture
from numpy.typing import NDArray
from safetensors.torch import save_file
from strange_pictures import print_strange

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import store_vectors

import retrieval
from indexer.datasets import open_dataset
from indexer.run import run_dataset
from indexer.scenes import update_scenes
from indexer.transfer_queries import with_queries
from retrieval.collection import Collection, CollectionWriter
from retrieval.encoders import DEFAULT, EncoderOptions, build_tower
from retrieval.evaluation import MeasureOptions
from retrieval.evaluation.bootstrap import interval, resampled_means
from retrieval.evaluation.calibrated import hits_of_result
from retrieval.evaluation.chances import cross_fitted, measured
from retrieval.evaluation.learned import evaluate_learning
from retrieval.evaluation.mark_bias import DeviceMarks
from retrieval.evaluation.protocols import Protocol, k_fold, leave_cluster_out, leave_scene_out
from retrieval.evaluation.retrievers import RerankedRetriever, Retriever, SpaceRetriever
from retrieval.evaluation.run import evaluate_retriever
from retrieval.evaluation.space_result import SpaceResult
from retrieval.finetune.training import FinetuneOptions, finetune
from retrieval.finetune.weights import write_weights
from retrieval.index import Cosine
from retrieval.learn.learner import TrainingSet
from retrieval.learn.methods import AUTO
from retrieval.learn.model import LearnOptions
from retrieval.learn.selection import fit_chosen
from retrieval.learn.sources import learner_of
from retrieval.learn.views import CENTRAL, NO_VIEWS

MEASURES = MeasureOptions(ks=(1, 10), samples=0)
SAMPLES = 1000
MULTI, LAST = "tf_efficientnet_lite0-multi", "tf_efficientnet_lite0"
TUNED = "tuned"
"""The name of the fine-tuned encoder's file, of which its spaces take theirs."""
JOINED = "320-too"
"""The name of the file of the default encoder's weights that a second space, of 320 pixels, takes its own from."""
BOTH = (MULTI, f"{LAST}-{JOINED}-multi")
LEARNING = "learning from 8,000 vectors of 1,280 numbers"
STRANGE = "strange pictures"
RERANKING = "a query re-ranked"
WAYS = ("query-expansion", "database-augmentation", "expansion", "k-reciprocal")


@dataclass(frozen=True)
class Step:
    """One line: its name, the line that it is compared with, and what measures it in a collection by a protocol.

    made: the collection that it needs, of MADE. learned: by folds instead of leave-cluster-out. moves: whether pictures
    of other sources are searched as well.
    """

    name: str
    base: str | None
    made: str
    result: Callable[[Collection, Protocol], SpaceResult]
    learned: bool = False
    moves: bool = True


def frozen(space: str, rerank: str | None = None) -> Callable[[Collection, Protocol], SpaceResult]:
    """A stored space, its nearest images ranked anew or not."""

    def result(opened: Collection, protocol: Protocol) -> SpaceResult:
        vectors = opened.vectors(space)[1]
        retriever: Retriever = SpaceRetriever(vectors, Cosine())
        if rerank is not None:
            retriever = RerankedRetriever(vectors, protocol.groups, rerank)
        images = opened.images
        return evaluate_retriever(
            retriever,
            images.labels,
            opened.classes,
            images.clusters,
            images.ids,
            None,
            protocol,
            space,
            MEASURES,
            marks=DeviceMarks.of(images, np.arange(len(images))),
        )

    return result


def learned(
    method: str,
    unlearned: float | None,
    views: str = NO_VIEWS,
    seeds: int = 3,
    unmarked: bool | None = False,
    sources: tuple[str, ...] = (MULTI,),
) -> Callable[[Collection, Protocol], SpaceResult]:
    """A space that is learned from the gallery of each round."""
    options = LearnOptions(method, unlearned=unlearned, seeds=seeds, unmarked=unmarked)
    return lambda opened, protocol: evaluate_learning(
        opened, protocol, learner_of(opened, options, sources, views), method, MEASURES
    )


def tuned(method: str, unlearned: float) -> Callable[[Collection, Protocol], SpaceResult]:
    """The same on the fine-tuned encoder, of the queries that it has not seen: of the first round."""
    result = learned(method, unlearned, sources=(f"{LAST}-{TUNED}-multi",))
    return lambda opened, protocol: result(opened, replace(protocol, rounds=protocol.rounds[:1]))


def without_scenes(opened: Collection, protocol: Protocol) -> SpaceResult:
    """The default space by leave-scene-out, once scenes have been looked for in a copy."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(shutil.copytree(opened.path, Path(scratch) / "copy"))
        with CollectionWriter(path) as writer:
            update_scenes(writer)
        looked = Collection.open(path)
        return frozen(f"{MULTI}-pca")(looked, leave_scene_out(looked.images.scenes))


MADE: dict[str, dict[str, Any]] = {
    "squash": {"fit": "squash"},
    "field": {"fit": "field"},
    "fill": {"fit": "field", "marks": "fill", "features": ("multi",)},
    "320": {"fit": "field", "size": (320, 320), "features": ("multi",)},
    JOINED: {},
    TUNED: {},
}
"""How the encoder of each collection sees a picture; the last two are `field` with a second encoder."""

STEPS = (
    Step("last layer, whole frame", None, "squash", frozen(LAST)),
    Step("last layer, field of view", "last layer, whole frame", "field", frozen(LAST)),
    Step("all blocks, whole frame", "last layer, whole frame", "squash", frozen(MULTI)),
    Step("all blocks, components, whole frame", "all blocks, whole frame", "squash", frozen(f"{MULTI}-pca")),
    *(
        Step(
            f"whole frame by {way}",
            "all blocks, components, whole frame",
            "squash",
            frozen(f"{MULTI}-pca", way),
        )
        for way in ("expansion", "k-reciprocal")
    ),
    Step("all blocks, components, field of view", "last layer, field of view", "field", frozen(f"{MULTI}-pca")),
    *(
        Step(f"re-ranked by {way}", "all blocks, components, field of view", "field", frozen(f"{MULTI}-pca", way))
        for way in WAYS
    ),
    Step("the same, boxes filled", "all blocks, components, field of view", "fill", frozen(f"{MULTI}-pca")),
    Step("the same, 320 pixels", "all blocks, components, field of view", "320", frozen(f"{MULTI}-pca")),
    Step("the same, by scenes", "all blocks, components, field of view", "field", without_scenes, moves=False),
    Step("in folds: components, field of view", None, "field", learned("pca", 1.0), True),
    Step("in folds: LDA, whole frame", "in folds: components, field of view", "squash", learned("lda", 0.3), True),
    Step("the same and the central view", "in folds: LDA, whole frame", "squash", learned("lda", 0.3, CENTRAL), True),
    Step("in folds: LDA, field of view", "in folds: components, field of view", "field", learned("lda", 0.3), True),
    Step("the same without an unlearned share", "in folds: LDA, field of view", "field", learned("lda", 0.0), True),
    Step("in folds: LDA, boxes filled", "in folds: LDA, field of view", "fill", learned("lda", 0.3), True),
    Step("in folds: LDA, 320 pixels", "in folds: LDA, field of view", "320", learned("lda", 0.3), True),
    Step("320 pixels without an unlearned share", "in folds: LDA, field of view", "320", learned("lda", 0.0), True),
    Step("LDA, marks removed", "in folds: LDA, field of view", "field", learned("lda", 0.3, unmarked=True), True),
    Step("pooled LDA", "in folds: LDA, field of view", "field", learned("pooled", 0.3), True),
    Step("pooled LDA, nothing unlearned", "in folds: LDA, field of view", "field", learned("pooled", 0.0), True),
    Step("in folds: WCCN", "in folds: LDA, field of view", "field", learned("wccn", 0.0), True),
    Step("in folds: Nystroem", "in folds: LDA, field of view", "field", learned("nystroem", 0.3, seeds=1), True),
    Step("in folds: network", "in folds: LDA, field of view", "field", learned("head", 0.3), True),
    Step("in folds: LDA and network", "in folds: LDA, field of view", "field", learned("blend", 0.3), True),
    Step("in folds: ensemble", "in folds: LDA, field of view", "field", learned("ensemble", 0.3), True),
    *(
        Step(
            f"ensemble with a {name}",
            "in folds: LDA, field of view",
            "field",
            learned("ensemble", share, unmarked=True),
            True,
        )
        for name, share in (("tenth", 0.1), ("fifth", 0.2))
    ),
    Step("chosen in each fold", "in folds: LDA, field of view", "field", learned(AUTO, None, unmarked=None), True),
    Step("ensemble without an unlearned share", "in folds: LDA, field of view", "field", learned("ensemble", 0), True),
    Step("320 pixels: ensemble", "in folds: LDA, field of view", "320", learned("ensemble", 0.3), True),
    Step(
        "ensemble, 320 pixels, nothing unlearned", "in folds: LDA, field of view", "320", learned("ensemble", 0), True
    ),
    *(
        Step(
            f"224 and 320 pixels: {method}",
            "in folds: LDA, field of view",
            JOINED,
            learned(name, 0, sources=BOTH),
            True,
        )
        for method, name in (("LDA", "lda"), ("ensemble", "ensemble"))
    ),
    *(
        Step(f"LDA and {view} views", "in folds: LDA, field of view", "field", learned("lda", 0.3, view), True)
        for view in ("central", "varied", "reencoded", "resized", "boxed", "unboxed", "bordered", "lettered", "sources")
    ),
    Step("one fold: fine-tuned, components", "in folds: components, field of view", TUNED, tuned("pca", 1.0), True),
    Step("one fold: fine-tuned, LDA", "in folds: LDA, field of view", TUNED, tuned("lda", 0.3), True),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--strange", type=Path, action="append", default=[])
    parser.add_argument("--only", default="")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--made", type=Path)
    options = parser.parse_args()
    words = options.only.split(",")
    wanted = {step.name for step in STEPS if any(word in step.name for word in words)}
    wanted |= {step.base for step in STEPS if step.name in wanted and step.base}
    steps = [step for step in STEPS if step.name in wanted]
    extra = [name for name in (STRANGE, RERANKING, LEARNING) if any(word in name for word in words)]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        needed = {*(step.made for step in steps), *(["field"] if extra else [])}
        needed |= {"field"} if needed & {JOINED, TUNED} else set()
        folder = options.made or Path(scratch)
        collections: dict[str, Collection] = {}
        for made in (name for name in MADE if name in needed):
            cost = Cost()
            if made == JOINED:
                collections[made] = with_320_pixels(collections["field"], options.data, folder)
            elif made == TUNED:
                collections[made] = fine_tuned(collections["field"], options.data, folder, options.minutes)
            else:
                collections[made] = indexed(options.data, folder / made, MADE[made])
            print(f"collection {made}: {cost}", flush=True)
        images = next(iter(collections.values())).images
        print(f"{len(images):,} pictures, {len(set(images.clusters.tolist())):,} clusters")
        print(
            f"{'step':42}{'P@1':>7}{'mAP':>7}{'macro':>7}  {'gain in mAP, interval':30}{'marks':>7}{'ECE':>7}"
            f"{'others: P@1, mAP, least, marks, ECE':>40}"
        )
        whole, folds = leave_cluster_out(images.clusters), k_fold(images.labels, images.clusters)
        results: dict[str, SpaceResult] = {}
        grown: dict[str, tuple[Collection, Protocol]] = {}
        for step in steps:
            if options.other is not None and step.moves and step.made not in grown:
                grown[step.made] = stack.enter_context(with_queries(collections[step.made], options.other, None))
            cost = Cost()
            opened = collections[step.made]
            result = step.result(opened, folds if step.learned else whole)
            spent = str(cost)
            results[step.name] = result
            line = f"{step.name:42}" + "".join(f"{np.nanmean(result.measures[m]):7.3f}" for m in ("precision@1", "mAP"))
            line += f"{result.means('precision@1').macro:7.3f}"
            line += f"  {gain(result, results[step.base]) if step.base in results else '':30}{followed(result):7.2f}"
            calibration, figures = cross_fitted(hits_of_result(result, opened.images, scores), opened.classes)
            line += f"{figures.error:7.3f}"
            moved = None
            if options.other is not None and step.moves:
                new, protocol = grown[step.made]
                moved = step.result(new, protocol)
                first = moved.measures["precision@1"]
                least = min(first[moved.labels == label].mean() for label in np.unique(moved.labels))
                error = measured([(calibration, hits_of_result(moved, new.images, scores))], new.classes).error
                line += f"{first.mean():12.3f}{moved.measures['mAP'].mean():7.3f}{least:7.3f}"
                line += f"{followed(moved):7.2f}{error:7.3f}"
            print(f"{line}  {spent}")
            print(f"    95 %: {intervals(result)}", end="" if moved else "\n", flush=True)
            if moved:
                print(f"; others {intervals(moved)}", flush=True)
        if STRANGE in extra:
            cost = Cost()
            print_strange(collections["field"], MULTI, options.strange)
            print(f"  {cost}", flush=True)
        if RERANKING in extra:
            time_reranking(collections["field"])
        if LEARNING in extra:
            time_learning(collections["field"])


class Cost:
    """Processor time, time and memory from its making to its printing (Linux)."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
        self._processor, self._wall = time.process_time(), time.perf_counter()

    def __str__(self) -> str:
        processor, wall = time.process_time() - self._processor, time.perf_counter() - self._wall
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return f"{processor:.1f} s of processor time, {wall:.1f} s in all, {int(line.split()[1]) // 1024:,} MiB"


def time_reranking(opened: Collection) -> None:
    """Print the median time of a query by image id, as it is and re-ranked, in the collection and in 8,000 mixtures."""
    space = f"{MULTI}-pca"
    vectors = opened.vectors(space)[1]
    labels = opened.images.labels[opened.positions(space)]
    mixed, of_class = Mixture(vectors, labels, vectors.shape[1]).block(8000, 0)
    with tempfile.TemporaryDirectory() as scratch:
        crowd = store_vectors(Path(scratch) / "mixed", {space: mixed}, [opened.classes[label] for label in of_class])
        for path in (opened.path, crowd):
            engine = retrieval.open(path)
            queries = np.random.default_rng(0).permutation(engine.collection.images.ids)[:22].tolist()
            for way in (None, *WAYS):
                times = []
                for query in queries:
                    began = time.perf_counter()
                    engine.search(query, 20, spaces=[space], rerank=way)
                    times.append(1e3 * (time.perf_counter() - began))
                took = median(times[1:])  # the first one warms up
                print(f"{RERANKING}, {len(engine):,} images, {way or 'none'}: {took:.1f} ms", flush=True)


def time_learning(opened: Collection) -> None:
    """Print how long the choice of a method, the fit and the vectors of 8,000 mixtures take."""
    labels = opened.images.labels[opened.positions(LAST)]
    vectors, of_class = Mixture(opened.vectors(LAST)[1], labels, 1280).block(8000, 0)
    rows = np.arange(len(vectors))
    training = TrainingSet(rows, of_class, rows, rows, (vectors,), np.random.default_rng(0).integers(0, 3, len(rows)))
    cost = Cost()
    model, chosen, _ = fit_chosen(training, rows, LearnOptions(AUTO, unmarked=True))
    model.transform([vectors])
    print(f"{LEARNING}: {chosen.method}, {cost} (asked: 90 s)")


def indexed(data: Path, path: Path, made: dict[str, Any]) -> Collection:
    """A collection of the last layer and of all blocks."""
    others = {name: value for name, value in made.items() if name not in ("fit", "features")}
    with open_dataset(data) as dataset, CollectionWriter(path, create=True) as writer:
        for features in made.get("features", ("last", "multi")):
            run_dataset(dataset, writer, fit=made["fit"], options=EncoderOptions(features=features, **others))
    return Collection.open(path)


def with_320_pixels(opened: Collection, data: Path, folder: Path) -> Collection:
    """The collection with the default encoder once more, by 320 pixels."""
    path = folder / JOINED
    if not path.exists():
        default = build_tower(DEFAULT)
        weights = folder / f"{JOINED}.safetensors"
        save_file(default.image_model.state_dict(), weights)
        seen = EncoderOptions(features="multi", size=(320, 320), mean=default.recipe.mean, std=default.recipe.std)
        with_encoder(opened, data, path, f"timm:{LAST}/{weights}", seen)
    return Collection.open(path)


def with_encoder(opened: Collection, data: Path, path: Path, spec: str, options: EncoderOptions) -> None:
    """Copy a collection and add the space of a second encoder."""
    shutil.copytree(opened.path, path)
    with open_dataset(data) as dataset, CollectionWriter(path) as writer:
        run_dataset(dataset, writer, encoders=[spec], fit="field", options=options)


def fine_tuned(opened: Collection, data: Path, folder: Path, minutes: float) -> Collection:
    """The collection with an encoder that was fine-tuned for so long on all folds but the first."""
    images = opened.images
    taught = k_fold(images.labels, images.clusters).rounds[0].gallery
    path = folder / TUNED
    if not path.exists():
        options = FinetuneOptions(minutes=minutes)
        definition = opened.manifest.space(MULTI)
        made = finetune(opened, definition, taught, options, folder / "unfinished", expected=print)
        spec = write_weights(folder / f"{TUNED}.safetensors", opened, made, {})
        print(f"fine-tuned: epoch {made.epoch} of {made.epochs}, {made.before} before, {made.after} after")
        with_encoder(opened, data, path, spec, EncoderOptions(features="multi"))
    return Collection.open(path)


def scores(distances: NDArray[np.floating]) -> NDArray[np.floating]:
    """Cosine similarity, or the score after re-ranking, but for a constant."""
    return 1 - distances


def followed(result: SpaceResult) -> float:
    """The share of hits of the query's class that have its mark of the device, less the share in the class."""
    bias = result.mark_bias
    return bias.within - bias.within_chance if bias else float("nan")


def intervals(result: SpaceResult) -> str:
    """The 95 % intervals of the means of P@1 and mAP over queries, and of P@1 over classes."""
    values = np.column_stack([result.measures[name][result.scored] for name in ("precision@1", "mAP")])
    labels, clusters = result.labels[result.scored], result.clusters[result.scored]
    drawn = resampled_means(values, labels, clusters, len(result.class_names), SAMPLES, 0)
    ends = interval(np.column_stack([drawn.micro, drawn.macro[:, 0]]))
    return ", ".join(
        f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in zip(("P@1", "mAP", "macro P@1"), ends, strict=True)
    )


def gain(result: SpaceResult, base: SpaceResult) -> str:
    """The mean gain in mAP over the queries of the result, which its base has too, and its 95 % interval."""
    same = np.searchsorted(base.ids, result.ids)
    differences = (result.measures["mAP"] - base.measures["mAP"][same])[:, None]
    drawn = resampled_means(differences, result.labels, result.clusters, len(result.class_names), SAMPLES, 0).micro
    ((low, high),) = interval(drawn)
    return f"{differences.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
