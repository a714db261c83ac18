"""Prepare a virtual environment for the lowest declared version of each dependency.

    python .ci/lowest.py VENV

writes VENV/constraints.txt for pip, and links PyTorch from the environment that this runs in: another version of it is
gigabytes to fetch and minutes to unpack, so its own lower bound is run by hand: the quick tests of encoders, learning
and fine-tuning pass on torch 2.7.0 with torchvision 0.22.0.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions, version
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LINKED = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)", re.IGNORECASE)


def constraints() -> Iterator[str]:
    """`name==version` for each requirement that applies here, tools for development included."""
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            (bound,) = requirement.specifier
            linked = LINKED.fullmatch(requirement.name)
            yield f"{requirement.name}=={version(requirement.name) if linked else bound.version}"


def link(distribution: Distribution, site_packages: Path) -> None:
    """Make an installed distribution part of another environment, without copying where the disk is the same."""
    for file in distribution.files or ():
        source, target = Path(str(distribution.locate_file(file))), site_packages / file
        if ".." in file.parts or not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def main(venv: Path) -> None:
    """Write the constraints and link what is linked."""
    (venv / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints()), "utf-8")
    (site_packages,) = (venv / "lib").glob("python*/site-packages")
    for distribution in distributions():
        if LINKED.fullmatch(distribution.metadata["Name"]):
            link(distribution, site_packages)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
