"""`make run`, from nothing to a served page, with the installation that the tests run in."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.sample import make_sample
from retrieval.collection import Collection
from retrieval.report.store import stored_evaluations

ROOT = Path(__file__).resolve().parents[3]
NO_SITE = "http://127.0.0.1:9/"
"""Nothing listens on the discard port: Kvasir's site is out of reach at once."""

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and (Path(sys.prefix) / "bin" / "kvasir").exists()),
    reason="needs make, and kvasir installed beside this Python",
)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """`make run` that finds everything installed already, and a sample drawn that is small."""
    make_sample(tmp_path / "work" / "drawn-sample", per_class=4)
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "bin").symlink_to(Path(sys.prefix) / "bin")
    (venv / "installed").touch()
    return ["make", "-C", str(ROOT), "run", f"VENV={venv}", f"WORK={tmp_path / 'work'}", f"SITE={NO_SITE}"]


def environment() -> dict[str, str]:
    """This process's, less what a `make test` around it would pass on to the inner make."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MAKE")} | {"PYTHONPATH": str(ROOT)}


def test_make_run_indexes_evaluates_and_serves_and_a_second_run_reuses_the_first(
    command: list[str], free_port: Callable[[], int], tmp_path: Path
) -> None:
    first = subprocess.run(
        [*command, "THEN=info"], capture_output=True, text=True, env=environment(), timeout=300, check=False
    )
    assert first.returncode == 0, first.stdout + first.stderr
    assert "this run uses DRAWN pictures of the 8 classes" in first.stdout
    (collection,) = (tmp_path / "work").glob("drawn-sample-*.collection")
    count = len(Collection.open(collection))
    assert count == 32
    assert f"{count} added in " in first.stdout
    assert re.search(r"mean over queries .*\b0\.\d{3}", first.stdout)  # the evaluation
    assert f"drawn sample: {count} images in {collection}" in first.stdout  # what THEN asked for
    (kept,) = stored_evaluations(collection)

    port = free_port()
    said = tmp_path / "second"
    with said.open("w") as out:
        second = subprocess.Popen(
            [*command, f"THEN=serve --port {port}"], stdout=out, stderr=out, env=environment(), start_new_session=True
        )
    try:
        _wait_until_served(f"http://127.0.0.1:{port}/readyz", second, said)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/evaluation/") as page:
            assert "Measured" in page.read().decode()
    finally:
        os.killpg(second.pid, signal.SIGTERM)
        second.wait(40)
    text = said.read_text()
    assert f"0 added, {count} unchanged" in text
    assert "loading the weights" not in text
    assert stored_evaluations(collection) == [kept]


@pytest.mark.parametrize("setting", ["data=x", "Data=x", "FEATURE=x"])
def test_an_unknown_setting_is_refused_and_not_ignored(command: list[str], setting: str) -> None:
    ended = subprocess.run([*command, setting], capture_output=True, text=True, env=environment(), check=False)
    assert ended.returncode == 2
    assert f"there is no setting {setting.partition('=')[0]}; the settings, in capitals: PYTHON DATA" in ended.stderr


def _wait_until_served(url: str, server: subprocess.Popen[bytes], said: Path) -> None:
    for _ in range(1200):
        with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
            if answer.status == 200:
                return
        assert server.poll() is None, said.read_text()
        time.sleep(0.1)
    raise AssertionError(said.read_text())
