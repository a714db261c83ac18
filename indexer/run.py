"""One run of the indexer: add and open the spaces, bring the collection up to date, report the result."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from indexer.datasets import Dataset
from indexer.descriptor_spaces import ShippedFeatures, add_descriptor_spaces, descriptor_names
from indexer.features import FeatureArchive, match
from indexer.missing import missing_picture
from indexer.near_duplicates import Cluster, clusters, update_clusters
from indexer.pipeline import Machines, Outcome, index_dataset
from indexer.scenes import are_known, update_scenes
from retrieval.collection import Collection, CollectionWriter, SourceGoneError, SpaceDefinition
from retrieval.encoders import DEFAULT, EncoderOptions, Fit
from retrieval.errors import EncoderError
from retrieval.large_pictures import RUN_PIXELS, LargePictures
from retrieval.learn.completion import complete_derived_spaces
from retrieval.learn.components import add_component_spaces
from retrieval.search import Searcher
from retrieval.spaces import Space, UnsupportedQueryError, create_space, encoder, open_space

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


@dataclass(frozen=True)
class NewImage:
    """An added image, and the first image of its cluster where that was stored before it.

    exact: whether it has the very bytes of that one; otherwise it shows the same picture, such as a crop.
    """

    id: int
    file: str
    class_name: str | None
    same_as: int | None = None
    same_as_file: str | None = None
    exact: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The image as plain values; `copy_of` or `near_duplicate_of` only where there is one."""
        fields: dict[str, Any] = {"id": self.id, "file": self.file, "class": self.class_name}
        if self.same_as is not None:
            fields["copy_of" if self.exact else "near_duplicate_of"] = {"id": self.same_as, "file": self.same_as_file}
        return fields


@dataclass
class IndexingResult:
    """Result of one run of the indexer.

    computes: whether descriptors that are not shipped are computed. whole: the data set is all of its source, not a
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
    new_images: list[NewImage] = field(default_factory=list)
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

    def to_dict(self, *, list_images: bool = False) -> dict[str, Any]:
        """The run as plain values. list_images: with every new image."""
        images = {"images": [image.to_dict() for image in self.new_images]} if list_images else {}
        return images | {
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
    encoders: Sequence[str] = (),
    descriptors: str | None = None,
    fit: str | None = None,
    *,
    options: EncoderOptions = _AS_NAMED,
    precision: str = "f32",
    spaces: Sequence[str] = (),
    whole: bool = False,
    again: Mapping[int, frozenset[str]] | None = None,
    broken: dict[str, str] | None = None,
    say: Say = lambda line: None,
    on_progress: Callable[[Outcome], None] | None = None,
    machines: Machines | None = None,
) -> IndexingResult:
    """Index an opened data set by an open writer, in the collection's spaces and in new ones.

    archive: shipped features. encoders: specs of encoders. descriptors: names of descriptors to compute, or `all`.
    fit: how frames meet a new encoder's input. options: what the specs of new encoders do not say. precision: of new
    encoders, see `indexer.precision`. spaces: further spaces, each as KIND:SPEC. A collection without a space gets the
    default encoder's unless `encoders` or `spaces` says otherwise. whole, again, machines: see `index_dataset`. broken:
    where it is given, spaces whose encoder cannot be loaded are noted there, with the reason, and left out.

    Raises what creating a space or reading an archive raises.
    """
    start = time.perf_counter()
    # First, so that a new collection's first space is an encoder's.
    chosen_fit: Fit | None = next((name for name in get_args(Fit) if name == fit), None)
    full_size = archive is None and bool(descriptors)
    named = _add_encoders(writer, encoders, chosen_fit, full_size, bool(spaces), say, options)
    if precision != "f32":
        from indexer.precision import set_precision

        for definition in named:
            set_precision(writer, definition, dataset, precision, say)
    for text in spaces:
        create_space(writer, text)
    shipped = _add_descriptors(dataset, writer, archive, descriptors, say)
    opened = _open_spaces(writer, broken, say)
    result = IndexingResult(writer.path, dataset, Outcome(), 0.0, [space.name for space in opened], whole=whole)
    first = writer.counter("next image")
    large = LargePictures(least_pixels=RUN_PIXELS)
    try:
        result.outcome = index_dataset(
            dataset,
            writer,
            opened,
            shipped=shipped,
            whole=whole,
            again=again,
            on_progress=on_progress,
            large=large,
            machines=machines,
        )
    finally:
        large.stop()
    # Some reasons begin with the file, which is listed with them.
    result.outcome.rejected = [(file, reason.removeprefix(f"{file}: ")) for file, reason in result.outcome.rejected]
    complete_derived_spaces(writer)
    for made in add_component_spaces(writer):
        say(f"space {made.name}: {made.dimension} principal components, searched in place of {made.replaces}")
    searcher = Searcher(Collection.open(writer.path))
    update_clusters(writer, searcher)
    if are_known(writer):
        update_scenes(writer, searcher.refreshed())
    collection, _ = searcher.collection.refreshed()  # reads again what the clusters changed alone
    result.clusters = clusters(collection)
    copies = writer.copies(first)
    result.new_images = _new_images(collection, result.outcome.new_images, dict(copies))
    for new, old in copies:
        why = missing_picture(collection, old)
        repeats = result.moved if why else result.copies
        repeats.append(Copy(new, collection.file_of(new), old, collection.file_of(old)))
        if isinstance(why, SourceGoneError):
            result.moved_from[collection.source_of(old)] += 1
    result.seconds = time.perf_counter() - start
    if shipped is not None:
        result.feature_faults, result.computes = shipped.faults, not shipped.required
    if archive is not None:
        paired = match(dataset.items, archive)
        result.without_features = [item.file for item in paired.without_features]
        result.without_image = ["/".join(filter(None, key)) for key in paired.without_image]
    return result


def _new_images(collection: Collection, added: Sequence[tuple[int, str]], copies: Mapping[int, int]) -> list[NewImage]:
    """Added images (id, file), with what each shows again. copies: by id the first image of the same bytes."""
    images = []
    for image_id, file in added:
        position = collection.images.position(image_id)
        if position is None:  # the run itself replaced it
            continue
        first = copies.get(image_id)
        if first is None:
            first = int(collection.images.ids_of_cluster(int(collection.images.clusters[position]))[0])
        same = first if first < image_id else None
        same_file = None if same is None else collection.file_of(same)
        images.append(NewImage(image_id, file, collection.class_of(image_id), same, same_file, image_id in copies))
    return images


def _add_encoders(
    writer: CollectionWriter,
    specs: Sequence[str],
    fit: Fit | None,
    full_size: bool,
    others: bool,
    say: Say,
    options: EncoderOptions,
) -> list[SpaceDefinition]:
    """Add the spaces of new encoders, and return those that were named.

    full_size: descriptors need pictures at full size anyway. others: further spaces.
    Raises EncoderFitError, WeightsChangedError and what building an encoder raises.
    """
    manifest = writer.manifest
    default = options.features == "multi" or not (manifest.spaces or others)
    made = []
    for spec in specs or ([DEFAULT] if default else []):
        if encoder.definition_of(manifest, spec, options.features) is None:
            say(f"loading the weights of {spec} and converting them, once for this collection …")
        made.append(encoder.create(writer, spec, fit, full_size, options))
    if not specs:
        encoder.require_all(manifest, fit, EncoderOptions(marks=options.marks, components=options.components))
    return made


def _add_descriptors(
    dataset: Dataset, writer: CollectionWriter, archive: FeatureArchive | None, descriptors: str | None, say: Say
) -> ShippedFeatures | None:
    """Add the spaces of new descriptors and of an archive, whose vectors are returned."""
    names = descriptor_names(descriptors)
    shipped, notes = add_descriptor_spaces(writer, dataset, archive, names)
    for note in notes:
        say(note)
    return shipped


def _open_spaces(writer: CollectionWriter, broken: dict[str, str] | None, say: Say) -> list[Space]:
    """The spaces that see pictures, loaded; those that cannot be are noted in `broken`, if given, and left out."""
    opened: list[Space] = []
    summaries: defaultdict[str, list[str]] = defaultdict(list)
    for definition in writer.manifest.spaces:
        space = open_space(writer.path, definition, "indexing")
        if space.derived or not space.embeds_pictures:
            continue
        try:
            space.warm_up()
        except EncoderError as error:
            if broken is None:
                raise
            broken.setdefault(definition.name, str(error))
            continue
        opened.append(space)
        summaries[space.summary].append(space.name)
    if not opened and not broken:
        raise UnsupportedQueryError(
            f"no space of {writer.path} has an encoder, so no picture can be added; give one by `kvasir index DATA "
            f"{writer.path} --encoder SPEC`, or further vectors by --vectors"
        )
    for summary, names in summaries.items():
        say(f"space{'s' if len(names) > 1 else ''} {', '.join(names)}: {summary}")
    return opened
