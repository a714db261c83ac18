"""Each stored file of a collection with nine kinds of damage: told by opening, verify or a search, or without effect.

By hand `pytest tests/faults/test_damaged_files.py --rounds 1000` tries all of them.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import retrieval.index
from indexer.verification import check
from retrieval.collection import Collection
from retrieval.command_line import kvasir
from retrieval.errors import RetrievalError
from retrieval.hits import Hits
from retrieval.index.building import Wanted, wanted_of
from retrieval.index.storage import index_folder
from retrieval.reasons.faithfulness import Faithfulness
from retrieval.reasons.store import load_outcome, store_outcome
from retrieval.report.store import FILES, load_report, load_result, path_of_file, stored_evaluations
from retrieval.search import open_collection
from retrieval.space_map.store import load_map
from web.keys import create_key, read_keys


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 4
    return bytes(changed)


def flipped_near_the_end(data: bytes) -> bytes:
    """In a zip file the last member's entry in the directory says that it is encrypted."""
    changed = bytearray(data)
    entry = data.rfind(b"PK\1\2")
    changed[entry + 8 if entry >= 0 else -min(len(data), 30)] ^= 1
    return bytes(changed)


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda data: None,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data[:-1],
    "flipped bit": flipped,
    "flipped bit near the end": flipped_near_the_end,
    "zeroed block": lambda data: data[: len(data) // 3] + bytes(min(512, len(data))) + data[len(data) // 3 + 512 :],
    "longer": lambda data: data + b"\0garbage" * 20,
    "garbage": lambda data: np.random.default_rng(len(data)).bytes(len(data)),
}


SPACES = ("learned", "JCD")


@pytest.fixture(scope="module", autouse=True)
def stored_indexes() -> Iterator[None]:
    """Indexes are built and stored as for more than 50,000 images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval.index, "BACKENDS", retrieval.index.BACKENDS[1:])
        yield


@pytest.fixture(scope="module")
def sound(
    tiny_spec: str,
    draw: Callable[..., Any],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """120 pictures in three spaces, one of them learned, with all that a collection's folder can hold."""
    folder, index_pictures = tmp_path_factory.mktemp("sound"), request.getfixturevalue("index_folder")
    for number in range(120):
        name, colour = [("discs", (200, 120, 90)), ("rings", (90, 160, 60))][number % 2]
        (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
        draw(number, colour, (60, 45)).save(folder / "pictures" / name / f"{number}.png")
    collection = index_pictures(folder / "pictures", folder / "c", tiny_spec, descriptors="JCD")
    first = Collection.open(collection).spaces[0].name
    for words in (
        f"learn {collection} learned --method wccn --from {first} --views central",
        f"scenes {collection}",
        f"tune {collection} --target-recall 0.9",
        f"calibrate {collection} --space learned --fuse zscore:JCD+learned",
        f"evaluate {collection} --keep --samples 0",
        f"map {collection}",
    ):
        run = CliRunner().invoke(kvasir, words.split())
        assert run.exit_code == 0, run.output
    falls = {"relevant": 0.08, "random": 0.02, "centre": 0.03, "shuffled": 0.02}
    store_outcome(Collection.open(collection), first, [Faithfulness("blur", 1, 100, 0, 0.95, 0.8, 0.5, falls)])
    create_key(collection, "one", "read")
    search_all(collection)  # stores what searches cache
    return Path(collection)


def search_all(collection: Path) -> list[Hits]:
    """Searches by image in each space, and in two that are fused."""
    searcher = open_collection(collection)
    spaces = [space.name for space in searcher.collection.spaces]
    return [searcher.search(at, 5, spaces=name) for name in spaces for at in (0, 1, 2)] + [
        searcher.search(at, 5, spaces=SPACES, fusion="zscore", exclude_scene=at == 2) for at in (0, 1, 2)
    ]


def what_is_answered(collection: Path) -> list[Any]:
    """Hits with all that is said of them, evaluations, maps, outcomes of reasons, and what indexes are built for.

    The keys are read as well: one that was changed opens nothing.
    """
    answers: list[Any] = []
    for hits in search_all(collection):
        answers.append([hit.to_dict() | {"chance": None} for hit in hits])
        answers.append([[hit.chance for hit in hits], hits.findings] if hits.findings else None)
        answers.append(hits.novelty)
    wanted = [wanted_of(index_folder(collection, space)) for space in SPACES]
    answers += [None if one == Wanted() else one for one in wanted]
    evaluation = next(iter(stored_evaluations(collection)), None)
    answers.append(evaluation)
    for name in FILES:
        answers.append(evaluation and path_of_file(collection, evaluation, name).read_bytes())
    for load in (load_result, load_report):
        answers.append(evaluation and load(collection, evaluation))
    opened = Collection.open(collection)
    for space in opened.spaces:
        made, outcome = load_map(opened, space.name), load_outcome(opened, space.name)
        answers.append(made and (made.facts, made.outdated, made.ids.tolist(), made.places.tolist()))
        answers.append(outcome and outcome.to_dict())
    read_keys(collection)
    return answers


def are_right(answers: Sequence[Any], sound: Sequence[Any]) -> bool:
    """Whether all that is said is right. Where nothing is said (no chance, no evaluation), nothing wrong is."""
    return len(answers) == len(sound) and all(
        answer is None or answer == right for answer, right in zip(answers, sound, strict=True)
    )


@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")  # vectors of garbage
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
            answered = are_right(what_is_answered(collection), answers)
        except (RetrievalError, sqlite3.Error):
            told, answered = True, True
        assert told or answered, (name, damage)
        ends["told" if told else "without_effect"] += 1
        shutil.rmtree(collection)
    tally(damaged=ends.total(), files=len(files), silently_wrong=0, **ends)
