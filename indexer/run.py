"""One run of the indexer: open what makes the vectors, bring the collection up to date, tell what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from indexer.datasets import Dataset
from indexer.duplicates import Cluster, clusters, update_clusters
from indexer.features import FeatureArchive, match
from indexer.gone import absence
from indexer.pipeline import Outcome, Spaces, index_dataset
from indexer.spaces import open_encoders, space_of
from retrieval.collection import Collection, CollectionWriter, SourceGoneError
from retrieval.encoders import Encoder, EncoderOptions, Fit
from retrieval.encoders.provenance import provenance
from retrieval.learn.completion import complete_learned_spaces
from retrieval.spaces.encoder import FITS

if TYPE_CHECKING:
    from indexer.described import Described

_AS_NAMED = EncoderOptions()

Say = Callable[[str], None]
"""Takes one line for a person."""


NOTHING_DONE = 2
"""Exit status of a run in which no picture could be used."""


@dataclass(frozen=True)
class Copy:
    """An added image with the very bytes of an earlier image, of another place or class."""

    id: int
    file: str
    copy_of: int
    copy_of_file: str


@dataclass
class Run:
    """A finished run of the indexer.

    computes: whether descriptors that are not shipped are computed. whole: the data set was all of its source, not a
    choice of files. copies: added images whose originals are still there. moved: those whose originals are no longer
    where they were indexed, so that the copy is the one to keep; moved_from: how many of these originals lay in each
    folder or zip that cannot be opened any more.
    """

    collection: Path
    dataset: Dataset
    outcome: Outcome
    seconds: float
    spaces: list[str]
    feature_faults: list[tuple[str, str]] = field(default_factory=list)
    computes: bool = False
    without_features: list[str] = field(default_factory=list)
    without_image: list[str] = field(default_factory=list)
    whole: bool = False
    clusters: list[Cluster] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    moved: list[Copy] = field(default_factory=list)
    moved_from: Counter[Path] = field(default_factory=Counter)

    @property
    def exit_status(self) -> int:
        """0 all well, 1 done but some inputs were bad, 2 nothing done."""
        outcome = self.outcome
        if not outcome.rejected and not self.feature_faults:
            return 0
        return 1 if outcome.added + outcome.completed + outcome.unchanged else NOTHING_DONE

    def to_json(self) -> dict[str, Any]:
        """The run as plain values."""
        return {
            "collection": str(self.collection),
            "dataset": {"name": self.dataset.name, "source": str(self.dataset.source)} | self.dataset.report.to_dict(),
            "spaces": self.spaces,
            "added": self.outcome.added,
            "replaced": self.outcome.replaced,
            "completed": self.outcome.completed,
            "unchanged": self.outcome.unchanged,
            "rejected": [{"file": file, "reason": reason} for file, reason in self.outcome.rejected],
            "bad_features": [{"file": file, "reason": reason} for file, reason in self.feature_faults],
            "without_features": self.without_features,
            "features_without_image": self.without_image,
            "copies": [asdict(copy) for copy in self.copies],
            "moved": [asdict(copy) for copy in self.moved],
            "duplicates": {
                "clusters": len(self.clusters),
                "spanning_classes": sum(cluster.spans_classes for cluster in self.clusters),
            },
            "seconds": round(self.seconds, 3),
        }


def run_dataset(
    dataset: Dataset,
    writer: CollectionWriter,
    archive: FeatureArchive | None = None,
    encoders: tuple[str, ...] = (),
    descriptors: str | None = None,
    fit: str | None = None,
    *,
    options: EncoderOptions = _AS_NAMED,
    again: Mapping[int, frozenset[str]] | None = None,
    broken: dict[str, str] | None = None,
    say: Say = lambda line: None,
    on_progress: Callable[[Outcome], None] | None = None,
) -> Run:
    """Index an opened data set by an open writer.

    archive: shipped features. encoders: specs of further encoders. descriptors: names of descriptors to compute, or
    `all`. fit: how frames meet a new encoder's input. options: what the specs of new encoders do not say. again: stored
    images to describe anew, see `index_dataset`. broken: where it is given, encoders that cannot be loaded are noted
    there and left out, see `open_encoders`.
    Raises what opening an encoder or reading an archive raises.
    """
    start = time.perf_counter()
    chosen_fit: Fit | None = next((f for f in get_args(Fit) if f == fit), None)
    computes = archive is None and bool(descriptors)
    # First, so that a new collection's first space is an encoder's.
    ready = _encoders(writer, encoders, chosen_fit, computes, broken, say, options)
    described = _described(dataset, writer, archive, descriptors, say)
    spaces = Spaces(ready)
    if described is not None:
        spaces = Spaces(ready, described.spaces, described, described.compute, described.describable)
    run = Run(writer.path, dataset, Outcome(), 0.0, [*ready, *spaces.descriptors])
    first = writer.counter("next image")
    run.outcome = index_dataset(dataset, writer, spaces, on_progress, again)
    # Some reasons begin with the file, which stands beside them here.
    run.outcome.rejected = [(file, reason.removeprefix(f"{file}: ")) for file, reason in run.outcome.rejected]
    complete_learned_spaces(writer)
    update_clusters(writer)
    held = Collection.open(writer.path)
    run.clusters = clusters(held)
    for new, old in writer.copies(first):
        why = absence(held, old)
        repeats = run.moved if why else run.copies
        repeats.append(Copy(new, held.file_of(new), old, held.file_of(old)))
        if isinstance(why, SourceGoneError):
            run.moved_from[held.source_of(old)] += 1
    run.seconds = time.perf_counter() - start
    if described is not None:
        run.feature_faults, run.computes = described.faults, described.compute
    if archive is not None:
        paired = match(dataset.items, archive)
        run.without_features = [item.file for item in paired.without_features]
        run.without_image = ["/".join(filter(None, key)) for key in paired.without_image]
    return run


def _encoders(
    writer: CollectionWriter,
    specs: tuple[str, ...],
    fit: Fit | None,
    full_size: bool,
    broken: dict[str, str] | None,
    say: Say,
    options: EncoderOptions,
) -> dict[str, Encoder]:
    if any(space_of(writer, spec) is None for spec in specs) or not (specs or writer.manifest.spaces):
        say("loading the encoder's weights and converting it, once for this collection …")
    ready = open_encoders(writer, specs, fit, full_size, broken, options)
    for name, encoder in ready.items():
        recipe = encoder.recipe
        width, height = recipe.size
        say(f"space {name}: {recipe.spec}, {recipe.dimension} numbers, frames {FITS[recipe.fit]} {width}x{height}")
        for phrase in provenance(recipe):
            say(f"  {phrase}")
    return ready


def _described(
    dataset: Dataset, writer: CollectionWriter, archive: FeatureArchive | None, descriptors: str | None, say: Say
) -> Described | None:
    stored = any(space.kind == "descriptor" for space in writer.manifest.spaces)
    if archive is None and not descriptors and not stored:
        return None
    from indexer.described import descriptor_names, open_described
    from retrieval.descriptors import warm_up

    names = descriptor_names(descriptors)
    warm_up()
    described, notes = open_described(writer, dataset, archive, names)
    for note in notes:
        say(note)
    if described is not None:
        say(f"spaces {', '.join(described.spaces)}: LIRE's descriptors, variant '{described.variant}'")
    return described
