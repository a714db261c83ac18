"""What the trained blocks get of each picture and view, computed once and stored, so that an epoch costs little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.cores import prefetch
from retrieval.disk import new_file
from retrieval.encoders.tower_module import Tower
from retrieval.finetune.augmentation import augmented
from retrieval.finetune.blocks import Parted
from retrieval.images import Picture
from retrieval.learn.view_cache import prepared_view
from retrieval.spaces import Space

SHARD = 64
"""Pictures of a file; a run that was stopped goes on after the last whole one."""


def stored_inputs(
    collection: Collection,
    space: Space,
    tower: Tower,
    parted: Parted,
    ids: NDArray[np.int64],
    views: int,
    seed: int,
    folder: Path,
    device: str,
    progress: Callable[[str, int, int], None],
) -> tuple[NDArray[np.int64], list[NDArray[np.float16]]]:
    """The images (m,) whose picture can be read, ascending, and mapped inputs (n_i, views, ...) of each shard."""
    readable, shards = [], []
    for first in range(0, len(ids), SHARD):
        path = folder / f"inputs-{first // SHARD:05d}.npy"
        listed = path.with_suffix(".ids.npy")
        if not (path.is_file() and listed.is_file()):
            frames = list(_frames(collection, space, ids[first : first + SHARD], views, seed))
            inputs = [_early(tower, parted, frame, device) for _, frame in frames]
            with new_file(path, sync=False) as stream:
                np.save(stream, np.stack(inputs) if inputs else np.empty((0, views), np.float16))
            with new_file(listed, sync=False) as stream:  # last: it says that the shard is whole
                np.save(stream, np.array([image_id for image_id, _ in frames], np.int64))
        readable.append(np.load(listed))
        if len(readable[-1]):
            shards.append(np.load(path, mmap_mode="r"))
        progress("views", min(first + SHARD, len(ids)), len(ids))
    return np.concatenate(readable), shards


def _early(tower: Tower, parted: Parted, frames: NDArray[np.uint8], device: str) -> NDArray[np.float16]:
    """Views (v, h, w, 3) of one picture -> inputs of the first trained block, (v, ...)."""
    pixels = tower.pixels(torch.from_numpy(frames).to(device))
    inputs: NDArray[np.float16] = parted.early(pixels).half().cpu().numpy()
    return inputs


def _frames(
    collection: Collection, space: Space, ids: NDArray[np.int64], views: int, seed: int
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for image_id, frame in prefetch(partial(prepared_view, collection, space, _whole), ids.tolist(), SHARD):
        if frame is not None:
            yield image_id, augmented(frame, views, hash((seed, image_id)) & 0x7FFFFFFF)


def _whole(picture: Picture) -> Picture:
    return picture
