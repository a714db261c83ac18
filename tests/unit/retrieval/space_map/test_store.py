"""Maps in the folder of a collection."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.repair import repair
from indexer.verification import check
from retrieval.collection import Collection, CollectionWriter
from retrieval.commands.map import command
from retrieval.space_map.store import (
    EmptyMapError,
    NoMapError,
    current_map,
    faulty_maps,
    load_map,
    make_map,
    map_path,
    store_map,
    stored_map,
)

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def laid_out(vector_collection: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of 30 vectors of two classes with its map."""
    vectors = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = tmp_path_factory.mktemp("map") / "c"
    vector_collection(path, {"mine": vectors}, ["a", "b"] * 15)
    opened = Collection.open(path)
    store_map(path, make_map(opened, "mine"))
    return path


@pytest.fixture
def copied(laid_out: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(laid_out, tmp_path / "c"))


def test_a_stored_map_is_loaded_as_it_was_made(laid_out: Path) -> None:
    opened = Collection.open(laid_out)
    made, loaded = make_map(opened, "MINE"), stored_map(opened, "mine")
    assert not loaded.outdated
    assert loaded.ids.tolist() == list(range(30))
    assert np.array_equal(loaded.places, made.places)
    assert loaded.facts.trustworthiness == made.facts.trustworthiness
    assert current_map(opened, "mine").facts == loaded.facts


def test_a_write_makes_it_outdated(copied: Path) -> None:
    with CollectionWriter(copied) as writer:
        writer.remove([3])
    opened = Collection.open(copied)
    assert stored_map(opened, "mine").outdated
    assert not current_map(opened, "mine").outdated
    assert 3 not in stored_map(opened, "mine").ids


def test_a_damaged_map_is_none(copied: Path) -> None:
    path = map_path(copied, "mine")
    data = bytearray(path.read_bytes())
    data[-len(data) // 3] ^= 1
    for damaged in (bytes(data), data[:100], b"", b"{}"):
        path.write_bytes(damaged)
        opened = Collection.open(copied)
        assert load_map(opened, "mine") is None
        with pytest.raises(NoMapError, match="kvasir map COLLECTION --space mine"):
            stored_map(opened, "mine")
        (finding,) = check(copied)
        assert (finding.kind, finding.repairable, finding.path) == ("map", True, path)
    repair(copied, [finding])
    assert check(copied) == []


def test_flipped_bits_of_the_zip_directory_are_told_or_without_effect(copied: Path) -> None:
    path, opened = map_path(copied, "mine"), Collection.open(copied)
    data, sound = bytearray(path.read_bytes()), stored_map(opened, "mine")
    told = 0
    for bit in range(8 * data.index(b"PK\1\2"), 8 * len(data), 5):
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        data[bit // 8] ^= 1 << bit % 8
        loaded = load_map(opened, "mine")
        told += loaded is None
        assert bool(list(faulty_maps(opened))) == (loaded is None)
        assert loaded is None or (loaded.facts == sound.facts and np.array_equal(loaded.places, sound.places))
    assert told > 100


def test_an_empty_space_has_no_map(copied: Path) -> None:
    with CollectionWriter(copied) as writer:
        writer.remove(list(range(30)))
    with pytest.raises(EmptyMapError):
        make_map(Collection.open(copied), "mine")


def test_a_collection_for_reading_only_still_gets_its_map(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    map_path(copied, "mine").unlink()
    (copied / "maps").rmdir()
    (copied / "maps").write_text("in the way")
    assert len(current_map(Collection.open(copied), "mine").ids) == 30


def test_the_command_makes_what_is_missing_or_outdated(copied: Path) -> None:
    first = CliRunner().invoke(command, [str(copied)], catch_exceptions=False)
    assert first.exit_code == 0
    assert "space mine: 30 images, trustworthiness 0." in first.output
    assert "as it was stored" in first.output
    again = CliRunner().invoke(command, [str(copied), "--seed", "3"], catch_exceptions=False)
    assert "as it was stored" not in again.output
    assert stored_map(Collection.open(copied), "mine").facts.seed == 3
