"""Frames of one drawn place are one scene, whatever the device draws over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from indexer.commands.scenes import command
from indexer.scenes import scenes, update_scenes
from indexer.scenes.geometry import INLIERS, agreement
from indexer.scenes.local_features import LocalFeatures, local_features
from retrieval.collection import Collection, CollectionWriter
from retrieval.collection.scene_rows import COUNTER

pytestmark = pytest.mark.slow

SIZE = (720, 576)
VIEWS = ((0, 1.0, 0, 0), (12, 1.1, 30, -20), (-20, 0.85, -25, 15))
"""Views of a place: degrees, scale, and shift in pixels."""


@cache
def texture(seed: int) -> Image.Image:
    """Mucosa of a place: noise of several scales in red, and vessels."""
    random = np.random.default_rng(seed)
    total = np.zeros((SIZE[1], SIZE[0]))
    for side, weight in ((8, 40), (24, 25), (60, 14), (140, 8)):
        noise = Image.fromarray(random.normal(0, 1, (side * 4 // 5, side)).astype(np.float32))
        total += weight * np.asarray(noise.resize(SIZE, Image.Resampling.BICUBIC))
    pixels = np.stack([190 + total * 0.5, 110 + total, 90 + total], axis=2).clip(30, 180).astype(np.uint8)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for _ in range(25):
        at = np.cumsum(np.vstack([random.uniform((0, 0), SIZE), random.normal(0, 22, (14, 2))]), axis=0)
        pen.line([tuple(point) for point in at.tolist()], fill=(130, 40, 45), width=3)
    return image.filter(ImageFilter.GaussianBlur(1.2))


def framed(image: Image.Image) -> Image.Image:
    """A frame as a device makes it: an octagon on black, a green box and lines of text, the same on every one."""
    mask = Image.new("L", SIZE, 0)
    left, right, cut = 130, 700, 60
    top, bottom = 10, 566
    corners = [(left + cut, top), (right - cut, top), (right, top + cut), (right, bottom - cut)]
    corners += [(right - cut, bottom), (left + cut, bottom), (left, bottom - cut), (left, top + cut)]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    frame = Image.composite(image, Image.new("RGB", SIZE), mask)
    pen = ImageDraw.Draw(frame)
    pen.rectangle((20, 380, 250, 566), fill=(20, 160, 130))
    for row, text in enumerate(("ID: 123456789", "Name: XXXXXXXX", "08/05/2013", "09:33:56", "CVP:3", "E:A5 Gr:N")):
        pen.text((30, 60 + 30 * row), text, fill=(235, 235, 235), font_size=22)
    return frame


def view(seed: int, number: int) -> Image.Image:
    turn, scale, x, y = VIEWS[number]
    place = texture(seed)
    zoomed = place.resize((round(SIZE[0] * scale), round(SIZE[1] * scale)))
    ground = Image.new("RGB", SIZE, (180, 100, 85))
    ground.paste(zoomed, ((SIZE[0] - zoomed.width) // 2 + x, (SIZE[1] - zoomed.height) // 2 + y))
    return framed(ground.rotate(turn, Image.Resampling.BICUBIC, fillcolor=(180, 100, 85)))


def features(image: Image.Image, encode_file: Callable[..., bytes]) -> LocalFeatures:
    return local_features(encode_file(image, quality=90))


Write = Callable[..., Path]


def store(write_collection: Write, path: Path, images: Sequence[Image.Image], first: int = 0) -> Path:
    """A collection of pictures whose vectors say nothing, in the folder `data` next to it."""
    data = path.parent / "data"
    (data / "a").mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, first):
        image.save(data / "a" / f"{number}.jpg", quality=90)
    vectors: NDArray[np.float32] = np.random.default_rng(first).normal(size=(len(images), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return write_collection(path, {"s": vectors}, ["a"] * len(images), source=data, first=first)


@pytest.fixture(scope="module")
def places(write_collection: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three places in three views each, one of a fourth: image 3 * place + view. Read only."""
    images = [view(place, number) for place in range(3) for number in range(3)]
    path = store(write_collection, tmp_path_factory.mktemp("places") / "collection", [*images, view(3, 0)])
    with CollectionWriter(path) as writer:
        assert update_scenes(writer) == 10
    return path


def test_views_of_a_place_are_one_scene_and_other_places_are_not(places: Path) -> None:
    assert Collection.open(places).images.scenes.tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]
    assert [(scene.id, scene.ids) for scene in scenes(Collection.open(places))] == [
        (0, (0, 1, 2)),
        (3, (3, 4, 5)),
        (6, (6, 7, 8)),
    ]


def test_what_the_device_draws_is_no_evidence(encode_file: Callable[..., bytes]) -> None:
    plain = features(framed(Image.new("RGB", SIZE, (180, 100, 85))), encode_file)
    assert agreement(plain, plain) == 0
    first, second = (features(view(seed, 0), encode_file) for seed in (0, 1))
    assert min(len(first), len(second)) > 100
    assert agreement(first, second) == 0


def test_a_mirrored_place_is_another(encode_file: Callable[..., bytes]) -> None:
    first = features(view(0, 0), encode_file)
    assert agreement(first, features(view(0, 1), encode_file)) >= INLIERS
    mirrored = framed(texture(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert agreement(first, features(mirrored, encode_file)) == 0


def test_the_same_pictures_have_the_same_features(encode_file: Callable[..., bytes]) -> None:
    first, again = (features(view(2, 1), encode_file) for _ in range(2))
    assert np.array_equal(first.places, again.places)
    assert np.array_equal(first.descriptors, again.descriptors)


def test_what_is_added_later_joins_its_scene_and_links_others(write_collection: Write, tmp_path: Path) -> None:
    path = store(write_collection, tmp_path / "c", [view(0, 0), view(1, 0), view(2, 0)])
    with CollectionWriter(path) as writer:
        assert update_scenes(writer) == 3
    assert not Collection.open(path).images.has_scenes
    opened = Collection.open(path)
    store(write_collection, path, [view(1, 1), view(3, 0)], first=3)
    with CollectionWriter(path) as writer:
        assert update_scenes(writer) == 2
        assert update_scenes(writer) == 0
    assert Collection.open(path).images.scenes.tolist() == [0, 1, 2, 1, 4]
    assert opened.refreshed()[0].images.scenes.tolist() == [0, 1, 2, 1, 4]


def test_scenes_that_a_near_duplicate_joins_become_one(write_collection: Write, tmp_path: Path) -> None:
    path = store(write_collection, tmp_path / "c", [view(0, 0), view(1, 0), view(0, 1), view(1, 1)])
    with CollectionWriter(path) as writer:
        update_scenes(writer)
        writer.set_clusters({2: 1}, {})
    store(write_collection, path, [view(2, 0)], first=4)
    with CollectionWriter(path) as writer:
        update_scenes(writer)
    assert Collection.open(path).images.scene_rows.tolist() == [0, 0, 0, 0, -1]


def test_a_run_that_was_stopped_goes_on(
    write_collection: Write, tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.scenes import update

    monkeypatch.setattr(update, "_BLOCK", 4)
    images = [view(place, number) for place in range(3) for number in range(3)]
    path = store(write_collection, tmp_path / "c", [*images, view(3, 0)])

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), CollectionWriter(path) as writer:
        update_scenes(writer, on_progress=stop)
    with CollectionWriter(path) as writer:
        assert writer.counter(COUNTER) == 4
        assert update_scenes(writer) == 6
    assert np.array_equal(Collection.open(path).images.scenes, Collection.open(places).images.scenes)
    assert not [file for file in path.iterdir() if file.name.startswith("tmp")]


def test_a_picture_that_is_gone_stops_nothing(write_collection: Write, tmp_path: Path) -> None:
    path = store(write_collection, tmp_path / "c", [view(0, 0), view(0, 1), view(0, 2)])
    (tmp_path / "data" / "a" / "1.jpg").unlink()
    with CollectionWriter(path) as writer:
        update_scenes(writer)
    assert Collection.open(path).images.scenes.tolist() == [0, 1, 0]


def test_frames_of_one_video_are_compared_though_they_are_no_neighbours(
    write_collection: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.scenes import update

    monkeypatch.setattr(update, "NEIGHBOURS", 0)
    path = store(write_collection, tmp_path / "c", [view(0, 0), view(0, 1), view(1, 0)])
    with CollectionWriter(path) as writer:
        update_scenes(writer)
    assert Collection.open(path).images.scenes.tolist() == [0, 0, 2]


def test_the_command_finds_lists_and_forgets(places: Path, write_collection: Write, tmp_path: Path) -> None:
    path = store(write_collection, tmp_path / "c", [view(0, 0), view(1, 0), view(0, 1)])
    run = CliRunner().invoke
    assert run(command, [str(path), "--list"]).output == "scenes: none of more than one picture\n"
    said = run(command, [str(path)])
    assert (said.exit_code, said.output) == (
        0,
        "scene 0, 2 images\n        0  a/0.jpg\n        2  a/2.jpg\nscenes: 1 of 2 images\n",
    )
    listed = json.loads(run(command, [str(path), "--list", "--json"]).output)
    assert [(one["scene"], [image["id"] for image in one["images"]]) for one in listed] == [(0, [0, 2])]
    assert run(command, [str(path), "--again"]).output == said.output
    assert run(command, [str(path), "--again", "--list"]).exit_code == 2
