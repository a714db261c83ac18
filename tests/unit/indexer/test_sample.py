from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from indexer.commands.sample import command
from indexer.datasets import open_dataset
from indexer.datasets.official import KVASIR_CLASSES
from indexer.sample import SCENES, NotASampleError, draw, make_sample


def test_sample_has_kvasirs_classes_and_says_that_it_is_drawn(tmp_path: Path) -> None:
    paths = make_sample(tmp_path, per_class=2)
    assert len(paths) == 16
    dataset = open_dataset(tmp_path)
    assert dataset.name == "drawn sample"
    assert dataset.report.counts == dict.fromkeys(KVASIR_CLASSES, 2)
    assert dataset.report.missing == {}
    assert any("not endoscopy" in line for line in dataset.report.lines())
    assert "They are not endoscopy" in (tmp_path / "README.txt").read_text()
    with Image.open(paths[0]) as picture:
        assert (picture.format, picture.mode, picture.size[1] in (560, 576)) == ("JPEG", "RGB", True)


@pytest.mark.parametrize(
    "files",
    [
        ["thesis.tex"],
        ["polyps/1c2d.jpg", "normal-cecum/9f.jpg"],  # a real data set has the same class folders
        ["README.txt", "polyps/1c2d.jpg"],
        ["polyps/drawn-0-000.jpg", "polyps/1c2d.jpg"],
        ["polyps/deeper/drawn-0-000.jpg"],
        ["drawn-0-000.jpg"],
        ["polyps"],
    ],
)
def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path, files: list[str]) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NotASampleError, match=r"neither empty nor a drawn sample .*; give an empty or new folder"):
        make_sample(tmp_path, per_class=1)
    assert sorted(tmp_path.rglob("*")) == before


def test_empty_class_folders_of_other_origin_are_refused(tmp_path: Path) -> None:
    (tmp_path / "polyps").mkdir()
    with pytest.raises(NotASampleError, match="folders of other origin"):
        make_sample(tmp_path, per_class=1)


def test_hidden_files_and_a_sample_that_was_stopped_are_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"x")
    paths = make_sample(tmp_path, per_class=1)
    for path in paths[2:]:
        path.unlink()
    (tmp_path / "README.txt").unlink()
    assert make_sample(tmp_path, per_class=1) == paths
    assert all(path.is_file() for path in paths)


def test_second_run_draws_only_what_is_missing(tmp_path: Path) -> None:
    paths = make_sample(tmp_path, per_class=1)
    before = [path.read_bytes() for path in paths]
    stamps = [path.stat().st_mtime_ns for path in paths]
    paths[3].unlink()
    assert make_sample(tmp_path, per_class=1) == paths
    assert [path.read_bytes() for path in paths] == before
    assert [a == path.stat().st_mtime_ns for a, path in zip(stamps, paths, strict=True)].count(False) == 1


@pytest.mark.slow
@pytest.mark.parametrize("class_name", SCENES)
def test_pictures_are_determined_by_number_and_seed_and_vary(class_name: str) -> None:
    first = draw(class_name, 0)
    assert first.tobytes() == draw(class_name, 0).tobytes()
    small = [np.asarray(p.resize((32, 24)), float) for p in (first, draw(class_name, 1), draw(class_name, 0, 1))]
    assert all(np.abs(a - b).mean() > 2 for a, b in pairwise(small))


@pytest.mark.slow
def test_dyed_classes_are_blue_and_colitis_is_red() -> None:
    blue = {name: _share(name, lambda r, g, b: b > r) for name in KVASIR_CLASSES}
    assert all((share > 0.03) == name.startswith("dyed-") for name, share in blue.items()), blue
    red = {name: _share(name, lambda r, g, b: (r > 100) & (g < 0.35 * r)) for name in ("polyps", "ulcerative-colitis")}
    assert red["ulcerative-colitis"] > 2 * red["polyps"]


def _share(class_name: str, holds: object) -> float:
    pixels = np.stack([np.asarray(draw(class_name, n).resize((180, 144)), float) for n in range(3)])
    bright = pixels.sum(-1) > 90
    assert callable(holds)
    return float(holds(*np.moveaxis(pixels, -1, 0))[bright].mean())


def test_command_says_that_the_pictures_are_drawn(tmp_path: Path) -> None:
    run = CliRunner().invoke(command, [str(tmp_path / "s"), "--per-class", "1"])
    assert run.exit_code == 0
    assert "8 pictures of 8 classes, drawn by a program; this is not endoscopy" in run.stdout


@pytest.mark.parametrize("partial", [b"", b"These pictures are"])
def test_a_sample_that_was_stopped_at_once_is_completed(tmp_path: Path, partial: bytes) -> None:
    (tmp_path / "README.txt.new").write_bytes(partial)
    make_sample(tmp_path, per_class=1)
    assert not (tmp_path / "README.txt.new").exists()
    assert len(list(tmp_path.glob("*/*.jpg"))) == 8
