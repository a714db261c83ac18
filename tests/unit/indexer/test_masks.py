from __future__ import annotations

import pytest

from indexer.datasets.classes import class_names
from indexer.datasets.masks import find_masks


def told(*files: str) -> tuple[list[str], dict[str, str | None]]:
    """The masks among files, and the class of each other file."""
    masks = find_masks(files)
    pictures = [file for file in files if file not in masks.files]
    names = class_names(pictures, None, masks.picture_folders)
    return sorted(masks.files), dict(zip(pictures, names, strict=True))


@pytest.mark.parametrize(
    ("files", "masks", "classes"),
    [
        (  # Kvasir-SEG
            ["K/images/a.jpg", "K/images/b.jpg", "K/masks/a.jpg", "K/masks/b.jpg"],
            ["K/masks/a.jpg", "K/masks/b.jpg"],
            [None, None],
        ),
        (["images/a.jpg", "masks/a.png"], ["masks/a.png"], [None]),
        (["CVC/Original/1.tif", "CVC/Ground Truth/1.tif"], ["CVC/Ground Truth/1.tif"], [None]),
        (["P/images_C1/a.jpg", "P/masks_C1/a_mask.jpg"], ["P/masks_C1/a_mask.jpg"], [None]),
        (["S/train/a.jpg", "S/train_gt/a.jpg"], ["S/train_gt/a.jpg"], [None]),
        (
            ["train/images/a.jpg", "train/masks/a.jpg", "test/images/b.jpg", "test/masks/b.jpg"],
            ["test/masks/b.jpg", "train/masks/a.jpg"],
            [None, None],
        ),
        (
            ["images/train/a.jpg", "masks/train/a.jpg", "images/test/b.jpg", "masks/test/b.jpg"],
            ["masks/test/b.jpg", "masks/train/a.jpg"],
            [None, None],
        ),
        (  # masks of pictures that have classes
            ["polyps/images/a.jpg", "polyps/masks/a.jpg", "cecum/images/b.jpg", "cecum/masks/b.jpg"],
            ["cecum/masks/b.jpg", "polyps/masks/a.jpg"],
            ["polyps", "cecum"],
        ),
        (["polyps/a.jpg", "polyps_masks/a.jpg", "cecum/b.jpg"], ["polyps_masks/a.jpg"], ["polyps", "cecum"]),
        (["polyps/a.jpg", "polyps/a_mask.png", "cecum/b.jpg"], ["polyps/a_mask.png"], ["polyps", "cecum"]),
        (["a.jpg", "a_segmentation.png"], ["a_segmentation.png"], [None]),
        (["K/images/e\u0301.jpg", "K/masks/é.jpg"], ["K/masks/é.jpg"], [None]),
    ],
)
def test_masks_beside_their_pictures_are_no_pictures_and_no_class(
    files: list[str], masks: list[str], classes: list[str | None]
) -> None:
    found, by_file = told(*files)
    assert found == masks
    assert list(by_file.values()) == classes


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        (["labels/a.jpg", "polyps/b.jpg"], ["labels", "polyps"]),  # nothing of the same name beside it
        (["masks/a.jpg", "masks/b.jpg", "masks/c.jpg", "polyps/a.jpg"], ["masks", "masks", "masks", "polyps"]),
        (["x_mask.jpg", "polyps/b.jpg"], [None, "polyps"]),
        (["mask/a.jpg"], ["mask"]),
    ],
)
def test_without_their_pictures_nothing_is_a_mask(files: list[str], classes: list[str | None]) -> None:
    found, by_file = told(*files)
    assert found == []
    assert list(by_file.values()) == classes
