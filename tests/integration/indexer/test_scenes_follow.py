"""Once scenes are known, pictures that are indexed, added or uploaded are compared as well."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image, ImageFilter

from indexer.commands.search import command
from indexer.scenes import update_scenes
from indexer.transfer_queries import with_queries
from indexer.uploads import add_picture
from retrieval.collection import Collection, CollectionWriter
from retrieval.search import Searcher

SIZE = (640, 512)


def place(seed: int, turn: float = 0, scale: float = 1.0) -> Image.Image:
    """A view of a place with much detail."""
    random = np.random.default_rng(seed)
    total = np.zeros((SIZE[1], SIZE[0]))
    for side, weight in ((12, 40), (40, 25), (100, 15)):
        noise = Image.fromarray(random.normal(0, 1, (side * 4 // 5, side)).astype(np.float32))
        total += weight * np.asarray(noise.resize(SIZE, Image.Resampling.BICUBIC))
    pixels = np.stack([180 + total * 0.4, 110 + total, 90 + total], axis=2).clip(40, 180).astype(np.uint8)
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1)).rotate(turn, Image.Resampling.BICUBIC)
    zoomed = image.resize((round(SIZE[0] * scale), round(SIZE[1] * scale)))
    left, top = (zoomed.width - 480) // 2, (zoomed.height - 384) // 2
    return zoomed.crop((left, top, left + 480, top + 384))


def test_indexed_and_uploaded_pictures_join_their_scene(
    index_folder: Callable[..., Path], tiny_spec: str, tmp_path: Path
) -> None:
    data, path = tmp_path / "data", tmp_path / "c"
    (data / "a").mkdir(parents=True)
    for seed in range(3):
        place(seed).save(data / "a" / f"{seed}.png")
    index_folder(data, path, tiny_spec)
    place(1, 15).save(data / "a" / "1 turned.png")
    index_folder(data, path)
    assert not Collection.open(path).images.has_scenes  # nobody has asked for them
    with CollectionWriter(path) as writer:
        assert update_scenes(writer) == 4
    scenes = dict(
        zip(*(lambda images: (images.files, images.scenes.tolist()))(Collection.open(path).images), strict=True)
    )
    assert scenes["a/1 turned.png"] == scenes["a/1.png"] == 1
    place(2, -10).save(data / "a" / "2 turned.png")
    index_folder(data, path)
    images = Collection.open(path).images
    assert images.scenes[images.files.index("a/2 turned.png")] == 2

    (tmp_path / "q" / "a").mkdir(parents=True)
    place(1, -15).save(tmp_path / "q" / "a" / "of scene 1.png")
    place(7).save(tmp_path / "q" / "a" / "of no scene.png")
    for by_scene, expected in ((False, 2), (True, 1)):
        with with_queries(Collection.open(path), tmp_path / "q", None, by_scene=by_scene) as (grown, protocol):
            files = [grown.images.files[row] for row in protocol.rounds[0].queries]
            assert (len(files), "a/of no scene.png" in files) == (expected, True)
            assert ("frames of its scenes" in protocol.sentence) == by_scene

    stream = io.BytesIO()
    place(0, 20, 1.1).save(stream, "PNG")
    with CollectionWriter(path) as writer:
        image_id, new = add_picture(writer, Searcher(Collection.open(path)), stream.getvalue(), "a")
    assert new
    images = Collection.open(path).images
    assert images.scenes[images.position(image_id)] == 0
    assert images.clusters[images.position(image_id)] == image_id


def test_the_command_line_tells_the_scene_and_leaves_it_out(
    write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    angles = np.arange(4) * 0.01
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    path = write_collection(tmp_path / "c", {"s": vectors}, ["a"] * 4)
    plain = CliRunner().invoke(command, ["0", str(path)]).output
    assert "scene" not in plain
    with CollectionWriter(path) as writer:
        writer.set_scenes({0: 0, 2: 0}, 4)
    rows = CliRunner().invoke(command, ["0", str(path)]).output.splitlines()
    assert rows[0].split()[-2:] == ["scene", "file"]
    assert "same examination as the query?" in rows[2]
    left = json.loads(CliRunner().invoke(command, ["0", str(path), "--exclude-scene", "--json"]).output)
    assert [(hit["id"], hit["scene"]) for hit in left["hits"]] == [(1, 1), (3, 3)]
    assert CliRunner().invoke(command, ["x.jpg", str(path), "--exclude-scene"]).exit_code == 2
