from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from retrieval.collection import Collection
from retrieval.command_line import kvasir
from retrieval.encoders import DEFAULT, EncoderOptions, build_tower, rebuild_tower
from retrieval.finetune.blocks import Parted
from retrieval.finetune.inputs import stored_inputs
from retrieval.finetune.training import DamagedTrainingError, FinetuneOptions, finetune
from retrieval.images import decode
from retrieval.learn.views import views_named
from retrieval.spaces import open_space

PERIODS = {"coarse": 16, "fine": 9, "finer": 5}
OPTIONS = FinetuneOptions(blocks=2, views="varied", epochs=4, batch=8, seed=3)


@pytest.fixture(scope="module")
def textures(tmp_path_factory: pytest.TempPathFactory, index_folder: Callable[..., Path]) -> tuple[Path, Path]:
    """Stripes in any direction and colour, whose width is the class: (pictures, collection)."""
    data = tmp_path_factory.mktemp("textures")
    random = np.random.default_rng(5)
    y, x = np.mgrid[:120, :120]
    for name, period in PERIODS.items():
        (data / name).mkdir()
        for number in range(14):
            angle, phase = random.uniform(0, np.pi), random.uniform(0, 6)
            wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period + phase)
            colour, contrast = random.uniform(60, 190, 3), random.uniform(3, 10)
            noise = random.normal(0, 15, (120, 120, 3))
            pixels = np.clip(colour + contrast * wave[..., None] + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(data / name / f"{number}.png")
    return data, index_folder(
        data, tmp_path_factory.mktemp("made") / "c", DEFAULT, options=EncoderOptions(features="last")
    )


def tuned(path: Path, folder: Path, progress: Callable[..., None] = lambda task, done, total: None) -> Any:
    collection = Collection.open(path)
    return finetune(collection, collection.manifest.spaces[0], None, OPTIONS, folder, progress=progress)


def test_the_best_epoch_retrieves_better_and_a_stopped_run_goes_on_to_the_same(
    textures: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = tuned(textures[1], tmp_path / "one")
    assert whole.after["mAP"] > whole.before["mAP"]
    assert 1 <= whole.epoch <= whole.epochs <= 4
    assert (len(whole.images), whole.classes, whole.trained) == (42, ["coarse", "fine", "finer"], 2)

    def stop(task: str, done: int, total: int) -> None:
        if task == "epochs" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(textures[1], tmp_path / "two", stop)
    (state,) = (tmp_path / "two").glob("*/epoch.state")
    sound = state.read_bytes()
    state.write_bytes(sound[:-9] + b"damaged" + sound[-2:])
    with pytest.raises(DamagedTrainingError, match=r"epoch\.state is damaged; remove it"):
        tuned(textures[1], tmp_path / "two")
    state.write_bytes(sound)
    (shard,) = state.parent.glob("*.npy")
    shard.write_bytes(shard.read_bytes()[:-1000])  # is made again
    again = tuned(textures[1], tmp_path / "two")
    assert (again.epoch, again.epochs, again.before, again.after) == (
        whole.epoch,
        whole.epochs,
        whole.before,
        whole.after,
    )
    assert all(torch.allclose(again.state[name], value, atol=1e-6) for name, value in whole.state.items())


def test_the_file_is_an_encoder_and_its_figures_say_what_it_has_seen(
    textures: tuple[Path, Path], tmp_path: Path
) -> None:
    data, path = textures
    out = tmp_path / "tuned.safetensors"
    ran = CliRunner().invoke(
        kvasir, ["finetune", str(path), str(out), "--views", "varied", "--epochs", "4", "--seed", "3"]
    )
    assert ran.exit_code == 0, ran.output
    assert "after epoch" in ran.stdout
    spec = f"timm:tf_efficientnet_lite0/{out}"
    assert ran.stdout.endswith(f"{out}: index by it with --encoder {spec}\n")
    assert "a run that is stopped goes on from" in ran.stderr
    assert [file.name for file in tmp_path.iterdir()] == [out.name]
    recipe = build_tower(spec, options=EncoderOptions(features="last")).recipe
    assert len(recipe.seen) == 42
    assert recipe.notes[-1] == "fine-tuned from timm:tf_efficientnet_lite0 on 42 images of c"
    new = tmp_path / "new"
    arguments = ["index", str(data), str(new), "--encoder", spec, "--encoder-features", "multi"]
    indexed = CliRunner().invoke(kvasir, arguments)
    assert indexed.exit_code == 0, indexed.output
    opened = Collection.open(new)
    for space in opened.spaces:  # the encoder's, and the principal components of it
        assert open_space(opened.path, space).training_ids(opened).tolist() == opened.images.ids.tolist()
    told = CliRunner().invoke(kvasir, ["evaluate", str(new), "--json"])
    results = json.loads(told.stdout)["spaces"]
    assert [result["queries"]["learned_from"] for result in results] == [42] * len(results)


def test_it_learns_from_the_views_that_learned_spaces_learn_from(textures: tuple[Path, Path], tmp_path: Path) -> None:
    collection = Collection.open(textures[1])
    space = open_space(collection.path, collection.spaces[0], "indexing")
    recipe = space.encoder_recipe
    assert recipe is not None
    tower = rebuild_tower(recipe)
    parted = Parted(tower.image_model, 2, recipe.size)
    views = views_named("boxed,varied:2")
    ids, (inputs,) = stored_inputs(
        collection,
        space,
        tower,
        parted,
        collection.images.ids[:3],
        views,
        tmp_path,
        "cpu",
        lambda task, done, total: None,
    )
    assert ids.tolist() == [0, 1, 2]
    picture = decode(collection.read(2), draft=space.draft)
    expected = [space.prepare(picture), *(space.prepare(view.of(picture)) for view in views)]
    made = parted.early(tower.pixels(torch.from_numpy(np.stack(expected)))).half().numpy()
    assert np.array_equal(inputs[2], made)
    assert len({view.tobytes() for view in made}) == 4


def test_what_cannot_be_done_is_told(textures: tuple[Path, Path], tmp_path: Path) -> None:
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"")
    for arguments, said in (
        ([str(tmp_path / "n.safetensors"), "--views", "mirrored"], "no views are called 'mirrored'"),
        (["w.pth"], "name a file that ends in .safetensors"),
        ([str(there)], "exists; name a new file"),
        ([str(tmp_path / "n.safetensors"), "--space", "nosuch"], "nosuch"),
    ):
        ran = CliRunner().invoke(kvasir, ["finetune", str(textures[1]), *arguments])
        assert ran.exit_code in (1, 2)
        assert said in ran.output + str(ran.exception)
