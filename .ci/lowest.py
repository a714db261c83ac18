"""Write pip constraints that hold each declared dependency at its lowest declared version.

    python .ci/lowest.py > constraints.txt

PyTorch and torchvision are left at the versions that are installed where this runs: a build of another version is
gigabytes, and CI has time for one.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
AS_INSTALLED = ("torch", "torchvision")


def declared(pyproject: Path = PYPROJECT) -> list[Requirement]:
    """The dependencies and the development tools that apply to this platform."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    texts = project["dependencies"] + project["optional-dependencies"]["dev"]
    requirements = [Requirement(text) for text in texts]
    return [requirement for requirement in requirements if requirement.marker is None or requirement.marker.evaluate()]


def lowest(requirement: Requirement) -> str:
    """`name==version` with the lowest version that a requirement allows."""
    bounds = [bound.version for bound in requirement.specifier if bound.operator in (">=", "==", "~=")]
    if len(bounds) != 1:
        raise SystemExit(f"{requirement} has no single lower bound")
    return f"{requirement.name}=={bounds[0]}"


def constraints() -> list[str]:
    """One line for each declared dependency."""
    return [
        f"{requirement.name}=={version(requirement.name)}" if requirement.name in AS_INSTALLED else lowest(requirement)
        for requirement in declared()
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(constraints()) + "\n")
