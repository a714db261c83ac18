"""Where the models of learned spaces lie in a collection's folder: `learned/NAME.DIGEST.npz`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection as Names
from pathlib import Path

from retrieval.disk import write_atomically
from retrieval.learn.model import Model

_EARLIER = re.compile(r"(\.[0-9a-f]{12})?\.npz")


def model_path(collection: Path, space: str, digest: str) -> Path:
    """Where the model of a learned space lies, named by its SHA-256 so that a new fit overwrites no earlier one."""
    named = collection / "learned" / f"{space}.{digest[:12]}.npz"
    earlier = collection / "learned" / f"{space}.npz"
    return earlier if earlier.exists() and not named.exists() and _digest(earlier) == digest else named


def store_model(collection: Path, space: str, model: Model) -> str:
    """Store a model; returns its SHA-256."""
    data = model.to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    path = model_path(collection, space, digest)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, data)
    return digest


def delete_models_but(collection: Path, space: str, digests: Names[str]) -> None:
    """Delete the models of a space but for those of these digests."""
    current = [model_path(collection, space, digest) for digest in digests]
    folder = current[0].parent
    for file in [*folder.glob(f"{space}.*.npz"), folder / f"{space}.npz"]:
        if file not in current and _EARLIER.fullmatch(file.name.removeprefix(space)):
            file.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
