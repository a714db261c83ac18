"""Converted towers in fewer bits: bfloat16 where the processor has it, int8 calibrated on pictures.

bfloat16 is a way of running the same file, int8 another file. Both give vectors that are a little other than those of
single precision, so a space's recipe names the precision, and queries are encoded by the same.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.encoders.recipe import Precision, Recipe
from retrieval.encoders.runtime import MODEL, OpenVinoEncoder, logging_unchanged, openvino_runtime
from retrieval.errors import EncoderError

PRECISIONS = get_args(Precision)
AUTO = "auto"
LOSS = 0.003
"""mAP that `auto` gives away at most."""
_LAST = 9
"""Operations at a tower's end that stay in single precision: quantising the normalisation loses 9 points of P@1."""
_GAIN = 1.05
"""How much faster a precision must be to be taken."""
_ROUNDS = 3


class PrecisionError(EncoderError):
    """A precision that cannot be had here."""


@dataclass(frozen=True)
class Trial:
    """A precision, and the mAP among the sample.

    rate: pictures a second on all cores, from processor time: other work on the machine would decide otherwise.
    """

    precision: Precision
    rate: float
    quality: float

    def __str__(self) -> str:
        return f"{self.precision} {self.rate:.1f} pictures/s, mAP {self.quality:.4f}"


def has_bf16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor, rather than emulating it."""
    return "BF16" in openvino_runtime().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def has_nncf() -> bool:
    """Whether int8 is installed."""
    return importlib.util.find_spec("nncf") is not None


def quantise(directory: Path, into: Path, pictures: NDArray[np.uint8]) -> None:
    """Write the int8 form of a converted tower into another folder. pictures: (n, h, w, 3), to calibrate by.

    Raises PrecisionError.
    """
    if not has_nncf():
        raise PrecisionError("int8 needs the extra: pip install 'kvasir-retrieval[int8]'")
    openvino = openvino_runtime()
    model = openvino.Core().read_model(directory / MODEL)
    operations = [one for one in model.get_ordered_ops() if one.get_type_name() not in ("Constant", "Result")]
    inputs = [one for one in operations if one.get_type_name() == "Parameter"]
    first = [target.get_node() for one in inputs for target in one.output(0).get_target_inputs()]
    left = [one.get_friendly_name() for one in (*first, *operations[-_LAST:]) if one not in inputs]
    with (
        logging_unchanged(),
        redirect_stdout(StringIO()),
    ):  # where it would draw bars between the lines of a command, or of its JSON
        import nncf  # type: ignore[import-untyped,import-not-found,unused-ignore]

        nncf.set_log_level(logging.ERROR)
        quantised = nncf.quantize(
            model,
            nncf.Dataset(pictures[:, None]),
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(names=list(dict.fromkeys(left)), validate=False),
        )
    into.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantised, into / MODEL, compress_to_fp16=False)


def trials(
    directory: Path, recipe: Recipe, pictures: NDArray[np.uint8], labels: NDArray[np.integer], scratch: Path
) -> list[Trial]:
    """Every precision that can be had, measured on prepared pictures (n, h, w, 3) and their classes (n,).

    The int8 form is left in `scratch`.
    """
    folders: dict[Precision, Path] = {"f32": directory}
    if has_bf16():
        folders["bf16"] = directory
    if has_nncf():
        quantise(directory, scratch, pictures[::2])
        folders["int8"] = scratch
    encoders = {name: OpenVinoEncoder(folder, replace(recipe, precision=name)) for name, folder in folders.items()}
    qualities = {name: mean_average_precision(one.encode(pictures), labels) for name, one in encoders.items()}
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(_ROUNDS):  # in turns, since the speed of a shared machine drifts
        for name, one in encoders.items():
            start = time.process_time()
            one.encode(pictures[:64])
            rates[name].append(available_cores() * min(64, len(pictures)) / (time.process_time() - start))
    return [Trial(name, float(np.median(rates[name])), qualities[name]) for name in encoders]


def chosen(tried: Sequence[Trial]) -> Trial:
    """The fastest of those that keep the mAP of the first, f32, within LOSS, where it is faster by more than noise."""
    plain = tried[0]
    good = [one for one in tried if one.quality >= plain.quality - LOSS and one.rate >= _GAIN * plain.rate]
    return max(good, key=lambda one: one.rate, default=plain)


def mean_average_precision(vectors: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    """MAP of each vector (n, d) among the others by cosine, over those that share their class (n,) with another."""
    similar = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(similar, -np.inf)
    precisions = []
    for row, label in enumerate(labels):
        right = labels[np.argsort(-similar[row], kind="stable")[:-1]] == label
        if label >= 0 and right.any():
            ranks = np.flatnonzero(right) + 1
            precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return float(np.mean(precisions)) if precisions else 1.0


def scratch_folder() -> Any:
    """A temporary folder for an int8 form that may not be taken."""
    return tempfile.TemporaryDirectory(prefix="kvasir-int8-")


def emulated(precision: str) -> str | None:
    """What to say of a precision that this processor only emulates; None where there is nothing to say."""
    if precision == "bf16" and "openvino" in sys.modules and not has_bf16():
        return "this processor has no bfloat16, so bf16 is no faster than f32 here"
    return None
