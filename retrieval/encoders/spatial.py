"""The spatial features of a converted encoder: what each cell of a picture gives to its embedding.

The converted tower is read once more with the maps before its pooling as further outputs, so that one pass gives the
embedding and the maps. An embedding with other features in some cells is then pooled from the maps, without another
pass. For mean pooling and the statistics of stages that is exact; for a class token, which attention pools, the mean of
the patch tokens stands in (C. Zhou et al., "Extract free dense labels from CLIP", ECCV 2022, use them so).
"""

from __future__ import annotations

import math
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.encoders.recipe import Recipe
from retrieval.encoders.runtime import MODEL, openvino_runtime
from retrieval.errors import QueryError

Floats = NDArray[np.float32]

MOST_CELLS = 16
"""Cells along a side; finer maps are summed to fewer."""
_STATISTICS_CELLS = 14
_LINEAR = {"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Convert"}
"""Operations between pooling and embedding that change no value."""
_HEAD = {"MVN", "Add", "Multiply", "MatMul", "Subtract", "Divide"}
"""Operations that a head may have: a normalisation, a projection."""
_MOST_STREAMS = 4
"""Pictures that run at the same time."""
_LEAST_SHUFFLED = 64
"""Weights that are shuffled have at least that many numbers; fewer are the picture's mean and deviation."""

Pooling = Literal["statistics", "mean", "token"]


class NoSpatialFeaturesError(QueryError):
    """An encoder gives no features of places, so no agreement of places can be shown."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One picture: its embedding (d,) float32 of unit length, and its maps, each (c, h, w) float32."""

    vector: Floats
    maps: tuple[Floats, ...]


class SpatialTower:
    """A converted tower with its maps. Safe to call from several threads.

    shuffled: a seed by which the weights of each layer are permuted, for the test by a randomised model (J. Adebayo et
    al., "Sanity checks for saliency maps", NeurIPS 2018). Raises NoSpatialFeaturesError.
    """

    def __init__(self, directory: Path, recipe: Recipe, shuffled: int | None = None) -> None:
        openvino = openvino_runtime()
        model = openvino.Core().read_model(directory / MODEL)
        if shuffled is not None:
            _shuffle(openvino, model, shuffled)
        self.recipe = recipe
        embedded = _source(model.get_results()[0], 0)
        if embedded.get_type_name() != "Divide":
            raise NoSpatialFeaturesError(f"{recipe.spec}: the last step of its converted form is not a division")
        raw = _source(embedded, 0)
        self.pooling: Pooling
        self._head: Any = None
        if recipe.features == "multi":
            self.pooling, outputs = "statistics", _stage_maps(raw, recipe)
        else:
            self.pooling, pool, with_head = _pooling(raw, recipe)
            outputs = [pool.input(0).get_source_output()]
            self._axes = _axes(pool)
            if with_head:
                self._head = _head_model(
                    openvino, directory, pool.get_friendly_name(), raw.get_friendly_name(), shuffled
                )
        model.add_outputs(outputs)
        cores = available_cores()
        streams = min(cores, _MOST_STREAMS)  # a picture on each core takes less time than each picture on all of them
        settings = {
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "bf16" if recipe.precision == "bf16" else "f32",
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())
        self._outputs = len(outputs)
        self._in_head = Lock()
        width, height = recipe.size
        shapes = [of_stage.shape[1:] for of_stage in self.encode(np.zeros((height, width, 3), np.uint8)).maps]
        if self.pooling == "statistics":
            self.grid = min(max(shapes), (_STATISTICS_CELLS, _STATISTICS_CELLS))
        else:
            self.grid = min(shapes[0][0], MOST_CELLS), min(shapes[0][1], MOST_CELLS)

    def encode(self, picture: NDArray[np.uint8]) -> Encoded:
        """The embedding and the maps of a prepared picture (h, w, 3)."""
        request = self._free.get()
        try:
            request.infer({0: picture[None]})
            embedding, *maps = (
                np.array(request.get_output_tensor(at).data[0], np.float32) for at in range(self._outputs + 1)
            )
        finally:
            self._free.put(request)
        return Encoded(embedding, tuple(map(self._as_map, maps)))

    def encode_all(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Encoded]:
        """The same of several pictures, as many at a time as there are cores, up to four."""
        with ThreadPoolExecutor(_MOST_STREAMS) as pool:
            return list(pool.map(self.encode, pictures))

    def replaced(
        self, picture: Encoded, other: Encoded, rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Embeddings (r * s, d) of a picture, each with shares of the cells' features from another one.

        rows: (r, rows of cells), columns: (s, columns of cells); their products are the shares.
        """
        blocks = []
        for own, new in zip(picture.maps, other.maps, strict=True):
            count = own.shape[1] * own.shape[2]
            mean = (own.sum(axis=(1, 2), dtype=np.float64) + self._by_cell(new - own, rows, columns)) / count
            if self.pooling != "statistics":
                blocks.append(mean)
                continue
            changed = self._by_cell(new * new - own * own, rows, columns)
            square = ((own * own).sum(axis=(1, 2), dtype=np.float64) + changed) / count
            deviation = np.sqrt(np.maximum(square - mean * mean, 0) + 1e-12)
            blocks.append(_unit(np.concatenate([mean, deviation], axis=1)))
        pooled = np.concatenate(blocks, axis=1)
        embedded = pooled if self._head is None else self._through_head(pooled)
        if self.pooling == "token":  # the class token with the change of the mean of the patch tokens
            before = picture.maps[0].mean(axis=(1, 2), dtype=np.float64)[None]
            before = before if self._head is None else self._through_head(before)
            return _unit(picture.vector + _unit(embedded) - _unit(before))
        return _unit(embedded)

    def cells(self, picture: Encoded) -> NDArray[np.float64]:
        """Features (rows, columns, c) of the cells; the maps side by side, each of the same length on average."""
        parts = []
        for own in picture.maps:
            area = own.shape[1] * own.shape[2] / math.prod(self.grid)
            means = self._by_cell(own) / area
            parts.append(means / max(float(np.sqrt((means**2).sum(axis=1).mean())), 1e-12))
        return np.concatenate(parts, axis=1).reshape(*self.grid, -1)

    def _as_map(self, output: Floats) -> Floats:
        """An output as (c, h, w): maps of either layout, or tokens (n, c), whose last ones are the patches."""
        if self.pooling == "statistics" or (output.ndim == 3 and self._axes in ((2, 3), (-2, -1))):
            return output
        if output.ndim == 3:
            return np.ascontiguousarray(output.transpose(2, 0, 1))
        side = math.isqrt(len(output))
        return np.ascontiguousarray(output[len(output) - side * side :].reshape(side, side, -1).transpose(2, 0, 1))

    def _by_cell(
        self, values: Floats, rows: NDArray[np.float64] | None = None, columns: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Sums of a map (c, h, w) over each cell, (cells, c), or over shares of the cells, see `replaced`."""
        of_rows, of_columns = _overlaps(values.shape[1], self.grid[0]), _overlaps(values.shape[2], self.grid[1])
        if rows is not None and columns is not None:
            of_rows, of_columns = (rows @ of_rows).astype(np.float32), (columns @ of_columns).astype(np.float32)
        summed = np.matmul(np.matmul(of_rows, values), of_columns.T)
        by_cell: NDArray[np.float64] = summed.reshape(len(values), -1).T.astype(np.float64)
        return by_cell

    def _through_head(self, pooled: NDArray[np.float64]) -> NDArray[np.float64]:
        request, shape = self._head
        out = []
        with self._in_head:
            for row in pooled:
                request.infer({0: row.astype(np.float32).reshape(shape)})
                out.append(np.array(request.get_output_tensor(0).data, np.float64).ravel())
        return np.stack(out)


@lru_cache(64)
def _overlaps(source: int, target: int) -> Floats:
    """How much of each of `source` rows lies in each of `target` cells: (target, source), columns that sum to 1."""
    starts = np.arange(source) * target / source
    ends = starts + target / source
    cells = np.arange(target)[:, None]
    overlap = np.minimum(ends, cells + 1) - np.maximum(starts, cells)
    shares: Floats = (np.maximum(overlap, 0) / (target / source)).astype(np.float32)
    return shares


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    unit: NDArray[np.float64] = rows / lengths
    return unit


def _source(node: Any, at: int) -> Any:
    return node.input(at).get_source_output().get_node()


def _shape(output: Any) -> list[int]:
    return list(output.get_partial_shape().to_shape())


def _stage_maps(joined: Any, recipe: Recipe) -> list[Any]:
    """The maps (1, c, h, w) whose statistics `retrieval.encoders.stages` takes."""
    maps = []
    for at in range(joined.get_input_size()):
        mean = _source(_source(_source(joined, at), 0), 0)
        flat = _source(mean, 0) if mean.get_type_name() == "ReduceMean" else mean
        if flat.get_type_name() != "Reshape" or len(_shape(flat.input(0).get_source_output())) != 4:
            raise NoSpatialFeaturesError(f"{recipe.spec}: the stages of its converted form are not recognised")
        maps.append(flat.input(0).get_source_output())
    return maps


def _pooling(node: Any, recipe: Recipe) -> tuple[Pooling, Any, bool]:
    """How a tower pools, the operation that does, and whether more than a change of shape follows it."""
    with_head = False
    while True:
        kind, inputs = node.get_type_name(), node.get_input_size()
        shape = _shape(node.input(0).get_source_output()) if inputs else []
        if kind == "ReduceMean" and len(shape) in (3, 4):
            return "mean", node, with_head
        if kind == "Gather" and len(shape) == 3 and shape[1] > 1:
            return "token", node, with_head
        if kind not in _LINEAR | _HEAD:
            raise NoSpatialFeaturesError(f"{recipe.spec}: it pools its places by {kind}, which is not taken apart")
        with_head |= kind in _HEAD
        upstream = [_source(node, at) for at in range(inputs)]
        node = next((one for one in upstream if not _is_constant(one)), upstream[0])


def _is_constant(node: Any) -> bool:
    return bool(
        node.get_type_name() == "Constant"
        or (node.get_type_name() in ("Convert", "Reshape") and _source(node, 0).get_type_name() == "Constant")
    )


def _axes(pool: Any) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.ravel(_source(pool, 1).data)) if _is_constant(_source(pool, 1)) else ()


def _head_model(openvino: Any, directory: Path, pool: str, raw: str, shuffled: int | None) -> Any:
    """What follows the pooling as a model of its own, and the shape of its input."""
    model = openvino.Core().read_model(directory / MODEL)
    if shuffled is not None:
        _shuffle(openvino, model, shuffled)
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    output = nodes[pool].output(0)
    shape = _shape(output)
    parameter = openvino.opset13.parameter(shape, np.float32)
    for target in list(output.get_target_inputs()):
        target.replace_source_output(parameter.output(0))
    head = openvino.Model([nodes[raw].output(0)], [parameter])
    return openvino.Core().compile_model(head, "CPU").create_infer_request(), shape


def _shuffle(openvino: Any, model: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().is_real() and len(node.shape) > 1:
            values = np.array(node.data)
            if values.size >= _LEAST_SHUFFLED:
                mixed = openvino.opset13.constant(random.permutation(values.ravel()).reshape(values.shape))
                node.output(0).replace(mixed.output(0))
