"""Indexes that are kept on disk: damaged, foreign or of no use, and built anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import retrieval
from indexer.repair import repair
from indexer.verification import Finding, check
from retrieval.collection import Collection, CollectionWriter
from retrieval.descriptors import DESCRIPTORS
from retrieval.index import descriptor_ivf, faiss_index
from retrieval.index.building import Wanted, store_wanted, wanted_of
from retrieval.index.cosine import Cosine
from retrieval.index.descriptor_ivf import DescriptorIVF
from retrieval.index.faiss_index import FaissIndex
from retrieval.index.rows import ArrayRows
from retrieval.index.storage import is_intact, stored_size

COUNT = 50_001


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, vector_collection: Callable[..., Path]) -> Path:
    """One image more than are compared one by one, by vectors of four numbers; its index is kept."""
    vectors = np.random.default_rng(3).normal(size=(COUNT, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = vector_collection(tmp_path_factory.mktemp("large") / "c", {"dots": vectors})
    retrieval.open(path).index("dots").flush()
    return path


def faults(path: Path) -> list[tuple[str, str]]:
    return [(finding.kind, finding.message) for finding in check(path, pictures=False)]


def mended(path: Path) -> list[str]:
    findings: list[Finding] = check(path, pictures=False)
    assert all(finding.repairable for finding in findings)
    done = repair(path, findings).done
    assert check(path, pictures=False) == []
    return done


def test_each_fault_of_a_stored_index_is_told_and_mended(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(large, path)
    index = path / "index" / "dots" / "proposer.faiss"
    assert faults(path) == []
    sound = index.read_bytes()

    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 1
    index.write_bytes(damaged)
    assert faults(path) == [("index", f"index dots/{index.name} is damaged")]
    assert mended(path) == [f"deleted {index.name}", "space dots: its index was built anew"]

    written = index.stat().st_mtime_ns
    retrieval.open(path).index("dots").flush()
    assert index.stat().st_mtime_ns == written

    ids, vectors = Collection.open(path).vectors("dots")
    index.unlink()
    FaissIndex(ArrayRows(-np.asarray(vectors)), ids[:300], index.parent).flush()
    for other in ("dots/proposer.faiss.new", "dots/IVF64,PQ2x4fs.faiss", "dots.HNSW32.faiss", "nothing.HNSW32.faiss"):
        shutil.copyfile(index, path / "index" / other)
    shutil.copytree(index.parent, path / "index" / "dots.in1k")
    assert [message for _, message in faults(path)] == [
        "index dots/IVF64,PQ2x4fs.faiss is no longer used: the collection has another size",
        "index dots/proposer.faiss does not hold the collection's vectors",
        "index dots/proposer.faiss.new was left by a run that was stopped",
        "index dots.HNSW32.faiss was made by an earlier version",
        "index dots.in1k belongs to no space",
        "index nothing.HNSW32.faiss belongs to no space",
    ]
    with CollectionWriter(path) as writer:
        writer.remove([0, COUNT - 1])
    assert faults(path)[1] == (
        "index",
        f"index dots/{index.name} is no longer used: the collection has another size",
    )
    assert len(mended(path)) == 6


def test_indexes_of_a_space_whose_name_begins_as_anothers_are_never_taken_for_the_others(
    large: Path, write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    """A collection of the spaces `vit` and `vit.in1k`, with the indexes of both."""
    path = tmp_path / "c"
    _, vectors = Collection.open(large).vectors("dots")
    write_collection(path, {"vit": vectors, "vit.in1k": vectors})
    for name in ("vit", "vit.in1k"):
        shutil.copytree(large / "index" / "dots", path / "index" / name)
    short, long = (path / "index" / name / "proposer.faiss" for name in ("vit", "vit.in1k"))
    assert stored_size(path, "vit") == short.stat().st_size
    assert faults(path) == []
    sound = long.read_bytes()
    short.write_bytes(short.read_bytes()[:-1])
    assert faults(path) == [("index", "index vit/proposer.faiss is damaged")]
    assert mended(path) == ["deleted proposer.faiss", "space vit: its index was built anew"]
    assert long.read_bytes() == sound
    # As versions named them that had no folder for each space.
    for file in (short, long):
        file.rename(path / "index" / f"{file.parent.name}.HNSW32.faiss")
    assert [message for _, message in faults(path)] == [
        "index vit.HNSW32.faiss was made by an earlier version",
        "index vit.in1k.HNSW32.faiss was made by an earlier version",
    ]


def test_a_damaged_index_is_not_searched_but_built_again_with_a_word(
    large: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c"
    shutil.copytree(large, path)
    index = path / "index" / "dots" / "proposer.faiss"
    sound = index.read_bytes()
    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 1  # which FAISS reads without a word
    index.write_bytes(damaged)

    served = retrieval.open(path).index("dots")
    assert served.description == "exact"
    assert f"the index {index} is damaged and is built again" in caplog.text
    served.flush()
    assert is_intact(index)
    assert served.description.startswith("HNSW32")


def test_an_index_of_images_that_were_removed_is_sound_still(large: Path, tmp_path: Path) -> None:
    ids, vectors = Collection.open(large).vectors("dots")
    rows = ArrayRows(np.array(vectors[:300]))
    FaissIndex(rows, ids[:300], tmp_path).flush()
    left = np.r_[0:5, 9:300]
    assert faiss_index.matches(tmp_path / "proposer.faiss", Cosine(), rows, ids[left])
    rows.vectors[7] *= -1  # of an image that is no more
    assert faiss_index.matches(tmp_path / "proposer.faiss", Cosine(), rows, ids[left])
    rows.vectors[9] *= -1
    assert not faiss_index.matches(tmp_path / "proposer.faiss", Cosine(), rows, ids[left])


@pytest.mark.parametrize("name", ["Tamura", "JCD"])
def test_an_inverted_file_is_compared_by_its_coordinates(name: str, tmp_path: Path) -> None:
    descriptor = DESCRIPTORS[name]
    vectors = np.random.default_rng(5).uniform(0, 7, (500, descriptor.length)).astype(descriptor.dtype)
    ids, rows = np.arange(500), ArrayRows(vectors)
    DescriptorIVF(descriptor.metric, rows, ids, tmp_path).flush()
    path = tmp_path / "proposer.faiss"
    assert is_intact(path)
    assert descriptor_ivf.matches(path, descriptor.metric, rows, ids)
    assert descriptor_ivf.matches(path, descriptor.metric, rows, ids[:-1])
    vectors[499] += 1  # of an image that is no more
    assert descriptor_ivf.matches(path, descriptor.metric, rows, ids[:-1])
    vectors[7] += 1
    assert not descriptor_ivf.matches(path, descriptor.metric, rows, ids)
    assert not descriptor_ivf.matches(path, DESCRIPTORS["PHOG"].metric, ArrayRows(np.ones((500, 630))), ids)


def test_an_index_whose_vectors_are_gone_ends_no_check(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(large, path)
    (path / "vectors" / "dots.float32").unlink()
    assert faults(path) == [
        ("vectors", f"space dots: {COUNT:,} of {COUNT:,} vectors missing or damaged in dots.float32")
    ]


def test_a_space_that_is_fitted_anew_has_no_index_and_is_wanted_as_before(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(large, path)
    folder = path / "index" / "dots"
    store_wanted(folder, Wanted(0.98))
    ids, vectors = Collection.open(path).vectors("dots")
    with CollectionWriter(path) as writer:
        writer.replace_space("dots", 4, writer.manifest.space("dots").recipe, [(ids, -np.asarray(vectors))])
    assert {file.name for file in folder.iterdir()} == {"wanted.json", "writer.lock"}
    shutil.copy(large / "index" / "dots" / "proposer.faiss", folder)  # as of a build that ended later
    assert retrieval.open(path).index("dots").description == "exact"
    assert wanted_of(folder) == Wanted(0.98)
