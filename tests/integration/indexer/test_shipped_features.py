"""Features in Kvasir's form: written, read back as spaces, recognised, searched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.commands.features import OtherVariantError
from indexer.descriptor_spaces import NOT_COMPARABLE
from retrieval.collection import Collection
from retrieval.command_line import kvasir
from retrieval.descriptors import DESCRIPTORS
from retrieval.search import open_collection


def run(*arguments: object) -> Any:
    return CliRunner().invoke(kvasir, [str(argument) for argument in arguments])


LAST = ("--encoder-features", "last")  # one space for the encoder


@pytest.fixture(scope="module")
def data(indexed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("features") / "data"
    shutil.copytree(indexed.data, path)
    return path


def test_features_that_were_written_come_back_as_six_spaces_equal_to_computed_ones(data: Path, tmp_path: Path) -> None:
    written = run("features", data, tmp_path / "features", "--variant", "modern")
    assert written.exit_code == 0, written.output
    again = run("features", data, tmp_path / "features", "--variant", "modern", "--json")
    assert json.loads(again.stdout) == {
        "out": str(tmp_path / "features"),
        "variant": "modern",
        "written": 0,
        "already_there": 26,
        "rejected": [],
    }
    one, other = sorted((tmp_path / "features").rglob("*.features"))[:2]
    one.unlink()
    other.write_text(other.read_text().replace("JCD:", "JCX:"))

    shipping = ("index", data, *LAST, tmp_path / "shipped", "--features", tmp_path / "features")
    shipped = run(*shipping, "--json")
    assert shipped.exit_code == 1, shipped.output
    told = json.loads(shipped.stdout)
    assert [Path(file).stem for file in told["without_features"]] == [one.stem]
    (bad,) = told["bad_features"]
    assert f"{other.name}" in bad["reason"]

    said = run("info", tmp_path / "shipped").output
    assert said.count("shipped in ") == 1  # not once for each of the six
    assert said.count("; modern gives 100.00% of the shipped values (") == 6

    again = json.loads(run(*shipping, "--json").stdout)
    assert (again["completed"], again["unchanged"], len(again["bad_features"])) == (0, 26, 1)

    computed = run("index", data, *LAST, tmp_path / "computed", "--descriptors", "all")
    assert computed.exit_code == 0, computed.output
    left, right = Collection.open(tmp_path / "shipped"), Collection.open(tmp_path / "computed")
    assert [space.name for space in left.spaces][1:] == list(DESCRIPTORS)
    assert left.spaces[1].recipe["variant"] == "modern"
    for name in ("JCD", "ColorLayout", "EdgeHistogram", "AutoColorCorrelogram"):  # these do not look at grey
        ids, vectors = left.vectors(name)
        assert len(ids) == len(left) - 2
        np.testing.assert_array_equal(vectors, right.vectors(name)[1][np.isin(right.vectors(name)[0], ids)])

    filled = run(*shipping, "--descriptors", "all")
    said = f"1 without shipped features, whose descriptors were computed:\n  {one.parent.name}/{one.stem}."
    assert said in filled.stderr


def test_a_second_run_writes_what_is_missing_and_never_another_variant(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "features"
    assert run("features", data / "polyps", out).exit_code == 0
    kept, lost = sorted(out.rglob("*.features"))[:2]
    before = lost.read_text()
    kept.write_text("left alone")
    lost.unlink()
    assert run("features", data / "polyps", out).exit_code == 0
    assert (kept.read_text(), lost.read_text()) == ("left alone", before)
    other = run("features", data / "polyps", out, "--variant", "modern")
    assert isinstance(other.exception, OtherVariantError)
    assert "holds features of LIRE variant `legacy`" in str(other.exception)


def test_of_two_pictures_with_one_name_the_second_is_told_and_gets_no_features(data: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures" / "polyps"
    pictures.mkdir(parents=True)
    one, other = sorted((data / "polyps").iterdir())[:2]
    shutil.copyfile(one, pictures / "a.jpg")
    shutil.copyfile(other, pictures / "a.png")
    written = run("features", pictures.parent, tmp_path / "features")
    assert written.exit_code == 1
    assert "polyps/a.png: named as polyps/a.jpg" in " ".join(written.stderr.split())
    assert len(list((tmp_path / "features").rglob("*.features"))) == 1


def test_a_picture_finds_itself_by_every_descriptor_that_it_was_indexed_with(data: Path, tmp_path: Path) -> None:
    assert run("index", data, tmp_path / "made", "--descriptors", "all").exit_code == 0
    engine = open_collection(tmp_path / "made")
    file = engine.collection.images.source_paths[0][0] / engine.collection.file_of(3)
    for name in DESCRIPTORS:
        first = engine.search(file, 1, spaces=name)[0]
        assert (first.id, first.distance, first.score) == (3, 0.0, 1.0)


def test_an_archive_that_no_picture_matched_at_first_is_compared_when_one_does(data: Path, tmp_path: Path) -> None:
    assert run("features", data, tmp_path / "features", "--variant", "modern").exit_code == 0
    (tmp_path / "features" / "polyps").rename(tmp_path / "features" / "lesions")
    shutil.copytree(data / "polyps", tmp_path / "shown" / "polyps")
    first = run("index", tmp_path / "shown", tmp_path / "made", "--features", tmp_path / "features")
    assert "no shipped features could be compared" in first.stderr
    assert "variant legacy (assumed)" in run("info", tmp_path / "made").stdout
    (tmp_path / "features" / "lesions").rename(tmp_path / "features" / "polyps")
    second = run("index", tmp_path / "shown", tmp_path / "made", "--features", tmp_path / "features")
    assert (second.exit_code, "shipped features: LIRE variant `modern`: 100.00%" in second.stderr) == (0, True)
    told = run("info", tmp_path / "made").stdout
    assert (told.count("LIRE variant modern; modern gives 100.00%"), "assumed" in told) == (6, False)


def test_a_name_that_is_no_descriptor_is_told_and_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    result = run("index", data, tmp_path / "made", "--descriptors", "JCD,nosuch")
    assert result.exit_code != 0
    assert "nosuch" in str(result.exception)
    assert not (tmp_path / "made").exists()


def test_single_pictures_are_added_with_the_class_that_is_given(data: Path, tmp_path: Path) -> None:
    assert run("index", data, tmp_path / "made", "--descriptors", "JCD").exit_code == 0
    count = len(Collection.open(tmp_path / "made"))
    picture = next(data.rglob("*.*"))
    shutil.copyfile(picture, tmp_path / "new.jpg")
    (tmp_path / "bad.jpg").write_text("no picture")
    added = run("add", tmp_path / "made", tmp_path / "new.jpg", tmp_path / "bad.jpg", "--class", "polyps")
    assert added.exit_code == 1
    held = Collection.open(tmp_path / "made")
    assert len(held) == count + 1
    assert held.class_of(int(held.images.ids[-1])) == "polyps"
    assert held.vector("JCD", int(held.images.ids[-1])) is not None


def test_encoder_and_computed_descriptors_share_one_decoding_and_queries_do_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import indexer.embedding as embedding

    drafts: list[Any] = []
    decode = embedding.decode

    def counted(content: bytes, **options: Any) -> Any:
        drafts.append(options.get("draft"))
        return decode(content, **options)

    monkeypatch.setattr(embedding, "decode", counted)
    assert run("index", data, tmp_path / "made", "--descriptors", "all").exit_code == 0
    engine = open_collection(tmp_path / "made")
    assert drafts == [None] * len(engine.collection)
    file = engine.collection.images.source_paths[0][0] / engine.collection.file_of(5)
    first = engine.search(file, 1)[0]
    assert (first.id, round(first.score, 6)) == (5, 1.0)


def test_where_no_variant_gives_the_shipped_values_the_run_the_recipe_and_a_query_say_so(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("features", data, tmp_path / "features").exit_code == 0
    for file in (tmp_path / "features").rglob("*.features"):
        lines = file.read_text().splitlines()
        lines[1] = "Tamura:" + ",".join(["7.0"] * 18)
        file.write_text("\n".join(lines))
    made = run("index", data, tmp_path / "made", "--features", tmp_path / "features")
    assert "warning: no variant of LIRE reproduces the shipped values of 12 pictures in Tamura (" in made.stderr
    told = run("info", tmp_path / "made").stdout
    assert told.count("LIRE variant legacy; legacy gives 100.00% of the shipped values") == 5
    assert told.count("LIRE variant legacy (assumed)") == told.count(f"warning: {NOT_COMPARABLE}") == 1
    more = run("index", data, tmp_path / "made", "--descriptors", "Tamura")
    assert f"warning: Tamura: {NOT_COMPARABLE}" in more.stderr
    engine = open_collection(tmp_path / "made")
    file = engine.collection.images.source_paths[0][0] / engine.collection.file_of(3)
    engine.search(file, 3, spaces="JCD")
    engine.search(3, 3, spaces="Tamura")
    assert not caplog.messages
    engine.search(file, 3, spaces="Tamura")
    assert [message.split(":")[0] for message in caplog.messages] == ["Tamura"]
