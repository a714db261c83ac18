"""Running a tower: by OpenVINO on a CPU, by PyTorch on CUDA or where OpenVINO cannot convert it."""

from __future__ import annotations

import hashlib
import logging
import queue
import shlex
import shutil
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.disk import DiskFullError, library_full_disk
from retrieval.encoders.recipe import Recipe
from retrieval.encoders.selftest import drawn_inputs
from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from retrieval.encoders.tower_module import Tower

MODEL = "tower.xml"
"""File of a converted tower; its weights are in tower.bin next to it."""
LEAST_COSINE = 0.9999
"""Of an embedding by the converted tower to PyTorch's; OpenVINO sums in another order, no more."""


class ConversionError(EncoderError):
    """OpenVINO cannot convert a tower, or not faithfully."""


class DamagedTowerError(EncoderError):
    """A converted tower differs from the one that its space's recipe names, or cannot be loaded."""


class Encoder(Protocol):
    """A tower that runs. Safe to call from several threads; one copy of the weights serves them all."""

    @property
    def recipe(self) -> Recipe:
        """How it was made and how it prepares a picture."""
        ...

    def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Prepared pictures (n, h, w, 3) -> embeddings (n, d) float32, rows of unit length."""
        ...


class TorchEncoder:
    """A tower run by PyTorch, on CUDA where there is one."""

    def __init__(self, tower: Tower) -> None:
        import torch

        self.recipe = tower.recipe
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tower = tower.to(self._device)

    def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Prepared pictures (n, h, w, 3) -> embeddings (n, d) float32, rows of unit length."""
        with self._torch.inference_mode():
            parts = [
                self._tower(self._torch.tensor(batch[start : start + 64]).to(self._device)).float().cpu().numpy()
                for start in range(0, len(batch), 64)
            ]
        return np.concatenate(parts) if parts else np.empty((0, self.recipe.dimension), np.float32)


class OpenVinoEncoder:
    """A converted tower run by OpenVINO: one picture per inference request, one request per stream.

    purpose: "throughput" runs one stream on each core; "latency" one stream on all cores.
    """

    def __init__(
        self, directory: Path, recipe: Recipe, purpose: Literal["throughput", "latency"] = "throughput"
    ) -> None:
        openvino = openvino_runtime()
        cores = available_cores()
        self.recipe = recipe
        streams = cores if purpose == "throughput" else 1
        settings = {
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": streams,
            # Named, since newer processors would otherwise round to bfloat16; an int8 file is another file.
            "INFERENCE_PRECISION_HINT": "bf16" if recipe.precision == "bf16" else "f32",
            "ENABLE_CPU_PINNING": False,  # processes that share the machine would pin their threads to the same cores
        }
        try:
            self._model = openvino.Core().compile_model(directory / MODEL, "CPU", settings)
        except RuntimeError as error:
            raise DamagedTowerError(
                f"OpenVINO {openvino.__version__} cannot load the converted encoder in {directory}; "
                "delete that folder, and `kvasir verify --repair` converts it anew from its weights"
            ) from error
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(streams + 1):  # one request more than streams, so that no stream idles between two
            self._free.put(self._model.create_infer_request())

    def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Prepared pictures (n, h, w, 3) -> embeddings (n, d) float32, rows of unit length."""
        out = np.empty((len(batch), self.recipe.dimension), np.float32)
        running: deque[tuple[int, Any]] = deque()

        def finish() -> None:
            row, request = running.popleft()
            try:
                request.wait()
                out[row] = request.get_output_tensor(0).data[0]
            finally:
                self._free.put(request)

        def take() -> Any:
            # A caller waits for its own requests before it waits for free ones, so that callers cannot deadlock.
            while running:
                try:
                    return self._free.get_nowait()
                except queue.Empty:
                    finish()
            return self._free.get()

        try:
            for row in range(len(batch)):
                request = take()
                running.append((row, request))
                request.get_input_tensor(0).data[0] = batch[row]
                request.start_async()
        finally:
            while running:
                finish()
        return out


def convert(tower: Tower, directory: Path) -> str:
    """Write a tower in OpenVINO's form into a folder; returns the SHA-256 of what was written.

    Raises ConversionError where OpenVINO's PyTorch front end cannot, or where the converted tower gives other
    embeddings than the tower itself, and DiskFullError.
    """
    import torch

    openvino = openvino_runtime()
    width, height = tower.recipe.size
    example = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    try:
        with logging_unchanged(), torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of its own future, and of shapes that are fixed here
            model = openvino.convert_model(
                tower, example_input=example, input=[openvino.PartialShape([1, height, width, 3])]
            )
    except Exception as error:
        raise _not_converted(tower, error) from error
    try:
        directory.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, directory / MODEL, compress_to_fp16=False)
        cosine = _least_cosine(OpenVinoEncoder(directory, tower.recipe, "latency"), tower)
    except Exception as error:
        full = library_full_disk(error, directory / MODEL) or _no_room(directory, tower)
        shutil.rmtree(directory, ignore_errors=True)
        if full is not None:
            raise full from error
        raise _not_converted(tower, error) from error
    if not cosine >= LEAST_COSINE:
        raise ConversionError(
            f"{tower.recipe.spec}: OpenVINO's conversion gives other embeddings (cosine {cosine:.4f} to PyTorch's)"
        )
    return converted_digest(directory)


@contextmanager
def logging_unchanged() -> Iterator[None]:
    """Give the root logger back its level, filters and handlers, and these their levels.

    OpenVINO's converter replaces them, and NNCF sets the level of handlers that it shares.
    """
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    levels = [handler.level for handler in handlers]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers
        for handler, before in zip(handlers, levels, strict=True):
            handler.setLevel(before)


def _not_converted(tower: Tower, error: Exception) -> ConversionError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ConversionError(f"{tower.recipe.spec}: OpenVINO cannot convert it ({reason})")


def _no_room(directory: Path, tower: Tower) -> DiskFullError | None:
    """The error that the room for a converted tower is missing, which OpenVINO does not tell; or None.

    Tried out, since a quota or a limit of the process shows in no number of free bytes.
    """
    trial = directory / "room"
    try:
        with trial.open("wb") as file:
            for parameter in tower.parameters():
                file.write(bytes(parameter.numel() * parameter.element_size()))
    except OSError as error:
        return DiskFullError(
            f"{directory / MODEL}: no space left on the disk for the converted encoder ({error.strerror}); "
            "make room and run the same command again"
        )
    return None


def _least_cosine(encoder: OpenVinoEncoder, tower: Tower) -> float:
    """The least cosine of a picture's embedding by the converted tower and by the tower itself."""
    import torch

    inputs = drawn_inputs(tower)
    with torch.inference_mode():
        plain: NDArray[np.float32] = tower(torch.tensor(inputs)).numpy()
    return float((encoder.encode(inputs) * plain).sum(1).min())


def openvino_runtime() -> Any:
    """OpenVINO without its telemetry, which reports each import and conversion to a server."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def converted_digest(directory: Path, model: str = MODEL) -> str:
    """SHA-256 over the files of a converted tower."""
    digest = hashlib.sha256()
    for name in (model, Path(model).with_suffix(".bin")):
        with (directory / name).open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def require_undamaged(directory: Path, digest: str, collection: Path) -> None:
    """Raise DamagedTowerError unless a converted tower has this SHA-256.

    OpenVINO has no checksum: a flipped byte in the weights would load, run and give wrong vectors.
    """
    try:
        actual = converted_digest(directory)
    except FileNotFoundError:
        actual = ""
    if actual != digest:
        raise DamagedTowerError(
            f"the converted encoder in {directory} is damaged; "
            f"`kvasir verify --repair {shlex.quote(str(collection))}` converts it anew from its weights"
        )
