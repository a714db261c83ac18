"""A damaged collection is told what is wrong with it, and mended from its pictures."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.repair import repair
from indexer.verification import check
from retrieval.collection import Collection, CollectionWriter, DamagedCatalogError
from retrieval.command_line import kvasir


@pytest.fixture(scope="module")
def made(indexed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of pictures of its own, in the folder `data` beside it."""
    folder: Path = tmp_path_factory.mktemp("verify")
    shutil.copytree(indexed.data, folder / "data")
    result = CliRunner().invoke(kvasir, ["index", str(folder / "data"), str(folder / "made"), "--descriptors", "JCD"])
    assert result.exit_code == 0, result.output
    return folder / "made"


@pytest.fixture
def collection(made: Path, indexed: Any, tmp_path: Path) -> Path:
    """A copy of that collection, to damage; its pictures may be damaged as well."""
    shutil.rmtree(made.parent / "data")
    shutil.copytree(indexed.data, made.parent / "data")
    shutil.copytree(made, tmp_path / "made")
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
    assert sorted(finding.kind for finding in findings) == ["greys", "index", "space", "vectors", "vectors", "vectors"]
    assert next(finding.ids for finding in findings if finding.kind == "greys") == (1,)
    assert all(finding.repairable for finding in findings)
    assert all(len(finding.ids) == 1 for finding in findings if finding.kind == "vectors")
    assert repair(collection, findings).failed == []
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
    mended = CliRunner().invoke(kvasir, ["verify", str(collection), "--repair"])
    assert mended.exit_code == 1  # the gone one stays
    assert f"image 1 is now image 26, since its picture is another: {changed}" in mended.stdout
    assert f"still wrong: 1 picture no longer where indexed, the first {gone}" in mended.stdout
    assert CliRunner().invoke(kvasir, ["remove", str(collection), "--gone"]).exit_code == 0
    sound = CliRunner().invoke(kvasir, ["verify", str(collection)])
    assert sound.exit_code == 0
    assert "sound" in sound.output
    ids = Collection.open(collection).images.ids.tolist()
    assert 0 not in ids
    assert 1 not in ids  # an id never changes its picture: the changed one came back under a new id
    assert len(ids) == len(held) - 1


def test_a_folder_that_is_not_mounted_or_a_zip_that_is_damaged_costs_no_image_until_it_is_named(
    indexed: Any, tmp_path: Path
) -> None:
    path, away = tmp_path / "c", tmp_path / "away"
    one, two = parted(indexed.data, tmp_path)
    zipped = Path(shutil.make_archive(str(tmp_path / "two"), "zip", two))
    for data in (one, zipped):
        assert run("index", data, path).exit_code == 0
    whole = zipped.read_bytes()
    one.rename(away)
    zipped.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):  # the folder is away, then it is there but empty
        kept = run("remove", path, "--gone")
        assert (kept.exit_code, kept.stdout) == (1, f"{path}: 0 removed, 17 images left\n")
        assert f"`kvasir remove {path} --source {one}`" in kept.stderr
        assert f"{zipped} cannot be opened (damaged or cut off" in kept.stderr
        one.mkdir(exist_ok=True)
    one.rmdir()
    away.rename(one)
    zipped.write_bytes(whole)
    assert run("verify", path).exit_code == 0
    (one / "cecum" / "3.jpg").unlink()
    (one / "cecum" / "4.jpg").unlink()
    (one / "cecum" / "4.jpg").mkdir()  # is there, but cannot be read
    told = json.loads(run("verify", path, "--json").stdout)
    assert {finding["kind"]: finding["ids"] for finding in told["findings"]} == {
        "picture gone": [3],
        "picture damaged": [4],
    }
    assert json.loads(run("remove", path, "--gone", "--json").stdout)["removed"] == [3]
    zipped.unlink()
    assert run("remove", path, "--source", zipped).stdout == f"{path}: 9 removed, 7 images left\n"
    assert "no image was indexed in" in run("remove", path, "--source", zipped).stderr


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


# What could not be mended stays known as damaged.

ROOT = Path(__file__).resolve().parents[3]

WORKER = """
    import os, signal, sys
    from indexer import embedding
    from retrieval.collection import catalog, vectors
    from retrieval.command_line import main

    embedding.BATCH = 8
    step, calls = int(sys.argv.pop()), [0]

    def counted(function):
        '''Kill this process before the step-th call of anything that writes.'''
        def call(*arguments, **options):
            calls[0] += 1
            if calls[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return call

    for owner, name in ((vectors.VectorFile, "write"), (vectors.VectorFile, "sync"),
                        (catalog, "_begin"), (catalog, "_commit")):
        setattr(owner, name, counted(getattr(owner, name)))
    main()
"""


def run(*arguments: object) -> Any:
    return CliRunner().invoke(kvasir, [str(argument) for argument in arguments])


def flip(collection: Path, space: str, *ids: int) -> None:
    """Damage the vectors of images."""
    held = Collection.open(collection)
    definition = held.manifest.space(space)
    (file,) = (collection / "vectors").glob(f"{space}.*")
    rows = np.frombuffer(file.read_bytes(), definition.dtype).reshape(-1, definition.dimension).copy()
    rows[list(ids)] = 7
    file.write_bytes(rows.tobytes())


def described(data: Path, features: Path) -> tuple[Path, Path]:
    assert run("features", data, features).exit_code == 0
    return data, features


@pytest.fixture
def shipped(indexed: Any, tmp_path: Path) -> Path:
    """Eight pictures with shipped features, from a folder beside."""
    shutil.copytree(indexed.data / "cecum", tmp_path / "shown" / "cecum")
    data, features = described(tmp_path / "shown", tmp_path / "features")
    assert run("index", data, tmp_path / "shipped", "--features", features).exit_code == 0
    return tmp_path / "shipped"


# The first batch writes its eight vectors at 5 to 12, syncs at 13 and commits at 15; the second one writes from 19 on.
@pytest.mark.parametrize("step", [1, 5, 9, 13, 15, 16, 22])
def test_a_repair_that_is_killed_loses_no_vector_and_the_next_one_mends_all(
    step: int, fork: Callable[..., Any], indexed: Any, tmp_path: Path
) -> None:
    path, said = tmp_path / "c", tmp_path / "said"
    shutil.copytree(indexed.path, path)
    before = vectors(path)["tf_efficientnet_lite0"]
    (path / "vectors" / "tf_efficientnet_lite0.float32").unlink()
    killed = fork(WORKER, "verify", path, "--quick", "--repair", step, stdout=tmp_path / "out", stderr=said)
    assert killed.wait(120) == -signal.SIGKILL, said.read_text()
    assert len(Collection.open(path).positions("tf_efficientnet_lite0")) == 26
    told = run("verify", path, "--quick")
    assert told.exit_code == 1
    assert "of 26 vectors missing or damaged" in told.stdout
    mended = run("verify", path, "--repair")
    assert mended.exit_code == 0, mended.output
    assert "sound (26 images in 1 space)" in mended.stdout
    np.testing.assert_allclose(vectors(path)["tf_efficientnet_lite0"], before, atol=1e-6)


def test_a_picture_that_the_shipped_features_do_not_know_is_described_by_computing(
    shipped: Path, indexed: Any, tmp_path: Path
) -> None:
    new = [tmp_path / f"new {number}.jpg" for number in range(4)]
    for number, file in enumerate(new):
        shutil.copyfile(indexed.data / "polyps" / f"{number}.jpg", file)
    assert run("add", shipped, *new).exit_code == 0
    before = vectors(shipped)
    flip(shipped, "JCD", 3, 11)
    mended = run("verify", shipped, "--repair")
    assert mended.exit_code == 0, mended.output
    assert "repaired: 2 of 2 images computed anew" in mended.stdout
    after = vectors(shipped)
    assert len(after["JCD"]) == 12
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_a_vector_that_no_picture_gives_is_told_and_computed_anew(shipped: Path) -> None:
    before = vectors(shipped)
    with CollectionWriter(shipped) as writer:  # as an archive with a wrong value was once taken in
        writer.fill({3: {"JCD": np.full(168, -0.5), "EdgeHistogram": np.full(80, 9.0)}})
    told = json.loads(run("verify", shipped, "--json").stdout)
    assert [(finding["space"], finding["ids"]) for finding in told["findings"]] == [
        ("JCD", [3]),
        ("EdgeHistogram", [3]),
    ]
    assert run("verify", shipped, "--repair").exit_code == 0
    after = vectors(shipped)
    assert all(np.array_equal(after[name], before[name]) for name in ("JCD", "EdgeHistogram"))


def parted(data: Path, folder: Path) -> tuple[Path, Path]:
    """Two data sets of a class each."""
    one, two = folder / "one", folder / "two"
    shutil.copytree(data / "cecum", one / "cecum")
    shutil.copytree(data / "polyps", two / "polyps")
    return one, two


def test_vectors_of_an_archive_that_is_not_the_first_or_that_is_damaged_are_computed(
    indexed: Any, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    for data in parted(indexed.data, tmp_path):
        data, features = described(data, tmp_path / f"features of {data.name}")
        assert run("index", data, path, "--features", features).exit_code == 0
    before = vectors(path)
    (path / "vectors" / "JCD.float32").unlink()
    next((tmp_path / "features of one").rglob("*.features")).write_text("no features")
    mended = run("verify", path, "--repair")
    assert mended.exit_code == 0, mended.output
    assert "repaired: 17 of 17 images computed anew" in mended.stdout
    assert np.array_equal(vectors(path)["JCD"], before["JCD"])


def test_only_the_damaged_vector_of_an_image_is_written_anew(shipped: Path, tmp_path: Path) -> None:
    before = vectors(shipped)
    flip(shipped, "JCD", 7)
    sound = [file for file in (shipped / "vectors").iterdir() if not file.name.startswith("JCD")]
    written = [file.stat().st_mtime_ns for file in sound]
    assert len(sound) == 6
    shutil.rmtree(tmp_path / "features")  # so that all are computed, which need not give what was shipped
    assert run("verify", shipped, "--repair").exit_code == 0
    assert [file.stat().st_mtime_ns for file in sound] == written
    assert np.array_equal(vectors(shipped)["JCD"], before["JCD"])


def test_an_encoder_that_cannot_be_made_anew_keeps_no_other_space_from_being_mended(
    indexed: Any, tiny_spec: str, tmp_path: Path
) -> None:
    path, weights = tmp_path / "c", tmp_path / "w.safetensors"
    shutil.copyfile(tiny_spec.partition("/")[2], weights)
    spec = f"timm:test_vit/{weights}"
    args = (
        "index",
        indexed.data,
        path,
        "--encoder",
        "timm:tf_efficientnet_lite0",
        "--encoder",
        spec,
        "--encoder-features",
        "last",
    )
    assert run(*args, "--descriptors", "JCD").exit_code == 0
    before = vectors(path)
    weights.unlink()
    (path / "encoders" / "test_vit-w" / "tower.bin").write_bytes(b"damaged")
    for space in before:
        flip(path, space, 3)
    mended = run("verify", path, "--repair")
    assert mended.exit_code == 1
    assert "repaired: 1 of 1 image computed anew" in mended.stdout
    assert mended.stderr.count("the encoder or model of the space test_vit-w: ") == 1
    assert f"there is no weights file {weights}" in mended.stderr
    left = [finding["space"] for finding in json.loads(run("verify", path, "--json").stdout)["findings"]]
    assert left == ["test_vit-w"] * 2  # its encoder and its vectors
    after = vectors(path)
    for space in ("tf_efficientnet_lite0", "JCD"):
        np.testing.assert_allclose(after[space], before[space], atol=1e-6)


def test_a_repair_deletes_nothing_that_another_run_has_finished_since_the_check(
    collection: Path, tiny_spec: str, indexed: Any
) -> None:
    encoder = collection / "encoders" / "test_vit-test_vit"
    encoder.mkdir()
    (encoder / "tower.xml").touch()
    findings = check(collection, pictures=False)  # as in the middle of a run that adds a space
    assert [finding.path for finding in findings] == [encoder]
    shutil.rmtree(encoder)
    assert run("index", indexed.data, collection, "--encoder", tiny_spec).exit_code == 0
    assert repair(collection, findings).done == []
    assert check(collection, pictures=False) == []


def test_a_source_that_is_gone_keeps_no_other_from_being_mended_and_its_vectors_are_not_forgotten(
    indexed: Any, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    one, two = parted(indexed.data, tmp_path)
    for data in (one, two):
        assert run("index", data, path, "--encoder-features", "last").exit_code == 0
    before = vectors(path)["tf_efficientnet_lite0"]
    flip(path, "tf_efficientnet_lite0", 2, 12)
    one.rename(tmp_path / "away")
    mended = run("verify", path, "--quick", "--repair")
    assert mended.exit_code == 1
    assert "repaired: 1 of 2 images computed anew" in mended.stdout
    assert "still wrong: space tf_efficientnet_lite0: 1 of 17 vectors missing or damaged" in mended.stdout
    assert f"cecum/2.jpg: {one}: no such folder or zip" in mended.stderr
    told = json.loads(run("verify", path, "--json").stdout)
    assert {finding["kind"]: finding["ids"] for finding in told["findings"]} == {
        "vectors": [2],
        "source gone": list(range(8)),
    }
    assert f"8 pictures cannot be read: {one} cannot be opened (No such file or directory); put it back" in str(told)
    (tmp_path / "away").rename(one)
    assert run("verify", path, "--repair").exit_code == 0
    np.testing.assert_allclose(vectors(path)["tf_efficientnet_lite0"], before, atol=1e-6)


def test_a_picture_that_no_longer_decodes_is_told_with_its_reason_and_promised_no_mend(collection: Path) -> None:
    held = Collection.open(collection)
    source, file = held.images.source_paths[0][0], held.images.files[3]
    whole = (source / file).read_bytes()
    (source / file).write_bytes(whole[: len(whole) // 2])
    told = run("verify", collection)
    assert told.exit_code == 1
    assert f"1 picture damaged since indexed, the first {file} (" in told.stdout
    assert f"`kvasir remove {collection} 3`" in told.stdout
    assert "--repair" not in told.stdout
    flip(collection, "JCD", 3, 4)
    mended = json.loads(run("verify", collection, "--repair", "--json").stdout)
    assert mended["repairs"] == ["1 of 2 images computed anew"]
    assert [failed["file"] for failed in mended["failed"]] == [file]
    assert "cut off" in mended["failed"][0]["reason"] or "truncated" in mended["failed"][0]["reason"]
    assert len(mended["left"]) == 2
    (source / file).write_bytes(whole)
    assert run("verify", collection, "--repair").exit_code == 0


def test_a_changed_picture_that_is_a_copy_of_one_with_a_damaged_vector_is_described_from_its_pixels(
    collection: Path,
) -> None:
    held = Collection.open(collection)
    source, files = held.images.source_paths[0][0], held.images.files
    before = vectors(collection)["tf_efficientnet_lite0-multi"]
    flip(collection, "tf_efficientnet_lite0-multi", 5)
    shutil.copyfile(source / files[5], source / files[6])
    assert run("verify", collection, "--repair").exit_code == 0
    after = Collection.open(collection)
    copy = after.vector("tf_efficientnet_lite0-multi", 26)
    assert copy is not None
    np.testing.assert_allclose(copy, before[5], atol=1e-6)


def test_no_damage_to_a_catalog_ends_a_check_by_an_error_of_sqlite(indexed: Any, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(indexed.path, path)
    catalog = path / "catalog.sqlite"
    sound = catalog.read_bytes()
    random = np.random.default_rng(1)
    told = []
    for _ in range(300):
        at, size = int(random.integers(len(sound))), int(random.choice([1, 4, 64, 512]))
        catalog.write_bytes((sound[:at] + random.bytes(size) + sound[at + size :])[: len(sound)])
        try:
            check(path, pictures=False)
        except DamagedCatalogError as error:
            told.append(str(error))
    assert len(told) > 30  # most bytes of so small a catalog are the unused rest of a page
    assert all(str(path) in message and "restore it from a copy" in message for message in told)


def test_nothing_but_the_answer_is_printed_where_stderr_is_no_terminal(indexed: Any) -> None:
    program = [sys.executable, "-c", "from retrieval.command_line import main; main()", "verify", str(indexed.path)]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, check=True, text=True)
    assert ended.stderr == ""
    assert ended.stdout == f"{indexed.path}: sound (26 images in 1 space)\n"
