"""An installation that its user may not write: kernels are compiled once, or ahead, and the message tells the truth."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24
PROGRAM = """
import numpy as np
from retrieval.evaluation.ranking import Labelled, rank
one = Labelled(np.zeros(2, np.int64), np.arange(2))
print(rank(np.zeros((2, 2)), one, one).listed.tolist())
"""
"""Uses one kernel, the quickest to compile."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the engine that may not be written, without compiled kernels."""
    folder = tmp_path_factory.mktemp("read only") / "packages"
    shutil.copytree(ROOT / "retrieval", folder / "retrieval", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def without_override() -> None:
    """Root could write all the same."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.fixture
def run(packages: Path, tmp_path: Path) -> Callable[..., str]:
    """(environment) -> what a run said on stderr, with a home folder that is not there."""
    own = {"PYTHONPATH": str(packages), "HOME": str(packages / "no-home"), "TMPDIR": str(tmp_path)}
    inherited = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "KVASIR_KERNELS")}

    def once(arguments: tuple[str, ...] = ("-c", PROGRAM), **environment: str) -> str:
        command = [sys.executable, "-P", "-B", *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=inherited | own | environment,
            preexec_fn=without_override,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    return once


def test_without_a_home_kernels_are_compiled_once_and_the_place_is_told(
    run: Callable[..., str], tmp_path: Path
) -> None:
    private = tmp_path / f"kvasir-kernels-{os.geteuid()}"
    assert f"stored in {private}" in run()
    assert private.stat().st_mode & 0o777 == 0o700
    assert run() == ""


def test_a_named_folder_comes_first_and_is_read_where_it_may_not_be_written(
    run: Callable[..., str], tmp_path: Path
) -> None:
    named = tmp_path / "kernels"
    assert f"stored in {named}" in run(KVASIR_KERNELS=str(named))
    for path in (named, *named.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert run(KVASIR_KERNELS=str(named)) == ""
    assert not (tmp_path / f"kvasir-kernels-{os.geteuid()}" / "retrieval.evaluation.ranking").exists()
    for path in (named, *named.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_folder_that_others_may_write_runs_nothing(run: Callable[..., str], tmp_path: Path) -> None:
    planted = tmp_path / f"kvasir-kernels-{os.geteuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert "compiling, at each start" in run()
    assert "name one by KVASIR_KERNELS" in run()
    assert not list(planted.iterdir())


def test_kernels_beside_the_program_are_read_though_nothing_can_be_written(
    run: Callable[..., str], packages: Path, tmp_path: Path
) -> None:
    beside = packages / "retrieval" / "evaluation"
    named = tmp_path / "kernels"
    run(KVASIR_KERNELS=str(named))
    beside.chmod(0o755)
    shutil.copytree(named / "retrieval.evaluation.ranking", beside / "__pycache__")
    beside.chmod(0o555)
    assert run(TMPDIR="/nowhere") == ""
