"""Small collections that are written image by image, without pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.collection import CollectionWriter, NewImage


def vector(seed: int, dimension: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)


def new_image(number: int, *, content: bytes | None = None, class_name: str | None = "a", **fields: Any) -> NewImage:
    """An image whose vector and bytes follow from its number."""
    values: dict[str, Any] = {
        "source": 1,
        "file": f"a/{number}.jpg",
        "class_name": class_name,
        "width": 720,
        "height": 576,
        "file_size": 10,
        "stamp": 1,
        "sha256": hashlib.sha256(content or str(number).encode()).digest(),
        "vectors": {"s": vector(number)},
    }
    return NewImage(**(values | fields))


@pytest.fixture(scope="session")
def image() -> Callable[..., NewImage]:
    """(number, other fields) -> an image whose vector and bytes follow from its number."""
    return new_image


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[CollectionWriter]:
    """A new collection with the space `s` of four numbers and one source."""
    with CollectionWriter(tmp_path / "c", name="test", create=True) as opened:
        opened.add_space("s", "encoder", 4, "cosine", {"spec": "none"})
        assert opened.source(tmp_path, "folder") == 1
        yield opened
