"""A damaged collection is told what is wrong with it, and mended from its pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.verification import check, repair
from retrieval.collection import Collection, DamagedCatalogError
from retrieval.command_line import kvasir


@pytest.fixture
def collection(indexed: Any, tmp_path: Path) -> Path:
    """A copy of the shared collection whose pictures may be damaged as well."""
    shutil.copytree(indexed.data, tmp_path / "data")
    result = CliRunner().invoke(
        kvasir, ["index", str(tmp_path / "data"), str(tmp_path / "made"), "--descriptors", "JCD"]
    )
    assert result.exit_code == 0, result.output
    return tmp_path / "made"


def vectors(path: Path) -> dict[str, np.ndarray]:
    held = Collection.open(path)
    return {space.name: np.array(held.vectors(space.name)[1]) for space in held.spaces}


def test_a_sound_collection_has_no_findings_and_each_damage_is_found_and_mended(collection: Path) -> None:
    assert check(collection) == []
    before = vectors(collection)
    for name in before:
        (file,) = (collection / "vectors").glob(f"{name}.*")
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1  # one bit
        file.write_bytes(data)
    tower = next((collection / "encoders").iterdir()) / "tower.bin"
    damaged = bytearray(tower.read_bytes())
    damaged[100] ^= 255
    tower.write_bytes(damaged)
    (collection / "index").mkdir(exist_ok=True)
    (collection / "index" / "nothing.HNSW32.faiss").write_bytes(b"no index")

    greys = bytearray((collection / "greys.rows").read_bytes())
    greys[5000] ^= 1
    (collection / "greys.rows").write_bytes(greys)

    findings = check(collection)
    assert sorted(finding.kind for finding in findings) == ["encoder", "greys", "index", "vectors", "vectors"]
    assert next(finding.ids for finding in findings if finding.kind == "greys") == (1,)
    assert all(finding.repairable for finding in findings)
    assert all(len(finding.ids) == 1 for finding in findings if finding.kind == "vectors")
    repair(collection, findings)
    assert check(collection) == []
    after = vectors(collection)
    for name, matrix in before.items():
        np.testing.assert_allclose(after[name], matrix, atol=1e-6)


def test_a_picture_that_is_gone_is_told_and_taken_out_and_a_changed_one_described_anew(collection: Path) -> None:
    held = Collection.open(collection)
    source = held.images.source_paths[0][0]
    gone, changed = held.images.files[0], held.images.files[1]
    (source / gone).unlink()
    shutil.copyfile(source / held.images.files[-1], source / changed)
    result = CliRunner().invoke(kvasir, ["verify", str(collection), "--json"])
    assert result.exit_code == 1
    kinds = {finding["kind"]: finding["ids"] for finding in json.loads(result.stdout)["findings"]}
    assert kinds == {"picture gone": [0], "picture changed": [1]}
    assert CliRunner().invoke(kvasir, ["verify", str(collection), "--repair"]).exit_code == 1  # the gone one stays
    assert CliRunner().invoke(kvasir, ["remove", str(collection), "--gone"]).exit_code == 0
    sound = CliRunner().invoke(kvasir, ["verify", str(collection)])
    assert sound.exit_code == 0
    assert "sound" in sound.output
    ids = Collection.open(collection).images.ids.tolist()
    assert 0 not in ids
    assert 1 not in ids  # an id never changes its picture: the changed one came back under a new id
    assert len(ids) == len(held) - 1


def test_a_damaged_catalog_says_what_helps_and_never_points_at_the_command_that_says_so(
    indexed: Any, tmp_path: Path
) -> None:
    for at, content in enumerate((b"", b"no database at all " * 500, None)):
        path = tmp_path / str(at)
        shutil.copytree(indexed.path, path)
        catalog = path / "catalog.sqlite"
        if content is None:  # a page in the middle is overwritten
            data = bytearray(catalog.read_bytes())
            data[4096:8192] = b"\xff" * 4096
            content = bytes(data)
        catalog.write_bytes(content)
        result = CliRunner().invoke(kvasir, ["verify", str(path)])
        assert isinstance(result.exception, DamagedCatalogError), result.output
        assert "restore it from a copy, or index the pictures into a new collection" in str(result.exception)
