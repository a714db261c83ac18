"""Vectors out of a collection, and back into one without pictures: the same searches and figures to the last digit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import retrieval
from retrieval.collection import Collection, CollectionWriter
from retrieval.command_line import kvasir
from retrieval.images import decode
from retrieval.placeholder import SIZE

DEFAULT = "tf_efficientnet_lite0"
TINY = "test_vit-test_vit"


def ran(*arguments: object, status: int = 0) -> Result:
    told = CliRunner().invoke(kvasir, [str(argument) for argument in arguments])
    if not isinstance(told.exception, SystemExit | None):
        raise told.exception
    assert told.exit_code == status, told.output
    return told


def refused(*arguments: object) -> str:
    """What the command line says on stderr before it ends with status 2."""
    told = CliRunner().invoke(kvasir, [str(argument) for argument in arguments])
    assert isinstance(told.exception, retrieval.RetrievalError) or told.exit_code == 2, told.output
    return told.stderr if isinstance(told.exception, SystemExit) else str(told.exception)


@pytest.fixture(scope="module")
def exported(two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn gallery's vectors; image 3 was removed before, so that the ids have a gap."""
    collection = shutil.copytree(two_spaces, tmp_path_factory.mktemp("source") / "c")
    with CollectionWriter(collection) as writer:
        writer.remove([3])
    out = tmp_path_factory.mktemp("exports") / "out"
    ran("export", collection, out)
    shutil.copytree(collection, out.parent / "source")
    return out


def imported(exported: Path, path: Path, *more: object, space: str = DEFAULT) -> Path:
    files = ("--vectors", exported / f"{space}.npy", "--table", exported / f"{space}.csv")
    ran("index", *files, path, *more)
    return path


@pytest.fixture(scope="module")
def bare(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery's vectors in both spaces, without pictures or encoders. Read only."""
    path = imported(exported, tmp_path_factory.mktemp("bare") / "c")
    return imported(exported, path, space=TINY)


def figures(collection: Path) -> list[dict[str, Any]]:
    spaces: list[dict[str, Any]] = json.loads(ran("evaluate", collection, "--json", "--samples", 50).stdout)["spaces"]
    for space in spaces:
        space.pop("mark_bias", None)  # of marks of the device, which only pictures show
    return spaces


def searched(engine: Any, *query: Any, **options: Any) -> dict[str, Any]:
    """What a search gives, without the marks of the device, which only pictures show."""
    answer: dict[str, Any] = engine.search(*query, **options).to_dict()
    for hit in answer["hits"]:
        del hit["marks"]
    return answer


def test_what_is_exported_and_imported_searches_and_evaluates_equally(exported: Path, bare: Path) -> None:
    source = exported.parent / "source"
    before, after = retrieval.open(source), retrieval.open(bare)
    assert after.collection.images.ids.tolist() == before.collection.images.ids.tolist()
    assert after.collection.images.clusters.tolist() == before.collection.images.clusters.tolist()
    for space in (DEFAULT, TINY):
        assert np.array_equal(before.vectors(space)[1], after.vectors(space)[1])
    for spaces in ([DEFAULT], [TINY], [DEFAULT, TINY]):
        for query in (0, 9, 25):
            for options in ({}, {"exclude_cluster": True}, {"classes": ["polyps"]}, {"fusion": "zscore"}):
                hits = [searched(engine, query, 20, spaces=spaces, **options) for engine in (before, after)]
                assert hits[0] == hits[1]
        vector = before.vectors(spaces[0])[1][5]
        assert searched(before, vector, 9, spaces=spaces[0]) == searched(after, vector, 9, spaces=spaces[0])
    assert figures(source) == figures(bare)


def test_what_is_imported_has_the_name_of_the_data_set_that_it_was_exported_from(exported: Path, bare: Path) -> None:
    name = Collection.open(exported.parent / "source").manifest.name
    assert Collection.open(bare).manifest.name == name != bare.name


def test_the_same_vectors_again_add_nothing_and_more_rows_are_added(exported: Path, tmp_path: Path) -> None:
    path = imported(exported, tmp_path / "c")
    before = Collection.open(path)
    imported(exported, path)
    assert Collection.open(path).images.ids.tolist() == before.images.ids.tolist()
    vectors, table = np.load(exported / f"{DEFAULT}.npy"), (exported / f"{DEFAULT}.csv").read_text().splitlines()
    np.save(tmp_path / "more.npy", np.concatenate([vectors, 5 * vectors[:1]]))
    (tmp_path / "more.csv").write_text("\n".join([*table, '99,"new/a.jpg","polyps",0,0']))
    files = ("--vectors", tmp_path / "more.npy", "--table", tmp_path / "more.csv")
    done = json.loads(ran("index", *files, path, "--space", DEFAULT, "--json").stdout)
    assert (done["added"], done["unchanged"], done["scaled"]) == (1, 25, 1)
    after = Collection.open(path)
    assert after.images.ids.tolist() == [*before.images.ids.tolist(), 99]
    assert (after.file_of(99), after.class_of(99)) == ("new/a.jpg", "polyps")
    assert after.images.ids_of_cluster(0).tolist() == [0, 99]
    assert np.allclose(after.vector(DEFAULT, 99), vectors[0], atol=1e-7)


def test_a_collection_without_pictures_is_shown_with_placeholders_and_refuses_pictures(
    bare: Path, gallery_folder: Path, tmp_path: Path
) -> None:
    collection = shutil.copytree(bare, tmp_path / "c")
    engine = retrieval.open(collection)
    picture = gallery_folder / "polyps" / "0.jpg"
    assert decode(engine.collection.display(9)).image.size == SIZE
    assert "data:image" in engine.search(9)._repr_html_()
    for arguments in (("search", picture, collection), ("add", collection, picture)):
        assert re.search("no encoder|no space .* has an encoder", refused(*arguments))
    with pytest.raises(retrieval.PictureError, match="no picture"):
        engine.search(retrieval.Part(image_id=9, region=(0, 0, 0.5, 0.5)))
    assert "no encoder" in ran("info", collection).stdout
    assert "sound" in ran("verify", collection).stdout
    assert "2 images" in ran("duplicates", collection).stdout
    assert "0 removed" in ran("remove", collection, "--missing").stdout
    assert "no query can be timed" in refused("evaluate", collection, "--speed")
    ran("evaluate", collection, "--report", tmp_path / "report", "--samples", 0)
    assert (tmp_path / "report" / "index.html").read_text().count("data:image/webp") > 10
    assert "learned" in ran("learn", collection, "mine", "--method", "lda").stdout
    assert retrieval.open(collection).search(9, spaces="mine").ids


def test_a_collection_without_pictures_is_served(bare: Path, gallery_folder: Path, tmp_path: Path) -> None:
    from web.app import create_app
    from web.context import Settings
    from web.keys import create_key

    collection = shutil.copytree(bare, tmp_path / "c")
    _, key = create_key(collection, "test", "write")
    client = create_app(Settings(collection=collection), background=False).test_client()
    for address in ("/", "/results?image=9", "/collection/", "/collection/images/9", "/api/v1/collection"):
        assert client.get(address, follow_redirects=True).status_code == 200, address
    for name in ("picture", "thumbnail"):
        response = client.get(f"/api/v1/images/9/{name}")
        assert response.status_code == 200
        assert max(decode(response.data).image.size) == SIZE[0]
    listed = client.get("/api/v1/images").get_json()["images"]
    for image in (client.get("/api/v1/images/9").get_json(), *listed):
        assert (image["width"], image["height"]) == (None, None)
    stored = client.get("/api/v1/images/9/vectors").get_json()["vectors"][DEFAULT]
    assert stored == Collection.open(collection).vector(DEFAULT, 9).tolist()  # type: ignore[union-attr]
    by_id = client.post("/api/v1/search", json={"image_id": 9, "k": 5}).get_json()
    by_vector = client.post("/api/v1/search", json={"vector": stored, "spaces": [DEFAULT], "k": 6}).get_json()
    assert [hit["id"] for hit in by_vector["hits"] if hit["id"] != 9][:5] == [hit["id"] for hit in by_id["hits"]]
    data = (gallery_folder / "polyps" / "0.jpg").read_bytes()
    headers = {"Authorization": f"Bearer {key}"}
    for address in ("/api/v1/search", "/api/v1/images"):
        response = client.post(address, data=data, content_type="image/jpeg", headers=headers)
        assert response.status_code == 422, response.text
        assert re.search("no encoder|has an encoder", response.get_json()["detail"])
    assert client.delete("/api/v1/images/9", headers=headers).status_code == 204
    assert client.get("/api/v1/images/9").status_code == 404


def test_a_damaged_vector_is_read_again_from_the_file_of_its_import(exported: Path, tmp_path: Path) -> None:
    path = imported(exported, tmp_path / "c")
    stored = path / "vectors" / f"{DEFAULT}.float32"
    sound = stored.read_bytes()
    stored.write_bytes(sound[: 4 * 1280 * 5] + bytes(100) + sound[4 * 1280 * 5 + 100 :])
    assert "1 of 25 vectors missing or damaged" in ran("verify", path, status=1).stdout
    ran("verify", "--repair", path)
    assert stored.read_bytes() == sound
    stored.write_bytes(bytes(len(sound)))
    recipe = json.loads((path / "manifest.json").read_text())["spaces"][0]["recipe"]
    assert recipe["imported"] == [
        {"vectors": str(exported / f"{DEFAULT}.npy"), "table": str(exported / f"{DEFAULT}.csv")}
    ]
    exported.rename(tmp_path / "moved")
    try:
        told = ran("verify", "--repair", path, status=1)
    finally:
        (tmp_path / "moved").rename(exported)
    assert "no file that was imported has its vector" in told.stderr


def test_vectors_of_a_known_encoder_take_pictures(exported: Path, gallery_folder: Path, tmp_path: Path) -> None:
    npy, csv = exported / f"{DEFAULT}.npy", exported / f"{DEFAULT}.csv"
    path = tmp_path / "c"
    files = ("--vectors", npy, "--table", csv)
    ran("index", *files, path, "--encoder", "timm:tf_efficientnet_lite0")
    picture = gallery_folder / "polyps" / "3.jpg"
    answer = json.loads(ran("search", picture, path, "--json").stdout)
    assert answer["hits"][0]["file"] == "polyps/3.jpg"
    assert answer["hits"][0]["distance"] < 1e-5
    added = json.loads(ran("add", path, picture, "--json").stdout)
    assert added["added"] == 1
    assert "sound" in ran("verify", path).stdout
    files = ("--vectors", exported / f"{TINY}.npy", "--table", exported / f"{TINY}.csv")
    wrong = refused("index", *files, tmp_path / "d", "--encoder", "timm:tf_efficientnet_lite0")
    other = shutil.copytree(exported, tmp_path / "other weights")
    document = json.loads((other / "export.json").read_text())
    document["spaces"][0]["recipe"]["weights"] = "0" * 64
    (other / "export.json").write_text(json.dumps(document))
    files = ("--vectors", other / f"{DEFAULT}.npy", "--table", csv)
    assert "other weights" in refused("index", *files, tmp_path / "d", "--encoder", "timm:tf_efficientnet_lite0")
    assert "vectors of 64 numbers" in wrong
    assert not (tmp_path / "d").exists()
