"""Images per second of `kvasir index`, beside the encoder alone and beside a plain loop, or by precision.

    python tests/benchmarks/bench_index.py DATA [FEATURES] [--precisions f32,bf16,auto] [--rounds 5] [--scratch DIR]

Times begin when the encoder is loaded: with 8,000 pictures what comes before is a two-hundredth of the whole. The run
also looks for near duplicates at its end, which the last ratio includes.
The three are timed in turns, several rounds, and the medians of the rounds' ratios are what to quote: the speed of a
shared machine drifts from minute to minute. With --precisions whole runs in each precision are timed in turns instead,
statistics of stages with their components and near duplicates included; choosing and converting come before, once, and
are told apart. The collections stay in DIR for bench_serve.py.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import timm
import torch
from PIL import Image

from indexer.datasets import Dataset, open_dataset
from indexer.features import FeatureArchive, open_features
from indexer.run import run_dataset
from retrieval.collection import Collection, CollectionWriter
from retrieval.encoders import DEFAULT, EncoderOptions, build_tower
from retrieval.images import decode
from retrieval.spaces.encoder import load_encoder

PLAIN = 64
"""Pictures that the plain loop is timed on; it is slow and its time grows evenly."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("features", type=Path, nargs="?")
    parser.add_argument("--precisions", help="such as f32,bf16,int8,auto; the first is what others are compared with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/bench-index"))
    options = parser.parse_args()
    features = None if options.features is None else open_features(options.features)
    with open_dataset(options.data) as dataset:
        if options.precisions is None:
            beside_others(dataset, features, options.rounds)
        else:
            by_precision(dataset, features, options.precisions.split(","), options.rounds, options.scratch)


def by_precision(
    dataset: Dataset, features: FeatureArchive | None, precisions: Sequence[str], rounds: int, scratch: Path
) -> None:
    """Whole runs in each precision, in turns."""
    for precision in precisions:
        if not (scratch / precision).exists():
            with CollectionWriter(scratch / precision, create=True) as writer:
                reports: list[float] = []
                start = time.perf_counter()
                run_dataset(
                    dataset,
                    writer,
                    features,
                    options=EncoderOptions(features="auto"),
                    precision=precision,
                    say=print,
                    on_progress=lambda outcome, reports=reports: reports.append(time.perf_counter()),
                )
                print(f"{precision}: {reports[0] - start:.1f} s to convert, to choose and to load, once")
    taken: dict[str, list[float]] = {precision: [] for precision in precisions}
    for _ in range(rounds):
        for precision in precisions:
            with CollectionWriter(scratch / precision) as writer:
                writer.remove(Collection.open(scratch / precision).images.ids.tolist())
                for space in writer.manifest.spaces:
                    if space.replaces:
                        writer.withdraw_space(space.name)
                taken[precision].append(rates(dataset, writer, features)[1])
        print("pictures a second: " + ", ".join(f"{name} {each[-1]:.1f}" for name, each in taken.items()), flush=True)
    for precision, each in taken.items():
        ratios = [rate / first for rate, first in zip(each, taken[precisions[0]], strict=True)]
        print(
            f"{precision}: {statistics.median(each):.1f} a second, {statistics.median(ratios):.2f} of {precisions[0]}"
        )


def beside_others(dataset: Dataset, features: FeatureArchive | None, rounds: int) -> None:
    """Indexing, the encoder alone and a plain loop, in turns."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        template = Path(scratch) / "template"
        with CollectionWriter(template, create=True) as writer:  # converts the encoder, which is not what is timed
            run_dataset(first(dataset, 1), writer, features)
        space = Collection.open(template).spaces[0]
        encoder = load_encoder(template, space)
        data = [dataset.read(item) for item in dataset.items[:: max(1, len(dataset.items) // 512)]][:512]
        prepared = np.stack([encoder.recipe.prepare(decode(d, draft=encoder.recipe.draft)) for d in data])
        encoder.encode(prepared[:16])
        print(f"{len(dataset.items)} pictures, encoder {DEFAULT}, {'with' if features else 'without'} shipped features")
        for number in range(rounds):
            alone = len(prepared) / timed(lambda: encoder.encode(prepared))
            with CollectionWriter(template) as writer:
                writer.remove(Collection.open(template).images.ids.tolist())
                indexing, whole = rates(dataset, writer, features)
            loop = PLAIN / timed(lambda: plain_loop(data[:PLAIN]))
            rows.append((indexing, alone, loop, whole))
            print(
                f"round {number + 1}, pictures a second: kvasir index {indexing:.1f}, encoder alone {alone:.1f}, "
                f"plain loop {loop:.1f}; ratios {indexing / alone:.2f} and {indexing / loop:.1f}, "
                f"with the search for duplicates {whole / alone:.2f}"
            )
    print(f"kvasir index / encoder alone: {statistics.median(r[0] / r[1] for r in rows):.2f}  (to reach: 0.85)")
    print(f"  near duplicates included:   {statistics.median(r[3] / r[1] for r in rows):.2f}")
    print(f"kvasir index / plain loop:    {statistics.median(r[0] / r[2] for r in rows):.1f}  (to reach: 3)")


def first(dataset: Dataset, count: int) -> Dataset:
    """The same data set with its first pictures only."""
    from dataclasses import replace

    return replace(dataset, items=dataset.items[:count])


def rates(dataset: Dataset, writer: CollectionWriter, features: FeatureArchive | None) -> tuple[float, float]:
    """Pictures a second from the first report, when everything is loaded, to the last and to the run's end."""
    times = []
    run_dataset(dataset, writer, features, on_progress=lambda outcome: times.append(time.perf_counter()))
    end = time.perf_counter()
    return len(dataset.items) / (times[-1] - times[0]), len(dataset.items) / (end - times[0])


def timed(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


_tower = build_tower(DEFAULT)


def plain_loop(data: list[bytes]) -> None:
    """What one writes first: Pillow, timm's own transform, eager PyTorch, one `add` a picture."""
    model = _tower.image_model
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    index = faiss.IndexFlatIP(_tower.recipe.dimension)
    with torch.inference_mode():
        for picture in data:
            pixels = transform(Image.open(io.BytesIO(picture)).convert("RGB"))
            embedding = torch.nn.functional.normalize(model(pixels[None]), dim=-1)
            index.add(embedding.numpy())


if __name__ == "__main__":
    main()
