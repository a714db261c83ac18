"""A small sample of Kvasir's eight classes in drawn pictures, for where the real data set cannot be had.

They are drawings, not endoscopy, and no figure that is measured on them says anything about endoscopy:
each picture, its file name and the README in the folder say so.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.datasets.official import DRAWN, KVASIR_CLASSES
from indexer.drawing import DEEP, LABEL, Scene, framed, step
from indexer.errors import DatasetError
from retrieval.disk import PARTIAL, new_file, write_atomically
from retrieval.sources.source import metadata_reason

README_FILE = "README.txt"
README_START = b"These pictures are drawn by a program (kvasir sample)."
README = f"""These pictures are drawn by a program (kvasir sample). They are not endoscopy.

They stand in for the eight classes of Kvasir where that data set cannot be downloaded, so that
indexing, search and evaluation have something to run on. Figures that are measured on them say
nothing about endoscopy. Every picture carries the words "{LABEL}".
"""


class NotASampleError(DatasetError):
    """The folder for a drawn sample is neither empty nor an earlier sample."""


def make_sample(directory: Path, per_class: int = 24, seed: int = 0) -> list[Path]:
    """Draw `per_class` JPEG pictures of each class into class folders; the same seed gives the same pictures.

    Pictures that exist are left as they are. Returns all paths, by class and number.
    Raises NotASampleError for a folder that is neither empty nor an earlier sample, DiskFullError.
    """
    _require_sample_or_empty(directory)
    paths = [
        directory / name / f"{DRAWN}{seed}-{number:03}.jpg" for name in KVASIR_CLASSES for number in range(per_class)
    ]
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / README_FILE, README.encode())  # first: it marks the folder as a sample
    for name in KVASIR_CLASSES:
        (directory / name).mkdir(exist_ok=True)

    def draw_one(path: Path) -> None:
        number = int(path.stem.rpartition("-")[2])
        with new_file(path, sync=False) as stream:
            draw(path.parent.name, number, seed).save(stream, "JPEG", quality=88)

    with ThreadPoolExecutor(4) as threads:  # NumPy and Pillow release the GIL
        list(threads.map(draw_one, (path for path in paths if not path.exists())))
    return paths


def _require_sample_or_empty(directory: Path) -> None:
    """Raise NotASampleError unless a folder is missing, empty, or holds an earlier sample and nothing else.

    Drawn pictures among real ones would be indexed and evaluated with them.
    """
    entries = _visible(directory) if directory.exists() else []
    folders = [entry for entry in entries if entry.name in KVASIR_CLASSES and entry.is_dir() and not entry.is_symlink()]
    files = [entry for entry in entries if entry not in folders] + [e for folder in folders for e in _visible(folder)]
    foreign = [file for file in files if not _is_drawn(file) and not _is_readme(file)]
    if foreign or (folders and not files):
        names = ", ".join(str(file.relative_to(directory)) for file in foreign[:3])
        raise NotASampleError(
            f"{directory} is neither empty nor a drawn sample (it holds {names or 'folders of other origin'}); give an "
            "empty or new folder, since drawn pictures must not be mixed with others"
        )


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not metadata_reason(path.name)]


def _is_drawn(file: Path) -> bool:
    return file.name.startswith(DRAWN) and file.parent.name in KVASIR_CLASSES


def _is_readme(file: Path) -> bool:
    if file.name not in (README_FILE, README_FILE + PARTIAL) or not file.is_file():
        return False
    with file.open("rb") as stream:
        start = stream.read(len(README_START))
    # A run that was stopped may leave less of the partial file.
    return start == README_START or (file.suffix == PARTIAL and README_START.startswith(start))


def draw(class_name: str, number: int, seed: int = 0) -> Image.Image:
    """One picture of a class, determined by its number and the seed."""
    rng = np.random.default_rng([seed, KVASIR_CLASSES.index(class_name), number])
    scene = Scene.blank(rng)
    SCENES[class_name](scene)
    return framed(scene)


def _polyps(scene: Scene) -> None:
    scene.tissue((0.86, 0.50, 0.42))
    x, y = scene.place(0.45)
    scene.tunnel(x, y, scene.between(0.13, 0.2))
    scene.vessels(6)
    for number in range(int(scene.rng.integers(1, 3))):
        turn = np.arctan2(-y, -x) + scene.between(-0.7, 0.7) + 1.7 * number
        reach = scene.between(0.42, 0.6)
        size = scene.between(0.16, 0.36) / (1 + 0.7 * number)
        scene.mound(x + reach * np.cos(turn), y + reach * np.sin(turn), size, (0.82, 0.36, 0.33), blend=0.85)
    scene.glints(5)


def _lifted(scene: Scene) -> None:
    scene.tissue((0.82, 0.50, 0.44))
    x, y = scene.place(0.6)
    scene.tunnel(x, y, scene.between(0.09, 0.14), folds=0.35)
    px, py = -0.35 * x + scene.between(-0.1, 0.1), -0.35 * y + scene.between(-0.1, 0.1)
    size = scene.between(0.48, 0.64)
    cloud = scene.radius(px, py)
    scene.paint((0.34, 0.48, 0.70), 0.6 * (1 - step(size * 0.6, size * 1.9, cloud + 0.2 * scene.noise(6))))
    scene.mound(px, py, size, (0.30, 0.46, 0.72), 0.8, blend=0.72)
    scene.mound(px - 0.08, py - 0.12, size * scene.between(0.42, 0.55), (0.86, 0.47, 0.45))
    scene.glints(6)


def _margins(scene: Scene) -> None:
    scene.tissue((0.84, 0.55, 0.47))
    x, y = scene.place(0.75)
    scene.tunnel(x, y, scene.between(0.07, 0.11), folds=0.3)
    px, py = -0.3 * x, -0.3 * y
    size = scene.between(0.38, 0.52)
    radius, angle = scene.polar(px, py, scene.between(0.6, 0.85), scene.between(0, 3))
    radius = radius * (1 + scene.wobble(angle, 6, 0.10)) / np.float32(size) + 0.05 * scene.noise(20)
    scene.paint((0.30, 0.46, 0.72), 0.7 * (1 - step(1.0, 1.9, radius)))
    scene.paint((0.07, 0.13, 0.42), 0.92 * (1 - step(1.08, 1.26, radius)))
    scene.paint((0.90, 0.74, 0.64), 1 - step(0.86, 0.94, radius))
    inside = 1 - step(0.5, 0.92, radius)
    scene.shade(1 - 0.22 * (1 - step(0.55, 0.95, radius)) * (1 + scene.noise(9)))
    scene.paint((0.72, 0.30, 0.28), 0.6 * inside * step(0.2, 0.8, scene.noise(12)))
    scene.glints(5)


def _esophagitis(scene: Scene) -> None:
    scene.tissue((0.90, 0.64, 0.58))
    x, y = scene.place(0.25)
    mouth = scene.between(0.12, 0.2)
    scene.tunnel(x, y, mouth, folds=0.3, depth=0.4)
    scene.vessels(8, strength=0.2)
    radius, angle = scene.polar(x, y)
    bend, ragged = angle + 0.25 * scene.noise(5), scene.noise(30)
    for turn in np.arange(0, 2 * np.pi, 2 * np.pi / scene.rng.integers(2, 7)) + scene.between(0, 2):
        away = np.abs((bend - np.float32(turn) + np.pi) % (2 * np.pi) - np.pi) * radius
        away = away + 0.02 * ragged
        length = scene.between(0.35, 0.9)
        width = scene.between(0.05, 0.12) * (1.1 - step(mouth, length, radius))
        streak = (1 - step(0.5, 1.3, away / width)) * (1 - step(length * 0.85, length, radius))
        scene.paint((0.72, 0.13, 0.12), 0.8 * streak * step(mouth * 0.9, mouth * 1.3, radius))
        core = (1 - step(0.2, 0.5, away / width)) * (1 - step(length * 0.6, length * 0.75, radius))
        scene.paint((0.92, 0.72, 0.60), 0.6 * core * step(mouth * 1.2, mouth * 1.7, radius))
    scene.glints(5)


def _cecum(scene: Scene) -> None:
    scene.tissue((0.90, 0.62, 0.42))
    x, y = scene.place(0.2)
    radius, angle = scene.polar(x, y)
    scene.shade(1.08 - 0.25 * step(0.3, 1.4, radius))
    turn = scene.between(0, 2 * np.pi)
    bend = angle + 0.35 * scene.noise(3)
    for arm in range(3):  # the three bands of the colon meet here
        away = ((bend - np.float32(turn + 2.1 * arm) + np.pi) % (2 * np.pi) - np.pi) * (radius + 0.08)
        scene.shade(
            1 + step(0.1, 0.3, radius) * (0.3 * np.exp(-((away * 9) ** 2)) - 0.42 * np.exp(-((away * 9 - 1.6) ** 2)))
        )
    scene.vessels(14, strength=0.4)
    size = scene.between(0.1, 0.15)
    lips, lip_angle = scene.polar(x, y, scene.between(0.4, 0.6), scene.between(0, 3))
    lips = lips * (1 + scene.wobble(lip_angle, 3, 0.1)) / np.float32(size)
    scene.paint((0.96, 0.72, 0.54), 0.8 * (1 - step(1.5, 2.1, lips)))
    scene.shade(1 - 0.4 * np.exp(-(((lips - 2.0) * 4) ** 2)))
    scene.paint(DEEP, 0.95 * (1 - step(0.75, 1.05, lips)))
    scene.glints(7)


def _pylorus(scene: Scene) -> None:
    scene.tissue((0.88, 0.50, 0.34))
    x, y = scene.place(0.3)
    size = scene.between(0.15, 0.24)
    radius, angle = scene.polar(x, y, scene.between(0.85, 1), scene.between(0, 3))
    pleats = np.cos(angle * np.float32(scene.rng.integers(6, 10)) + 2 * scene.noise(4))
    near = step(size, size * 2.2, radius) * (1 - step(size * 2.5, size * 5.5, radius))
    scene.shade(1 + 0.16 * pleats * near)
    ring = radius * (1 + scene.wobble(angle, 4, 0.06)) / np.float32(size)
    scene.paint((0.97, 0.66, 0.50), 0.9 * np.exp(-(((ring - 1.55) * 2.4) ** 2)))
    scene.shade(1 - 0.45 * np.exp(-(((ring - 2.25) * 4.2) ** 2)))
    scene.shade(1 - 0.25 * np.exp(-(((ring - 3.4) * 2.5) ** 2)))
    scene.paint(DEEP, 0.96 * (1 - step(0.75, 1.1, ring)))
    scene.shade(1.06 - 0.3 * step(0.4, 1.5, radius))
    scene.glints(9)


def _z_line(scene: Scene) -> None:
    scene.tissue((0.93, 0.74, 0.68), 0.04)
    x, y = scene.place(0.25)
    scene.vessels(12, strength=0.25)
    radius, angle = scene.polar(x, y, scene.between(0.8, 1), scene.between(0, 3))
    size = scene.between(0.42, 0.58)
    edge = radius / np.float32(size) + scene.wobble(angle, 9, 0.16, lowest=3) + 0.07 * scene.noise(18)
    scene.shade(1 - 0.22 * np.exp(-(((edge - 1.06) * 9) ** 2)))
    inside = 1 - step(0.97, 1.02, edge)
    scene.paint((0.80, 0.36, 0.28), inside)
    scene.shade(1 + 0.10 * inside * scene.noise(24))
    scene.tunnel(x, y, scene.between(0.11, 0.17), folds=0.3, depth=0.45)
    scene.glints(5)


def _colitis(scene: Scene) -> None:
    scene.tissue((0.82, 0.40, 0.35), 0.10)
    x, y = scene.place(0.5)
    scene.shade(1 + 0.10 * scene.noise(60))
    severity = scene.between(0, 1)
    spots = scene.noise(int(scene.between(38, 54))) + 0.35 * scene.noise(5)
    scene.paint((0.58, 0.05, 0.07), 0.75 * step(0.74 - 0.18 * severity, 0.92 - 0.18 * severity, spots))
    ulcers = scene.noise(int(scene.between(13, 18))) + 0.3 * scene.noise(4) + 0.12 * scene.noise(40)
    edge = 0.84 - 0.14 * severity
    scene.paint((0.55, 0.07, 0.08), 0.7 * step(edge - 0.22, edge - 0.06, ulcers))
    scene.paint((0.93, 0.82, 0.62), 0.85 * step(edge, edge + 0.12, ulcers))
    scene.tunnel(x, y, scene.between(0.12, 0.18), folds=0.35)
    scene.glints(6)


SCENES: dict[str, Callable[[Scene], None]] = {
    "dyed-lifted-polyps": _lifted,
    "dyed-resection-margins": _margins,
    "esophagitis": _esophagitis,
    "normal-cecum": _cecum,
    "normal-pylorus": _pylorus,
    "normal-z-line": _z_line,
    "polyps": _polyps,
    "ulcerative-colitis": _colitis,
}
