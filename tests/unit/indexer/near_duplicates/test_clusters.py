from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from indexer.commands.duplicates import command
from indexer.datasets import open_dataset
from indexer.descriptor_spaces import descriptor_names
from indexer.near_duplicates import clusters, update_clusters
from indexer.run import IndexingResult, run_dataset
from retrieval.collection import Collection, CollectionWriter
from retrieval.encoders import DEFAULT
from retrieval.spaces.encoder import create

Draw = Callable[..., Image.Image]
EncodeFile = Callable[..., bytes]
SIZE = (360, 288)
TISSUE = (220, 140, 120)


def cropped(image: Image.Image, seed: int) -> Image.Image:
    """5 % of the width and of the height less, at a place that depends on the seed."""
    dice = random.Random(seed)
    width, height = round(0.95 * image.width), round(0.95 * image.height)
    left, top = dice.randint(0, image.width - width), dice.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def blacked_out(image: Image.Image, seed: int) -> Image.Image:
    image = image.copy()
    image.paste((0, 0, 0), (0, round(0.65 * image.height), round(0.35 * image.width), image.height))
    return image


def relit(image: Image.Image, seed: int) -> Image.Image:
    gain = (0.75, 0.85, 1.15, 1.25)[seed % 4]
    return image.point(lambda value: min(255, int(gain * value)))


PLANTED: dict[str, tuple[Callable[[Image.Image, int], Image.Image], int]] = {
    "re-encoded": (lambda image, seed: image, 40),
    "resized": (lambda image, seed: image.resize((216, 173)), 90),
    "cropped": (cropped, 92),
    "blacked out": (blacked_out, 92),
    "relit": (relit, 92),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection without images whose encoder is converted already, because that takes longest."""
    path = tmp_path_factory.mktemp("empty") / "collection"
    with CollectionWriter(path, create=True) as writer:
        create(writer, DEFAULT)
    return path


def index(data: Path, collection: Path) -> IndexingResult:
    with open_dataset(data) as dataset, CollectionWriter(collection) as writer:
        return run_dataset(dataset, writer)


def by_name(collection: Path) -> dict[str, int]:
    """File name -> cluster."""
    images = Collection.open(collection).images
    return {Path(file).name: cluster for file, cluster in zip(images.files, images.clusters.tolist(), strict=True)}


@pytest.fixture
def data(tmp_path: Path, empty: Path) -> Path:
    """A folder for pictures of two classes; beside it, `c` is a collection that still has none."""
    shutil.copytree(empty, tmp_path / "c")
    folder = tmp_path / "data"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, empty: Path, draw: Draw, encode_file: EncodeFile) -> Path:
    """A collection of 20 drawn pictures, `NUMBER.jpg`, and copies of every kind, `NUMBER KIND.jpg`."""
    folder = tmp_path_factory.mktemp("planted")
    data = folder / "data"
    data.mkdir()
    for seed in range(20):
        image = draw(seed, TISSUE, SIZE)
        (data / f"{seed}.jpg").write_bytes(encode_file(image, quality=92))
        for kind, (change, quality) in PLANTED.items():
            (data / f"{seed} {kind}.jpg").write_bytes(encode_file(change(image, seed), quality=quality))
    shutil.copytree(empty, folder / "collection")
    index(data, folder / "collection")
    return folder / "collection"


def planted_share(clusters: dict[str, int], kind: str) -> float:
    return float(np.mean([clusters[f"{seed}.jpg"] == clusters[f"{seed} {kind}.jpg"] for seed in range(20)]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLANTED)
def test_planted_copies_are_found(planted: Path, kind: str) -> None:
    assert planted_share(by_name(planted), kind) >= 0.95


def test_different_pictures_of_a_kind_stay_apart(planted: Path) -> None:
    found = by_name(planted)
    assert len({found[f"{seed}.jpg"] for seed in range(20)}) == 20


@pytest.mark.slow
@pytest.mark.parametrize("names", ["EdgeHistogram", "ColorLayout,PHOG", "all"])
def test_a_collection_of_descriptors_alone_finds_copies_too(planted: Path, tmp_path: Path, names: str) -> None:
    """No encoder: the descriptors propose candidates, and the same alignment decides."""
    with open_dataset(planted.parent / "data") as dataset, CollectionWriter(tmp_path / "c", create=True) as writer:
        spaces = [f"descriptor:{name}" for name in descriptor_names(names)]
        run_dataset(dataset, writer, spaces=spaces)
        assert writer.counter(f"duplicates looked for in {writer.manifest.spaces[0].name}") == len(dataset.items)
        assert update_clusters(writer) == 0
    found = by_name(tmp_path / "c")
    assert len({found[f"{seed}.jpg"] for seed in range(20)}) == 20
    assert np.mean([planted_share(found, kind) for kind in PLANTED]) >= 0.9


@pytest.mark.slow
def test_an_encoder_that_sees_nothing_links_nothing_wrong(
    index_folder: Callable[..., Path], planted: Path, tmp_path: Path, tiny_spec: str
) -> None:
    """An untrained encoder takes any picture for any other's neighbour, at cosines above 0.99."""
    index_folder(planted.parent / "data", tmp_path / "c", tiny_spec)
    found = by_name(tmp_path / "c")
    assert len({found[f"{seed}.jpg"] for seed in range(20)}) == 20
    assert planted_share(found, "re-encoded") >= 0.95


@pytest.mark.slow
def test_a_second_encoder_proposes_as_well_and_undoes_nothing(planted: Path, tmp_path: Path, tiny_spec: str) -> None:
    shutil.copytree(planted, tmp_path / "c")
    with open_dataset(planted.parent / "data") as dataset, CollectionWriter(tmp_path / "c") as writer:
        run_dataset(dataset, writer, encoders=(tiny_spec,))
        assert writer.counter("duplicates looked for in test_vit-test_vit") == len(dataset.items)
    before, after = by_name(planted), by_name(tmp_path / "c")
    assert len({after[f"{seed}.jpg"] for seed in range(20)}) == 20
    assert all(planted_share(after, kind) >= planted_share(before, kind) for kind in PLANTED)


def test_a_cluster_is_named_by_its_smallest_image(planted: Path) -> None:
    for cluster in clusters(Collection.open(planted)):
        assert cluster.id == min(cluster.ids)


def test_the_same_pixels_in_another_format_are_one_picture_however_plain(
    data: Path, draw: Draw, encode_file: EncodeFile
) -> None:
    black = Image.new("RGB", SIZE)
    (data / "a" / "black.png").write_bytes(encode_file(black, "PNG"))
    (data / "a" / "black.bmp").write_bytes(encode_file(black, "BMP"))
    (data / "a" / "smaller black.png").write_bytes(encode_file(black.resize((300, 288)), "PNG"))
    picture = draw(1, TISSUE, SIZE)
    (data / "a" / "drawn.png").write_bytes(encode_file(picture, "PNG"))
    (data / "a" / "drawn.webp").write_bytes(encode_file(picture, "WEBP", lossless=True))
    index(data, data.parent / "c")
    found = by_name(data.parent / "c")
    assert found["black.png"] == found["black.bmp"] != found["smaller black.png"]
    assert found["drawn.png"] == found["drawn.webp"] != found["black.png"]


def test_pictures_that_come_later_join_the_clusters_of_those_before(
    data: Path, draw: Draw, encode_file: EncodeFile
) -> None:
    first, second = draw(1, TISSUE, SIZE), draw(2, TISSUE, SIZE)
    (data / "a" / "1.jpg").write_bytes(encode_file(first, quality=92))
    (data / "b" / "2.jpg").write_bytes(encode_file(second, quality=92))
    assert index(data, data.parent / "c").clusters == []
    (data / "b" / "1 again.jpg").write_bytes(encode_file(first, quality=50))
    run = index(data, data.parent / "c")
    found = by_name(data.parent / "c")
    assert found["1.jpg"] == found["1 again.jpg"] != found["2.jpg"]
    assert run.to_dict()["duplicates"] == {"clusters": 1, "spanning_classes": 1}


def test_only_what_is_new_is_looked_at(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted, tmp_path / "c")
    with CollectionWriter(tmp_path / "c") as writer:
        before = Collection.open(writer.path).images
        assert update_clusters(writer) == 0
        writer.set_clusters({}, {"duplicates looked for in tf_efficientnet_lite0": int(before.ids[-3])})
        assert update_clusters(writer) == 3
    assert np.array_equal(Collection.open(tmp_path / "c").images.clusters, before.clusters)


def test_a_picture_that_is_gone_does_not_stop_the_search(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted, tmp_path / "c")
    images = Collection.open(planted).images
    source, _ = images.source_paths[0]
    hidden = source / images.files[0]
    with CollectionWriter(tmp_path / "c") as writer:
        apart = {int(i): int(i) for i in images.ids}
        writer.set_clusters(apart, {"duplicates looked for in tf_efficientnet_lite0": 0})
        (tmp_path / "c" / "greys.rows").unlink()
        hidden.rename(hidden.with_suffix(".hidden"))
        try:
            assert update_clusters(writer) == len(images)
        finally:
            hidden.with_suffix(".hidden").rename(hidden)
    again = Collection.open(tmp_path / "c").images.clusters
    assert np.array_equal(again[6:], images.clusters[6:])
    assert again[0] == images.ids[0]
    assert again[1] == images.ids[1]


def test_small_greys_that_are_missing_are_made_again(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted, tmp_path / "c")
    images = Collection.open(planted).images
    (tmp_path / "c" / "greys.rows").unlink()
    with CollectionWriter(tmp_path / "c") as writer:
        apart = {int(i): int(i) for i in images.ids}
        writer.set_clusters(apart, {"duplicates looked for in tf_efficientnet_lite0": 0})
        update_clusters(writer)
    assert np.array_equal(Collection.open(tmp_path / "c").images.clusters, images.clusters)


def test_the_command_lists_clusters_and_marks_those_that_span_classes(
    data: Path, draw: Draw, encode_file: EncodeFile
) -> None:
    for seed, folders in ((1, "aa"), (2, "ab")):
        for quality, folder in zip((90, 60), folders, strict=True):
            (data / folder / f"{seed} {quality}.jpg").write_bytes(
                encode_file(draw(seed, TISSUE, SIZE), quality=quality)
            )
    index(data, data.parent / "c")
    said = CliRunner().invoke(command, [str(data.parent / "c")])
    assert said.exit_code == 0
    assert "several classes" in said.output.splitlines()[-1].lower()
    assert said.output.startswith("cluster 2, 2 images  IN SEVERAL CLASSES: a, b\n")
    assert "near duplicates: 2 clusters of 4 images; 1 in several classes" in said.output
    listed = json.loads(CliRunner().invoke(command, [str(data.parent / "c"), "--json"]).output)
    assert [(one["spans_classes"], [image["file"] for image in one["images"]]) for one in listed] == [
        (True, ["a/2 90.jpg", "b/2 60.jpg"]),
        (False, ["a/1 60.jpg", "a/1 90.jpg"]),
    ]


def test_clusters_and_the_counter_change_together_or_not_at_all(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted, tmp_path / "c")
    with CollectionWriter(tmp_path / "c") as writer:
        before = Collection.open(writer.path).images.clusters
        with pytest.raises(Exception, match="NOT NULL"):
            writer.set_clusters({0: 5}, {"a counter": None})  # type: ignore[arg-type]
        assert writer.counter("a counter") == 0
        assert np.array_equal(Collection.open(writer.path).images.clusters, before)
        writer.set_clusters({0: 5}, {"a counter": 7})
        assert writer.counter("a counter") == 7
        assert Collection.open(writer.path).images.clusters[0] == 5


def test_links_join_the_clusters_that_they_touch_and_no_other(planted: Path) -> None:
    from indexer.near_duplicates import ClusterForest

    collection = Collection.open(planted)
    images = collection.images
    random_pairs = np.random.default_rng(3).integers(0, len(images), (30, 2)).tolist()
    joined = ClusterForest(images)
    expected = images.clusters.copy()
    for first, second in random_pairs:
        joined.join(first, second)
        low, high = sorted((expected[first], expected[second]))
        expected[expected == high] = low
    changed = joined.changed()
    assert [
        changed.get(i, cluster) for i, cluster in zip(images.ids.tolist(), images.clusters.tolist(), strict=True)
    ] == (expected.tolist())
    assert set(changed) == set(images.ids[expected != images.clusters].tolist())
