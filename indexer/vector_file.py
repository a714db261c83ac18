"""Embeddings in a `.npy` file, memory-mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.errors import VectorsError
from retrieval.sources.address import expanded, remote_reason

_ADVICE = "save the embeddings as one array (rows, numbers) by numpy.save"


class VectorFileError(VectorsError):
    """A file is not a `.npy` file of vectors."""


def open_vectors(path: Path) -> NDArray[Any]:
    """The array (n, d) of a file, memory-mapped and read-only; float or integer numbers. Raises VectorFileError."""
    if reason := remote_reason(path):
        raise VectorFileError(reason)
    path = expanded(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(6)
        if head.startswith(b"PK"):
            raise VectorFileError(f"{path} is an .npz archive or another zip, not a .npy file; {_ADVICE}")
        if head != np.lib.format.MAGIC_PREFIX:
            raise VectorFileError(f"{path} is not a .npy file; {_ADVICE}")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except VectorFileError:
        raise
    except OSError as error:
        raise VectorFileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, SyntaxError, OverflowError, EOFError, TypeError, MemoryError) as error:
        # Of objects, with a header that is damaged, or shorter than its header says.
        raise VectorFileError(f"{path} cannot be read as an array of numbers ({error}); {_ADVICE}") from error
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise VectorFileError(f"{path} holds values of type {array.dtype}, not real numbers; {_ADVICE}")
    if array.ndim != 2:
        raise VectorFileError(
            f"{path} has the shape {array.shape}; a row a picture and a column a number are expected; reshape it to "
            "two dimensions"
        )
    if not array.size:
        raise VectorFileError(f"{path} is empty: its shape is {array.shape}")
    plain: NDArray[Any] = array.view(np.ndarray)  # indexing numpy's own class for maps takes longer
    return plain
