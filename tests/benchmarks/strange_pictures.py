"""How well pictures that are like nothing in a collection are told from its own, for the ledger of quality."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.datasets import open_dataset
from indexer.datasets.labels import map_to_collection
from retrieval.collection import Collection
from retrieval.errors import RetrievalError
from retrieval.images import Picture, decode
from retrieval.learn.novelty import cross_scores, fit_detector
from retrieval.spaces import Space, open_space

BUNDLED = (("skimage", "data"), ("sklearn", "datasets/images"), ("matplotlib", "mpl-data/sample_data"))
"""Packages whose files have photographs and drawings."""
ENDINGS = (".png", ".jpg", ".gif")
QUARTERS = tuple((x, y, 0.5, 0.5) for x in (0, 0.5) for y in (0, 0.5))


def print_strange(opened: Collection, name: str, folders: list[Path]) -> None:
    """Print the AUROC of both scores, of the space `name`, and the rates of both levels, for each set of pictures.

    The negatives are the collection's own pictures, each judged by the other folds. Sets: photographs and drawings of
    installed packages, with their quarters, and of each folder the findings that the collection has and those that it
    lacks.
    """
    space = open_space(opened.path, opened.manifest.space(name), "indexing")
    images, positions = opened.images, opened.positions(name)
    given = opened.vectors(name)[1], images.labels[positions], images.scenes[positions]
    detector, own = fit_detector(name, *given), cross_scores(*given)
    sets: dict[str, list[NDArray[Any]]] = {"photographs and drawings, their quarters": list(bundled(space))}
    for folder in folders:
        with open_dataset(folder, class_map=map_to_collection(None, opened.classes)) as dataset:
            for item in dataset.items:
                finding = "known" if item.class_name in opened.classes else "other"
                made = sets.setdefault(f"{finding} findings of {folder.name}", [])
                made += prepared(space, dataset.read(item))
    print(f"{'strange pictures':50}{'number':>7}{'AUROC: kind':>13}{'hint':>7}{'told: kind':>13}{'hint':>7}")
    for of, made in sets.items():
        vectors = space.embed(made)
        foreign, unlike = (auroc(*both) for both in zip(detector.scores(vectors), own, strict=True))
        rates = detector.rates_of(vectors)
        print(
            f"{of:50}{len(made):7}{foreign:13.4f}{unlike:7.3f}{rates['foreign']:13.1%}{rates['unlike']:7.1%}",
            flush=True,
        )


def bundled(space: Space) -> Iterator[NDArray[Any]]:
    """The pictures of installed packages and their quarters, as the space's `embed` takes them."""
    for package, folder in BUNDLED:
        for path in sorted(Path(str(files(package) / folder)).iterdir()):
            if path.suffix in ENDINGS:
                yield from prepared(space, path.read_bytes(), QUARTERS)


def prepared(
    space: Space, data: bytes, regions: tuple[tuple[float, float, float, float], ...] = ()
) -> list[NDArray[Any]]:
    """A picture and regions of it; nothing where it cannot be read."""
    try:
        picture: Picture = decode(data, draft=space.draft)
        return [space.prepare(part) for part in (picture, *map(picture.crop, regions))]
    except RetrievalError:
        return []


def auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """The chance that a positive score is above a negative one, ties counting half (Mann and Whitney, 1947)."""
    ordered = np.sort(negative)
    below, not_above = (np.searchsorted(ordered, positive, side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(ordered))
