"""Scenes of a collection: which clusters of near duplicates show one place in one examination.

Another angle or a second later makes another picture, so the alignment of near duplicates does not see it; but such
frames are no independent evidence either. A space proposes neighbours, file names propose frames of one video, and
local features decide. A scene is what links connect, with whole clusters; its id is the smallest image id in it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from indexer.near_duplicates import ClusterForest
from retrieval.collection import Collection, CollectionWriter, Images
from retrieval.collection.scene_rows import COUNTER
from retrieval.cores import available_cores
from retrieval.filters import among
from retrieval.search import Searcher

NEIGHBOURS = 30
"""How many nearest images of the default space are compared."""
_FRAMES = 3
"""How many frames before and after it, by the number in its file's name, are compared as well."""
_BLOCK = 256
"""Images after which what was found is stored, so that a stop loses no more."""
_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


@dataclass(frozen=True)
class Scene:
    """Images of one place in one examination, in order of their ids; clusters: of near duplicates, of each."""

    id: int
    ids: tuple[int, ...]
    files: tuple[str, ...]
    clusters: tuple[int, ...]

    def to_dict(self) -> dict[str, object]:
        """The scene as JSON."""
        images = [
            {"id": image_id, "file": file, "cluster": cluster}
            for image_id, file, cluster in zip(self.ids, self.files, self.clusters, strict=True)
        ]
        return {"scene": self.id, "images": images}


def scenes(collection: Collection) -> list[Scene]:
    """The scenes of more than one cluster, by id."""
    images = collection.images
    listed = []
    for number in np.unique(images.scenes[images.scenes != images.clusters]).tolist():
        places = np.flatnonzero(images.scenes == number)
        files = tuple(images.files[place] for place in places.tolist())
        listed.append(Scene(number, tuple(images.ids[places].tolist()), files, tuple(images.clusters[places].tolist())))
    return listed


def are_known(writer: CollectionWriter) -> bool:
    """Whether scenes have been looked for, so that additions are compared too."""
    return writer.counter(COUNTER) > 0


def update_scenes(
    writer: CollectionWriter,
    searcher: Searcher | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Compare the images that came since the last call with all others; returns how many those are.

    Images that were stored as vectors alone are skipped. searcher: a running one on the collection as it is now.
    on_progress: takes the images that were compared and all that are to be. Features lie in a file that is gone when
    this returns or is stopped; what was found is stored block by block.
    """
    from indexer.scenes.feature_file import FeatureFile  # OpenCV takes 60 ms to load
    from indexer.scenes.geometry import INLIERS, agreements

    searcher = searcher or Searcher(Collection.open(writer.path))
    images = searcher.collection.images
    new = np.arange(np.searchsorted(images.ids, writer.counter(COUNTER)), len(images))
    forest = ClusterForest(images, images.scenes)
    for place in np.flatnonzero((images.scene_rows >= 0) & (images.scene_rows != images.scenes)).tolist():
        # A near duplicate that was detected later has joined two scenes.
        for other in np.flatnonzero(images.scenes == images.scene_rows[place])[:1].tolist():
            forest.join(place, other)
    frames = _Frames(images, new)
    with (
        threadpool_limits(1),  # a BLAS that starts threads for each small product takes ten times as long
        FeatureFile(searcher) as features,
        ThreadPoolExecutor(available_cores(), "scenes") as pool,
    ):

        def linked(pairs: NDArray[np.int64]) -> list[tuple[int, int]]:
            """Those of the pairs of one image, the first, that show one place."""
            first, *others = (features.get(image_id) for image_id in images.ids[[*pairs[:1, 0], *pairs[:, 1]]].tolist())
            matches = agreements(first, others)
            return [(a, b) for (a, b), count in zip(pairs.tolist(), matches, strict=True) if count >= INLIERS]

        for start in range(0, len(new), _BLOCK):
            block = new[start : start + _BLOCK]
            pairs = np.array(sorted({*_neighbours(searcher, block), *frames.pairs(block)}), np.int64).reshape(-1, 2)
            pairs = pairs[images.with_pictures[pairs].all(axis=1)]
            pairs = pairs[images.clusters[pairs[:, 0]] != images.clusters[pairs[:, 1]]]
            groups = np.split(pairs, _starts(pairs)) if len(pairs) else []
            list(pool.map(features.complete, images.ids[np.unique(pairs)].tolist()))
            for link in chain.from_iterable(pool.map(linked, groups)):
                forest.join(*link)
            writer.set_scenes(_incomplete(images) | forest.members(), int(images.ids[block[-1]]) + 1)
            on_progress(start + len(block), len(new))
    return len(new)


def _starts(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of sorted pairs at which the first image is another one."""
    return np.flatnonzero(np.diff(pairs[:, 0])) + 1


def _incomplete(images: Images) -> dict[int, int]:
    """The scenes of images, by id, whose own row does not say it: they joined a cluster of a scene later."""
    known = np.isin(images.scenes, images.scenes[images.scene_rows >= 0])
    places = np.flatnonzero(known & (images.scene_rows != images.scenes))
    return dict(zip(images.ids[places].tolist(), images.scenes[places].tolist(), strict=True))


def _neighbours(searcher: Searcher, block: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of positions, the smaller first, of images of a block with their nearest ones in the default space."""
    collection = searcher.collection
    default = collection.manifest.default
    if default is None:
        return
    name = default.name
    ids = collection.images.ids
    queries = ids[block[among(block, collection.positions(name))]]
    if not len(queries):
        return
    index = searcher.index(name)
    _, near = index.search(
        collection.rows(name).take(queries), min(NEIGHBOURS, len(index)), without=list(queries[:, None])
    )
    pairs = np.stack([np.repeat(queries, (near >= 0).sum(axis=1)), near[near >= 0]], axis=1)
    yield from map(tuple, np.searchsorted(ids, np.sort(pairs, axis=1)).tolist())


class _Frames:
    """Images whose files are named alike but for a last number: frames of one video, or of nothing in common.

    Only folders and zips that a new image, by position, lies in are looked through.
    """

    def __init__(self, images: Images, new: NDArray[np.int64]) -> None:
        named: defaultdict[tuple[int, str, str], list[tuple[int, int]]] = defaultdict(list)
        self._of: dict[int, tuple[int, str, str]] = {}
        for place in np.flatnonzero(np.isin(images.sources, images.sources[new])).tolist():
            source, file = int(images.sources[place]), images.files[place]
            if (parts := _NUMBER.fullmatch(file[::-1])) is not None:
                after, number, before = (part[::-1] for part in parts.groups())
                self._of[place] = key = source, before, after
                named[key].append((int(number[-18:]), place))
        self._frames = {key: [place for _, place in sorted(members)] for key, members in named.items()}
        self._at = {place: at for members in self._frames.values() for at, place in enumerate(members)}

    def pairs(self, block: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
        """Pairs of positions, the smaller first, of images of a block with the frames around them."""
        for place in block.tolist():
            if place in self._of:
                at, frames = self._at[place], self._frames[self._of[place]]
                for other in frames[max(0, at - _FRAMES) : at + _FRAMES + 1]:
                    if other != place:
                        yield min(place, other), max(place, other)
