"""Names, labels and classes as people have them, from the command line to the collection."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from retrieval.collection import Collection, CollectionWriter
from retrieval.command_line import main
from retrieval.search import open_collection
from retrieval.spaces.encoder import create

COMPOSED, DECOMPOSED = "s\u00e9v\u00e8re", "se\u0301ve\u0300re"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`kvasir` in this process: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kvasir", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def empty(tiny_spec: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with the space of a small encoder and no images."""
    path = tmp_path_factory.mktemp("template") / "c"
    with CollectionWriter(path, create=True) as writer:
        create(writer, tiny_spec)
    return path


@pytest.fixture
def collection(empty: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(empty, tmp_path / "c"))


@pytest.fixture(scope="module")
def pictures(draw: Callable[..., Image.Image], encode_file: Callable[..., bytes]) -> list[bytes]:
    return [encode_file(draw(seed, size=(96, 72))) for seed in range(6)]


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def classes(path: Path) -> dict[str, str | None]:
    images = Collection.open(path).images
    return {
        file: images.classes[label] if label >= 0 else None
        for file, label in zip(images.files, images.labels.tolist(), strict=True)
    }


def test_both_unicode_forms_of_a_class_are_one_class_for_every_command(
    run: Run, collection: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    names = [f"{COMPOSED}/0.jpg", f"{DECOMPOSED}/1.jpg", f"{DECOMPOSED}/2.jpg", "plain/3.jpg"]
    data = fill(tmp_path / "data", dict(zip(names, pictures, strict=False)))
    assert run("index", data, collection)[0] == 0
    assert classes(collection) == dict.fromkeys(names[:3], COMPOSED) | {"plain/3.jpg": "plain"}
    for form in (COMPOSED, DECOMPOSED):
        status, out, err = run("search", 0, collection, "--class", form, "--query-class", form, "--json")
        assert status == 0, err
        assert {hit["class_name"] for hit in json.loads(out)["hits"]} == {COMPOSED}
        assert json.loads(out)["quality"]["precision"] == 3 / 10
    assert (
        run("add", collection, fill(tmp_path / "new", {"4.jpg": pictures[4]}) / "4.jpg", "--class", DECOMPOSED)[0] == 0
    )
    assert Collection.open(collection).classes == ("plain", COMPOSED)
    again = json.loads(run("index", data, collection, "--json")[1])
    assert (again["added"], again["unchanged"]) == (0, 4)


def test_a_class_that_an_earlier_version_stored_in_another_form_is_the_same(
    run: Run, collection: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    data = fill(tmp_path / "data", {f"{DECOMPOSED}/0.jpg": pictures[0], "plain/1.jpg": pictures[1]})
    assert run("index", data, collection)[0] == 0
    with sqlite3.connect(collection / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE images SET class = ? WHERE class = ?", (DECOMPOSED, COMPOSED))
    catalog.close()
    assert Collection.open(collection).classes == ("plain", COMPOSED)
    assert [hit.id for hit in open_collection(collection).search(0, classes=DECOMPOSED)] == [1]
    again = json.loads(run("index", data, collection, "--json")[1])
    assert (again["added"], again["unchanged"]) == (0, 2)


def test_features_are_matched_whatever_the_form_of_the_names(
    run: Run, pictures: list[bytes], tiny_spec: str, tmp_path: Path
) -> None:
    composed = fill(tmp_path / "composed", {f"{COMPOSED}/{COMPOSED}.jpg": pictures[0], "x/1.jpg": pictures[1]})
    decomposed = fill(tmp_path / "decomposed", {f"{DECOMPOSED}/{DECOMPOSED}.jpg": pictures[0], "x/1.jpg": pictures[1]})
    assert run("features", composed, tmp_path / "features")[0] == 0
    status, out, _ = run(
        "index", decomposed, tmp_path / "d", "--encoder", tiny_spec, "--features", tmp_path / "features", "--json"
    )
    outcome = json.loads(out)
    assert (status, outcome["without_features"], outcome["features_without_image"]) == (0, [], [])
    assert {len(Collection.open(tmp_path / "d").positions(name)) for name in ("JCD", "Tamura")} == {2}


class StoredInGbk(zipfile.ZipInfo):
    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  # zipfile's own
        return self.filename.encode("gbk"), self.flag_bits & ~0x800


def test_a_zip_in_gbk_has_its_names_and_its_pictures_are_found_whatever_encoding_was_given(
    run: Run, collection: Path, empty: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "gbk.zip", "w") as archive:
        for number, data in enumerate(pictures[:4]):
            archive.writestr(StoredInGbk(f"{('息肉', '正常盲肠')[number % 2]}/{number}.jpg"), data)
    status, _, err = run("index", tmp_path / "gbk.zip", collection)
    assert (status, "guessed gbk, such as '息肉/0.jpg'" in err) == (0, True)
    assert set(classes(collection).values()) == {"息肉", "正常盲肠"}
    other = Path(shutil.copytree(empty, tmp_path / "other"))
    status, _, err = run("index", tmp_path / "gbk.zip", other, "--zip-encoding", "cp949")
    assert (status, "guessed" in err) == (0, False)
    for path in (collection, other):  # read again without the option
        opened = Collection.open(path)
        assert sorted(opened.read(number) for number in range(4)) == sorted(pictures[:4])
    assert run("index", tmp_path / "gbk.zip", collection, "--zip-encoding", "klingon")[0] == 2


def test_a_flat_folder_gets_its_classes_from_a_table(
    run: Run, collection: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    data = fill(tmp_path / "flat", {f"{number}.jpg": data for number, data in enumerate(pictures[:4])})
    (tmp_path / "labels.csv").write_text("file;finding\n0.jpg;polyp\n1.jpg;cecum\n2.jpg;cecum\n")
    status, _, err = run("index", data, collection, "--labels", tmp_path / "labels.csv", "--map", "polyp=polyps")
    assert status == 0, err
    assert classes(collection) == {"0.jpg": "polyps", "1.jpg": "cecum", "2.jpg": "cecum", "3.jpg": None}
    assert "classes from labels.csv: 3 pictures" in err
    assert "pictures that labels.csv does not name, left without a class: 1" in err
    assert "class polyp counted as polyps: 1 picture" in err
    (tmp_path / "labels.csv").write_text("file;finding\n0.jpg;polyp\n0.jpg;cecum\n")
    assert run("index", data, collection, "--labels", tmp_path / "labels.csv")[0] == 2


def test_classes_of_hyperkvasir_join_kvasir_s_when_they_are_told_to(
    run: Run, collection: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    kvasir = fill(tmp_path / "k", {"normal-cecum/0.jpg": pictures[0], "polyps/1.jpg": pictures[1]})
    hyper = fill(tmp_path / "h", {"cecum/2.jpg": pictures[2], "ileum/3.jpg": pictures[3]})
    assert run("index", kvasir, collection)[0] == 0
    _, _, err = run("index", hyper, collection)
    assert "classes that the collection has under other names: cecum (normal-cecum); `--map known`" in err
    assert classes(collection)["cecum/2.jpg"] == "cecum"
    other = Path(shutil.copytree(collection, tmp_path / "other"))
    status, _, err = run("index", hyper, other, "--map", "known", "--map", "ileum=")
    assert (status, classes(other)["cecum/2.jpg"]) == (0, "cecum")  # the collection has that class by now
    with CollectionWriter(other) as writer:
        writer.remove(Collection.open(other).images.ids[2:].tolist())
    _, _, err = run("index", hyper, other, "--map", "known", "--map", "ileum=")
    assert "class cecum counted as normal-cecum: 1 picture" in err
    assert (classes(other)["cecum/2.jpg"], classes(other)["ileum/3.jpg"]) == ("normal-cecum", None)


def test_a_batch_counts_queries_under_the_collection_s_names(
    run: Run, collection: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    data = fill(tmp_path / "k", {"normal-cecum/0.jpg": pictures[0], "polyps/1.jpg": pictures[1]})
    assert run("index", data, collection)[0] == 0
    queries = fill(tmp_path / "q", {"cecum/2.jpg": pictures[2], "ileum/3.jpg": pictures[3], "lump/4.jpg": pictures[4]})
    batch = ("search", "--batch", queries, collection, "-k", 2, "--json")
    status, out, err = run(*batch, "--out", tmp_path / "a.csv")
    assert status == 0, err
    assert "queries of class cecum are counted as normal-cecum" in err
    assert json.loads(out)["class_map"] == {"cecum": "normal-cecum"}
    assert {name: one["recall"] for name, one in json.loads(out)["quality"]["classes"].items()} == {"normal-cecum": 1}
    assert json.loads(out)["quality"]["nothing_relevant"] == {"ileum": 1, "lump": 1}
    _, out, _ = run(*batch, "--out", tmp_path / "b.csv", "--map", "lump=polyps,cecum=cecum")
    assert list(json.loads(out)["quality"]["classes"]) == ["polyps"]
    refused = run(*batch, "--out", tmp_path / "c.csv", "--map", "lump=polips")
    assert (refused[0], "no class polips (did you mean polyps?)" in refused[2]) == (2, True)
    assert not (tmp_path / "c.csv").exists()


def test_several_spaces_are_fused_as_the_engine_fuses_them(
    run: Run, collection: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    data = fill(tmp_path / "k", {f"polyps/{number}.jpg": data for number, data in enumerate(pictures)})
    assert run("index", data, collection, "--descriptors", "JCD,Tamura")[0] == 0
    engine = open_collection(collection)
    for fusion in ("rrf", "zscore", "minmax"):
        _, out, _ = run(
            "search", 0, collection, "--space", "JCD,Tamura", "--weight", "tamura=3", "--fusion", fusion, "--json"
        )
        expected = engine.search(0, spaces=["JCD", "Tamura"], weights=[1, 3], fusion=fusion)
        assert json.loads(out) == expected.to_dict()
        _, table, _ = run("search", 0, collection, "--space", "JCD,Tamura", "--fusion", fusion)
        assert (
            table.splitlines()[0].split("  ")[3:] == ["", expected.score_kind, "file"] or expected.score_kind in table
        )
        assert f"by JCD + Tamura, fused by {fusion}: " in table
        options = ("--space", "JCD,Tamura", "--weight", "tamura=3", "--fusion", fusion, "-k", 6)
        status, _, _ = run("search", "--batch", data, collection, *options, "--out", tmp_path / f"{fusion}.jsonl")
        assert status == 0
        first = json.loads((tmp_path / f"{fusion}.jsonl").read_text().splitlines()[0])
        single: Any = engine.search(pictures[0], 6, spaces=["JCD", "Tamura"], weights=[1, 3], fusion=fusion)
        assert [hit["id"] for hit in first["hits"]] == single.ids
    assert "similarity" in run("search", 0, collection)[1].splitlines()[0]
    for wrong in ("PHOG=1", "JCD=0", "JCD", "JCD=x", "nosuch=1"):
        assert run("search", 0, collection, "--space", "JCD,Tamura", "--weight", wrong)[0] == 2


def test_added_pictures_are_named_as_indexed_ones_are(
    run: Run, collection: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    data = fill(tmp_path / "k", {"normal-cecum/0.jpg": pictures[0], "polyps/1.jpg": pictures[1]})
    assert run("index", data, collection)[0] == 0
    with zipfile.ZipFile(tmp_path / "gbk.zip", "w") as archive:
        archive.writestr(StoredInGbk("息肉/2.jpg"), pictures[2])
    new = fill(tmp_path / "new", {"3.jpg": pictures[3], "4.jpg": pictures[4]})
    assert run("add", collection, tmp_path / "gbk.zip", "--zip-encoding", "gbk", "--map", "息肉=polyps")[0] == 0
    assert run("add", collection, new / "3.jpg", "--class", "cecum", "--map", "known")[0] == 0
    _, _, err = run("add", collection, new / "4.jpg", "--class", "Polyps")
    assert "classes that differ only in spelling from the collection's: Polyps, polyps" in err
    assert [name for file, name in classes(collection).items() if file[-5:] in ("2.jpg", "3.jpg", "4.jpg")] == [
        "polyps",
        "normal-cecum",
        "Polyps",
    ]
