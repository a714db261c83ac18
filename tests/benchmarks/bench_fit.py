"""How a frame that is wider than high should meet a square encoder: squash, pad or crop, measured by retrieval.

    python tests/benchmarks/bench_fit.py DATA [SPEC]

DATA is a folder or zip of class folders; every picture queries all the others.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np

from indexer.datasets import open_dataset
from indexer.pipeline import index_dataset
from retrieval.collection import Collection, CollectionWriter
from retrieval.encoders import DEFAULT, Fit, build_tower, convert
from retrieval.evaluation import SpaceRetriever, evaluate_retriever
from retrieval.index import Cosine
from retrieval.spaces import open_space


def main() -> None:
    data, spec = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else DEFAULT
    measures = ("mAP", "R-precision", "precision@1", "precision@5", "precision@10")
    with open_dataset(data) as dataset, tempfile.TemporaryDirectory() as scratch:
        with CollectionWriter(Path(scratch) / "collection", create=True) as writer:
            for fit in get_args(Fit):
                tower = build_tower(spec, fit)
                recipe = tower.recipe.to_dict() | {"converted": convert(tower, Path(scratch) / fit)}
                writer.adopt_tower(fit, Path(scratch) / fit)
                writer.add_space(fit, "encoder", tower.recipe.dimension, Cosine.name, recipe)
            spaces = [open_space(writer.path, definition, "indexing") for definition in writer.manifest.spaces]
            index_dataset(dataset, writer, spaces)
        collection = Collection.open(Path(scratch) / "collection")
        shapes = Counter(
            "wider" if w > h else "higher" if h > w else "square" for w, h in collection.images.sizes.tolist()
        )
        print(f"{dataset.name}: {len(collection)} pictures ({dict(shapes)}), {spec}, leave-one-out")
        print(
            f"{'':8}"
            + "".join(f"{name:>24}" for name in measures)
            + "\n"
            + f"{'':8}"
            + f"{'micro    macro':>24}" * len(measures)
        )
        for fit in get_args(Fit):
            ids, vectors = collection.vectors(fit)
            labels = collection.images.labels[collection.positions(fit)]
            result = evaluate_retriever(
                SpaceRetriever(vectors, Cosine()), labels, collection.classes, ids=ids, space=fit
            )
            row = f"{fit:8}"
            for name in measures:
                values = result.measures[name]
                micro = float(np.nanmean(values))
                macro = np.mean([np.nanmean(values[result.labels == label]) for label in np.unique(result.labels)])
                row += f"{micro:>15.4f}{macro:>9.4f}"
            print(row)


if __name__ == "__main__":
    main()
