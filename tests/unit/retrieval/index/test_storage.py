"""Stored indexes: whole or not there, and of one space alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from retrieval.index.shape import Shape, empty_index, graph_of, lists_of, padded
from retrieval.index.storage import (
    LOCK,
    StoredIndex,
    append_digest,
    building_lock,
    code_blocks,
    earlier_files,
    index_folder,
    is_intact,
    read_index,
    stored_size,
    write_stored,
)


def flat(count: int = 10) -> faiss.IndexFlat:
    index = faiss.IndexFlatL2(8)
    index.add(np.arange(8 * count, dtype=np.float32).reshape(count, 8))
    return index


def write(index: faiss.Index, file: Path) -> bool:
    """Store an index whose labels are its positions."""
    with building_lock(file.parent) as locked:
        assert locked
        return write_stored(StoredIndex(index, np.arange(index.ntotal), {}), file)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK)


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = index_folder(tmp_path, "s") / "flat.faiss"
    assert write(flat(), file)
    index = read_index(file)
    assert index is not None
    assert index.ntotal == 10
    assert stored_size(tmp_path, "s") == file.stat().st_size
    assert stored_size(tmp_path, "other") == 0


@pytest.mark.parametrize("shape", [graph_of(300, 10), lists_of(300, 10)], ids=["graph", "lists"])
def test_codes_are_read_from_the_file_as_faiss_has_them(shape: Shape, tmp_path: Path) -> None:
    width = padded(10)
    vectors = np.random.default_rng(3).integers(-127, 128, (300, width)).astype(np.float32)
    index, codes = empty_index(shape, 10)
    index.train(vectors)
    index.add(vectors)
    if not shape.is_graph:
        codes.add(vectors)
        index = faiss.IndexRefine(index, codes)
    file, labels = tmp_path / "index.faiss", np.arange(0, 600, 2)
    assert write_stored(StoredIndex(index, labels, {"name": "größe"}), file)
    read_labels, read_codes = map(np.concatenate, zip(*code_blocks(file, width), strict=True))
    assert read_labels.tolist() == labels.tolist()
    assert (read_codes.astype(np.float32) - 128 == vectors).all()
    with pytest.raises(ValueError, match="no codes of 16 numbers"):
        next(code_blocks(file, 16))


def test_a_trailer_shows_any_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert not is_intact(path)
    path.write_bytes(b"content")
    append_digest(path)
    assert is_intact(path)
    data = path.read_bytes()
    for changed in (data[:-1], data + b"x", b"C" + data[1:], data[:-1] + bytes([data[-1] ^ 1]), b"content"):
        path.write_bytes(changed)
        assert not is_intact(path)


def test_a_full_disk_leaves_no_part_of_an_index_and_the_earlier_one_whole(tmp_path: Path) -> None:
    file = tmp_path / "s" / "flat.faiss"
    assert write(flat(), file)
    code = f"""
import logging, resource, signal
from pathlib import Path
import faiss, numpy as np
from retrieval.index.storage import StoredIndex, write_stored
logging.basicConfig(format="%(message)s")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
index = faiss.IndexFlatL2(8)
index.add(np.zeros((100_000, 8), np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
assert not write_stored(StoredIndex(index, np.arange(9), {{}}), Path({str(file)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"the index {file} cannot be stored and will be built again next time" in done.stderr
    assert names(file.parent) == ["flat.faiss"]
    assert read_index(file).ntotal == 10  # type: ignore[union-attr]


def test_what_an_earlier_writer_left_is_deleted_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "flat.faiss.new").write_text("the beginning of an index")
    (folder / "HNSW32.faiss").write_text("of another size")
    assert write(flat(), folder / "flat.faiss")
    assert names(folder) == ["flat.faiss"]


def test_only_one_process_builds_at_a_time(tmp_path: Path) -> None:
    with building_lock(tmp_path / "s") as first, building_lock(tmp_path / "s") as second:
        assert (first, second) == (True, False)
    with building_lock(tmp_path / "s") as later:
        assert later


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "s").write_text("a file where the folder should be")
    assert not write(flat(), tmp_path / "s" / "flat.faiss")
    assert "cannot be stored" in caplog.text


def test_earlier_names_are_those_of_one_space_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of_vit = [
        "vit.HNSW32.faiss",
        "vit.IVF4096,PQ64x4fs.faiss",
        "vit.0123456789abcdef.ivf.faiss",
        "vit.HNSW32.faiss.7.new",
    ]
    of_others = ["vit.in1k.HNSW32.faiss", "vit.in1k.0123456789abcdef.ivf.faiss", "vit_b.HNSW32.faiss", "vit.txt"]
    for name in of_vit + of_others:
        (tmp_path / name).write_text("an index")
    assert sorted(path.name for path in earlier_files(tmp_path, "vit")) == sorted(of_vit)
    assert len(earlier_files(tmp_path, "vit.in1k")) == 2
    assert read_index(tmp_path / "vit" / "flat.faiss") is None
    assert "was made by an earlier version and is built again" in caplog.text
    write(flat(), tmp_path / "vit" / "flat.faiss")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["vit", *of_others])
