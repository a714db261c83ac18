"""Prepare a virtual environment for the lowest declared version of each dependency.

    python .ci/lowest.py VENV

writes VENV/constraints.txt for pip, and links from the environment that this runs in whatever is not held to another
version there, so that pip installs the lower bounds alone. PyTorch is linked too: another version of it is gigabytes to
fetch and minutes to unpack, so its own lower bound is run by hand: the quick tests of encoders, learning and
fine-tuning pass on torch 2.7.0 with torchvision 0.22.0. So are tools that no quick test runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LINKED = {
    "torch",
    "torchvision",
    "ruff",
    "mypy",
    "playwright",
    "axe-playwright-python",
    "schemathesis",
    "psutil",
    "ray",
}
"""PyTorch, and what no quick test runs."""
OWN = {"pip", "setuptools", "wheel", "kvasir-retrieval"}
"""What the other environment has of its own."""


def constraints() -> Iterator[tuple[str, str]]:
    """The name and version of each requirement that applies here, tools for development included."""
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            (bound,) = requirement.specifier
            name = canonicalize_name(requirement.name)
            yield name, version(name) if name in LINKED else bound.version


def link(distribution: Distribution, site_packages: Path) -> None:
    """Make an installed distribution part of another environment, without copying where the disk is the same."""
    for file in distribution.files or ():
        source, target = Path(str(distribution.locate_file(file))), site_packages / file
        if ".." in file.parts or not source.is_file() or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def main(venv: Path) -> None:
    """Write the constraints and link all that they leave as it is."""
    held = dict(constraints())
    (venv / "constraints.txt").write_text("".join(f"{name}=={bound}\n" for name, bound in held.items()), "utf-8")
    (site_packages,) = (venv / "lib").glob("python*/site-packages")
    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        if name not in OWN and Version(held.get(name, distribution.version)) == Version(distribution.version):
            link(distribution, site_packages)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
