"""A disk that is full ends a command in words, and what was stored before stays sound."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexer.repair import repair
from indexer.verification import check
from retrieval.backup import write_backup
from retrieval.collection.manifest import read_manifest, write_manifest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
    import json, pathlib, shutil, sys
    from click.testing import CliRunner
    from retrieval.command_line import kvasir

    made, new, disk = map(pathlib.Path, sys.argv[1:])
    told = []
    for left in (0, 32, 64, 80, 112, 144, 400):
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


def on_a_small_disk(script: str, disk: Path, size: int, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """Run a script where a file system of this many bytes is mounted on `disk`."""
    mount = f"mount -t tmpfs -o size={size} tmpfs {disk}"
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*apart, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system cannot be mounted here")
    return subprocess.run(
        [*apart, f'{mount} && exec "$@"', "sh", sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_a_full_disk_is_told_with_the_file_and_what_to_do_and_the_run_goes_on_when_there_is_room(
    index_folder: Callable[..., Path],
    gallery_folder: Path,
    tiny_spec: str,
    draw: Callable[..., Image.Image],
    tmp_path: Path,
) -> None:
    disk, new = tmp_path / "disk", tmp_path / "new" / "polyps"
    disk.mkdir()
    new.mkdir(parents=True)
    for number in range(48):  # so that their small greys take more room than the catalog's journal leaves
        draw(900 + number).save(new / f"{number}.png")
    index_folder(gallery_folder, tmp_path / "made", tiny_spec)
    size = sum(file.stat().st_size for file in (tmp_path / "made").rglob("*") if file.is_file())
    # Encoders that were loaded keep their room after they are deleted.
    ended = on_a_small_disk(SCRIPT, disk, 16 * size, tmp_path / "made", new.parent, disk)
    assert ended.returncode == 0, ended.stderr  # not ended by SIGBUS
    told: list[list[Any]] = json.loads(ended.stdout)
    refused = [message for faults, _, _ in told for kind, message in faults if kind != "NoneType"]
    assert {kind for faults, _, _ in told for kind, _ in faults} == {"DiskFullError", "NoneType"}, refused
    for message in refused:
        assert message.startswith(f"{disk}/c/")
        assert "no space left on the disk; make room and run the same command again" in message
    assert {Path(message.partition(":")[0]).name for message in refused} >= {"catalog.sqlite", "greys.rows"}
    assert {again for _, again, _ in told} == {0}
    assert {sound for _, _, sound in told} == {f"{disk}/c: sound (74 images in 1 space)\n"}


WRITERS = """
    import gc, http.server, io, json, logging, pathlib, shutil, sys, threading
    import faiss, numpy as np, torch
    from click.testing import CliRunner
    from safetensors.torch import save_file
    from retrieval.command_line import kvasir
    from retrieval.disk import new_file, new_path
    from retrieval.errors import RetrievalError
    from retrieval.fusion import statistics
    from retrieval.index.storage import StoredIndex, building_lock, write_stored

    made, data, disk, spec = sys.argv[1:]
    made, data, disk = map(pathlib.Path, (made, data, disk))

    class Site(http.server.BaseHTTPRequestHandler):
        # A file of unknown length, so that its room cannot be checked first.
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()
        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(bytes(1 << 20))
        def log_message(self, *_):
            ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site = f"http://127.0.0.1:{server.server_port}"
    space = json.loads((made / "manifest.json").read_text())["spaces"][0]["name"]

    commands = {
        "sample": ("sample", disk / "sample"),
        "features": ("features", data, disk / "features"),
        "key": ("key", "create", disk / "c"),
        "batch": ("search", "--batch", data, "--out", disk / "run.csv", made),
        "report": ("evaluate", made, "--report", disk / "report", "--samples", 0),
        "keep": ("evaluate", disk / "c", "--keep", "--samples", 0),
        "index": ("index", data, disk / "new", "--encoder", spec),
        "learn": ("learn", disk / "c", "learned", "--from", space, "--method", "pca"),
        "download": ("download", "v1", disk / "data", "--base-url", site),
    }
    nowhere = {  # where there is no room at all
        "remove": ("remove", disk / "c", 1),
        "scenes": ("scenes", disk / "c"),
        "calibrate": ("calibrate", disk / "c"),
        "export": ("export", disk / "c", disk / "exported"),
        "tune": ("tune", disk / "c", "--target-recall", 0.9),
        "vectors": ("index", "--vectors", made.parent / "v.npy", "--table", made.parent / "v.csv", disk / "imported"),
        "map": ("map", disk / "c", "--again"),
        "views": ("learn", disk / "c", "viewed", "--from", space, "--method", "lda", "--views", "central"),
    }
    np.save(made.parent / "v.npy", np.eye(4, dtype=np.float32))
    (made.parent / "v.csv").write_text("file\\n" + "".join(f"{number}.jpg\\n" for number in range(4)))
    log = io.StringIO()
    logging.basicConfig(stream=log, format="%(message)s")

    def store_index():
        index = faiss.IndexFlatL2(64)
        index.add(np.zeros((1000, 64), np.float32))
        with building_lock(disk / "i"):
            if not write_stored(StoredIndex(index, np.arange(1000), {}), disk / "i" / "flat.faiss"):
                raise RuntimeError(log.getvalue()[start:])

    def store_statistics():
        ids = np.arange(300)
        statistics.stored_statistics(disk / "c", "s", ids, ids, lambda sample: np.ones((len(sample), len(sample))))
        if log.tell() > start:
            raise RuntimeError(log.getvalue()[start:])

    def store_weights():
        with new_path(disk / "w.safetensors") as partial:
            save_file({"w": torch.zeros(100_000)}, partial)

    def store_inputs():  # NumPy has an error without a number, finetune's views
        with new_file(disk / "inputs.npy", sync=False) as stream:
            np.save(stream, np.zeros(100_000))

    told = {}
    writers = commands | nowhere | {"faiss": store_index, "statistics": store_statistics}
    writers |= {"weights": store_weights, "inputs": store_inputs}
    for name, arguments in writers.items():
        for left in (0,) if name in nowhere else (0, 8, 300):
            for entry in disk.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            shutil.copytree(made, disk / "c")
            error = None
            gc.collect()  # files that the last command has mapped take room until then
            with (disk / "filler").open("wb") as filler:
                filler.write(bytes(shutil.disk_usage(disk).free - 1024 * left))
            before = {*disk.rglob("*")}
            start, error = log.tell(), None
            if isinstance(arguments, tuple):
                error = CliRunner().invoke(kvasir, [*map(str, arguments)]).exception
            else:
                try:
                    arguments()
                except (RetrievalError, RuntimeError) as caught:
                    error = caught
            (disk / "filler").unlink()
            new = sorted(str(path.relative_to(disk)) for path in {*disk.rglob("*")} - before if path.is_file())
            told[f"{name} {left}"] = [type(error).__name__, str(error), new]
    print(json.dumps(told))
"""


def test_every_writer_says_that_the_disk_is_full_and_leaves_no_partial_file(
    gallery_folder: Path, index_folder: Callable[..., Path], tiny_spec: str, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    index_folder(gallery_folder, tmp_path / "made", tiny_spec)
    ended = on_a_small_disk(WRITERS, disk, 16 << 20, tmp_path / "made", gallery_folder, disk, tiny_spec)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, tuple[str, str, list[str]]] = json.loads(ended.stdout)
    complete = {
        "sample",
        "features",
        "report",
        "learn",
        "download",
    }  # what was complete stays
    for name, (kind, message, files) in told.items():
        assert kind in {"DiskFullError", "RuntimeError", "NoneType"}, (name, kind, message)
        if kind == "NoneType":
            assert not name.endswith(" 0")
            continue
        assert "no space left on the disk; make room" in message, name
        left = {Path(file).name for file in files} - {"writer.lock", "keys.lock"}
        assert not [file for file in left if file.endswith((".new", ".lock"))], name
        if name.partition(" ")[0] not in complete:
            assert left in (set(), {"run.csv", "run.csv.journal"}), name
    assert {name.partition(" ")[0] for name, (kind, *_) in told.items() if kind != "NoneType"} == {
        "sample", "features", "key", "batch", "report", "keep", "index", "learn", "faiss", "statistics",
        "download", "remove", "scenes", "calibrate", "export", "tune", "vectors", "map", "views",
        "weights", "inputs",
    }  # fmt: skip


LIMITED = """
    import resource, signal, sys
    from retrieval.command_line import main
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
    main()
"""


def test_no_room_for_a_conversion_stops_the_run_and_the_next_one_converts(
    gallery_folder: Path, tiny_spec: str, tmp_path: Path
) -> None:
    """A limit of the process, which shows in no number of free bytes, as a quota does not."""
    collection = tmp_path / "c"

    def index(limit: int) -> subprocess.CompletedProcess[str]:
        arguments = ["index", str(gallery_folder), str(collection), "--encoder", tiny_spec]
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(LIMITED), str(limit), *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )

    stopped = index(100_000)
    assert stopped.returncode == 2, stopped.stderr
    last = stopped.stderr.splitlines()[-1]
    assert "no space left on the disk for the converted encoder" in last
    assert "make room and run the same command again" in last
    assert "cannot convert" not in stopped.stderr
    assert not (collection / "encoders" / ".new").exists()
    assert index(1 << 30).returncode == 0
    (space,) = json.loads((collection / "manifest.json").read_text())["spaces"][:1]
    assert "converted" in space["recipe"]


def test_a_conversion_that_an_earlier_version_gave_up_is_told_and_made_by_repair(
    tiny_spec: str, index_folder: Callable[..., Path], gallery_folder: Path, tmp_path: Path
) -> None:
    collection = index_folder(gallery_folder, tmp_path / "c", tiny_spec)
    manifest = read_manifest(collection)
    (space, *others) = manifest.spaces
    recipe = {name: value for name, value in space.recipe.items() if name != "converted"}
    shutil.rmtree(collection / "encoders")
    write_manifest(collection, replace(manifest, spaces=(replace(space, recipe=recipe), *others)))
    (finding,) = check(collection, pictures=False)
    assert "its encoder was never converted" in finding.message
    mended = repair(collection, [finding])
    assert (mended.failed, check(collection, pictures=False)) == ([], [])
    assert "converted" in read_manifest(collection).spaces[0].recipe


BACKUPS = """
    import json, pathlib, shutil, sys
    from click.testing import CliRunner
    from retrieval.command_line import kvasir

    made, sound, disk = map(pathlib.Path, sys.argv[1:])
    shutil.copytree(made, disk / "c")
    told = []
    size = sound.stat().st_size
    for command in (["backup", str(disk / "c"), str(disk / "b.tar")], ["restore", str(sound), str(disk / "r")],
                    ["restore", str(sound), str(disk / "c"), "--replace"]):
        for left in (0, 8192, 65536, size // 3, size - 16384):
            with (disk / "filler").open("wb") as filler:
                filler.write(bytes(shutil.disk_usage(disk).free - left))
            full = CliRunner().invoke(kvasir, command).exception
            there = sorted(path.name for path in disk.iterdir())
            (disk / "filler").unlink()
            intact = CliRunner().invoke(kvasir, ["verify", str(disk / "c")]).exit_code
            told.append([type(full).__name__, str(full), there, intact])
        assert CliRunner().invoke(kvasir, command).exit_code == 0
        for name in ("b.tar", "r"):
            shutil.rmtree(disk / name) if (disk / name).is_dir() else (disk / name).unlink(missing_ok=True)
    print(json.dumps(told))
"""


def test_a_backup_and_a_restore_on_a_full_disk_tell_the_file_and_leave_nothing(
    tiny_spec: str, index_folder: Callable[..., Path], gallery_folder: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = index_folder(gallery_folder, tmp_path / "made", tiny_spec)
    backup = write_backup(made, tmp_path / "b.tar")
    ended = on_a_small_disk(BACKUPS, disk, 4 * backup.size + (1 << 20), made, tmp_path / "b.tar", disk)
    assert ended.returncode == 0, ended.stderr
    for kind, message, there, intact in json.loads(ended.stdout):
        assert kind == "DiskFullError", message
        assert message.startswith(f"{disk}/")
        assert ": no space left on the disk; make room and " in message
        assert there == ["c", "filler"]
        assert intact == 0
