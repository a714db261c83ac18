"""What the trained blocks get of each picture and view, computed once and stored, so that an epoch costs little."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.cores import prefetch
from retrieval.disk import new_file, write_atomically
from retrieval.encoders.tower_module import Tower
from retrieval.finetune.blocks import Parted
from retrieval.json_digest import checked_fields, json_bytes
from retrieval.learn.view_cache import prepared_views
from retrieval.learn.views import View
from retrieval.spaces import Space

SHARD = 64
"""Pictures of a file; a run that was stopped goes on after the last whole one."""


def stored_inputs(
    collection: Collection,
    space: Space,
    tower: Tower,
    parted: Parted,
    ids: NDArray[np.int64],
    views: Sequence[View],
    folder: Path,
    device: str,
    progress: Callable[[str, int, int], None],
) -> tuple[NDArray[np.int64], list[NDArray[np.float16]]]:
    """The images (m,) whose picture can be read, ascending, and mapped inputs (n_i, 1 + views, ...) of each
    shard, of the picture itself first.
    """
    readable, shards = [], []
    for first in range(0, len(ids), SHARD):
        path = folder / f"inputs-{first // SHARD:05d}.npy"
        listed = path.with_suffix(".json")
        stored = _stored_ids(path, listed)
        if stored is None:
            frames = list(_frames(collection, space, ids[first : first + SHARD], views))
            inputs = [_early(tower, parted, frame, device) for _, frame in frames]
            with new_file(path, sync=False) as stream:
                np.save(stream, np.stack(inputs) if inputs else np.empty((0, 1 + len(views)), np.float16))
            stored = [image_id for image_id, _ in frames]
            # Last: it says that the shard is whole.
            write_atomically(listed, json_bytes({"ids": stored, "inputs": _sha256(path)}), sync=False)
        readable.append(np.array(stored, np.int64))
        if len(readable[-1]):
            shards.append(np.load(path, mmap_mode="r"))
        progress("views", min(first + SHARD, len(ids)), len(ids))
    return np.concatenate(readable), shards


def _stored_ids(path: Path, listed: Path) -> list[int] | None:
    """The images of a shard; None where it is not there or damaged."""
    try:
        fields = checked_fields(listed.read_bytes())
        return [int(image_id) for image_id in fields["ids"]] if fields["inputs"] == _sha256(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _early(tower: Tower, parted: Parted, frames: NDArray[np.uint8], device: str) -> NDArray[np.float16]:
    """Views (v, h, w, 3) of one picture -> inputs of the first trained block, (v, ...)."""
    pixels = tower.pixels(torch.from_numpy(frames).to(device))
    inputs: NDArray[np.float16] = parted.early(pixels).half().cpu().numpy()
    return inputs


def _frames(
    collection: Collection, space: Space, ids: NDArray[np.int64], views: Sequence[View]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for image_id, frames in prefetch(partial(prepared_views, collection, space, [None, *views]), ids.tolist(), SHARD):
        if frames:
            yield image_id, np.stack(frames)
