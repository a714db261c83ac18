"""Each stored file of a collection with eight kinds of damage: told by opening, verify or a search, or without effect.

By hand `pytest tests/faults/test_damaged_files.py --rounds 1000` tries all of them.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.verification import check
from retrieval.command_line import kvasir
from retrieval.errors import RetrievalError
from retrieval.search import open_collection
from web.keys import create_key, read_keys


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 4
    return bytes(changed)


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda data: None,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data[:-1],
    "flipped bit": flipped,
    "zeroed block": lambda data: data[: len(data) // 3] + bytes(min(512, len(data))) + data[len(data) // 3 + 512 :],
    "longer": lambda data: data + b"\0garbage" * 20,
    "garbage": lambda data: np.random.default_rng(len(data)).bytes(len(data)),
}


@pytest.fixture(scope="module")
def sound(drawn_in_two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    collection = Path(shutil.copytree(drawn_in_two_spaces, tmp_path_factory.mktemp("sound") / "c"))
    run = CliRunner().invoke(kvasir, ["evaluate", str(collection), "--keep", "--samples", "0"])
    assert run.exit_code == 0, run.output
    create_key(collection, "one", "read")
    return collection


def what_is_answered(collection: Path) -> list[Any]:
    """Searches by image in each space. The keys are read as well: one that was changed opens nothing."""
    searcher = open_collection(collection)
    found: list[Any] = []
    for space in searcher.collection.spaces:
        for image_id in searcher.collection.ids(space.name)[:5].tolist():
            hits = searcher.search(image_id, 5, spaces=space.name)
            found.append([(hit.id, hit.score, hit.class_name, hit.cluster, hit.file) for hit in hits])
    read_keys(collection)
    return found


def test_damage_is_told_or_without_effect(
    sound: Path, tmp_path: Path, rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    answers = what_is_answered(sound)
    assert check(sound, pictures=False) == []
    files = [path.relative_to(sound) for path in sorted(sound.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    cases = list(product(files, DAMAGE))
    order = np.random.default_rng(2).permutation(len(cases))[: rounds(60)]
    ends: Counter[str] = Counter()
    for at in order.tolist():
        name, damage = cases[at]
        collection = Path(shutil.copytree(sound, tmp_path / "c"))
        data = DAMAGE[damage]((sound / name).read_bytes())
        (collection / name).unlink()
        if data is not None:
            (collection / name).write_bytes(data)
        told = False
        try:
            told = bool(check(collection, pictures=False))
        except RetrievalError:
            told = True
        try:
            answered = what_is_answered(collection) == answers
        except (RetrievalError, sqlite3.Error):
            told, answered = True, True
        assert told or answered, (name, damage)
        ends["told" if told else "without_effect"] += 1
        shutil.rmtree(collection)
    tally(damaged=ends.total(), files=len(files), silently_wrong=0, **ends)
