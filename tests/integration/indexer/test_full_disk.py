"""A disk that is full ends a command in words, and what was stored before stays sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexer.datasets import open_dataset
from indexer.run import run_dataset
from retrieval.collection import CollectionWriter

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
    import json, pathlib, shutil, sys
    from click.testing import CliRunner
    from retrieval.command_line import kvasir

    made, new, disk = map(pathlib.Path, sys.argv[1:])
    told = []
    for left in (0, 16, 32, 48, 56, 64, 72, 80, 96):
        shutil.rmtree(disk / "c", ignore_errors=True)
        shutil.copytree(made, disk / "c")
        with (disk / "filler").open("wb") as filler:
            filler.write(bytes(shutil.disk_usage(disk).free - 1024 * left))
        # The second one finds pictures stored whose small greys are not.
        full = [CliRunner().invoke(kvasir, ["add", str(disk / "c"), str(new)]).exception for _ in range(2)]
        (disk / "filler").unlink()
        again = CliRunner().invoke(kvasir, ["add", str(disk / "c"), str(new), "--json"])
        sound = CliRunner().invoke(kvasir, ["verify", str(disk / "c")])
        ended = [[type(error).__name__, str(error)] for error in full]
        told.append([ended, again.exit_code, sound.stdout])
    print(json.dumps(told))
"""


def test_a_full_disk_is_told_with_the_file_and_what_to_do_and_the_run_goes_on_when_there_is_room(
    gallery_folder: Path, tiny_spec: str, draw: Callable[..., Image.Image], tmp_path: Path
) -> None:
    disk, new = tmp_path / "disk", tmp_path / "new" / "polyps"
    disk.mkdir()
    new.mkdir(parents=True)
    for number in range(12):
        draw(900 + number).save(new / f"{number}.png")
    with open_dataset(gallery_folder) as dataset, CollectionWriter(tmp_path / "made", create=True) as writer:
        assert run_dataset(dataset, writer, encoders=(tiny_spec,)).exit_status == 0
    size = sum(file.stat().st_size for file in (tmp_path / "made").rglob("*") if file.is_file())
    # Encoders that were loaded keep their room after they are deleted.
    mount = f"mount -t tmpfs -o size={16 * size} tmpfs {disk}"
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*apart, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system cannot be mounted here")
    command = [*apart, f'{mount} && exec "$@"', "sh", sys.executable, "-c", textwrap.dedent(SCRIPT)]
    ended = subprocess.run(
        [*command, str(tmp_path / "made"), str(new.parent), str(disk)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr  # not ended by SIGBUS
    told: list[list[Any]] = json.loads(ended.stdout)
    refused = [message for faults, _, _ in told for kind, message in faults if kind != "NoneType"]
    assert {kind for faults, _, _ in told for kind, _ in faults} == {"DiskFullError", "NoneType"}, refused
    for message in refused:
        assert message.startswith(f"{disk}/c/")
        assert "no space left on the disk; make room and run the same command again" in message
    assert {Path(message.partition(":")[0]).name for message in refused} >= {"catalog.sqlite", "greys.rows"}
    assert {again for _, again, _ in told} == {0}
    assert {sound for _, _, sound in told} == {f"{disk}/c: sound (38 images in 1 space)\n"}
