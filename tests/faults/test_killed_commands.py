"""Kill -9 of every command that writes, at random moments: nothing that was there is lost, a second run completes it.

By hand `pytest tests/faults/test_killed_commands.py --rounds 300` kills so often, each command in turn.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.backup import restore_backup
from retrieval.collection import Collection
from web.keys import read_keys

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="commands are forked from a process that has loaded all"
)

FORKS = """
import importlib, json, os, pkgutil, sys, traceback
import indexer, retrieval, web
from retrieval.command_line import main
for package in (retrieval, indexer, web):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(("__main__", ".worker", "picture_process", "retrieval.py")):
            importlib.import_module(module.name)
import numpy, openvino, timm, torch
for line in sys.stdin:
    child = os.fork()
    if not child:
        output = os.open(os.devnull, os.O_RDWR)
        log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 0), os.dup2(output, 1), os.dup2(log, 2)
        os.environ["KMP_WARNINGS"] = "0"
        sys.argv = ["kvasir", *json.loads(line)]
        code = 1
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""A process that has imported everything, so that a command begins at once in a fork of it."""


class Forks:
    """Runs commands, and kills them."""

    def __init__(self, log: Path) -> None:
        self.log = log
        command = [sys.executable, "-W", "ignore", "-c", FORKS, str(log)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        self.seconds: dict[str, float] = {}

    def run(self, *arguments: str, kill_after: float | None = None) -> int:
        """The exit status of a command, -9 where it was killed after so many seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(arguments), file=self._process.stdin, flush=True)
        child = int(self._process.stdout.readline())
        began = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.kill(child, signal.SIGKILL)
        status = int(self._process.stdout.readline())
        if kill_after is None:
            self.seconds[arguments[0]] = time.monotonic() - began
        return status

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    made = Forks(tmp_path_factory.mktemp("forks") / "log")
    yield made
    made.close()


@dataclass(frozen=True)
class Places:
    """The folder of one round, with the collection `c` in it, and files that all rounds read."""

    folder: Path
    pictures: Path
    backup: Path

    @property
    def collection(self) -> Path:
        return self.folder / "c"


State = dict[str, tuple[int, str, list[bytes]]]


def state(path: Path) -> State:
    """file -> id, class, and vectors by the spaces' order."""
    opened = Collection.open(path)
    vectors: dict[int, list[bytes]] = {image_id: [] for image_id in opened.images.ids.tolist()}
    for space in opened.spaces:
        for image_id, vector in zip(*opened.vectors(space.name), strict=True):
            vectors[int(image_id)].append(np.asarray(vector).tobytes())
    files, ids = opened.images.files, opened.images.ids.tolist()
    return {file: (at, opened.class_of(at), vectors[at]) for file, at in zip(files, ids, strict=True)}


def has_all(before: State, after: State) -> bool:
    """Whether every image of before is there as it was; it may have further vectors."""
    return all(
        file in after and after[file][:2] == (number, name) and after[file][2][: len(vectors)] == vectors
        for file, (number, name, vectors) in before.items()
    )


def lost_none(places: Places, before: State, after: State) -> None:
    assert has_all(before, after)


def lost_three(places: Places, before: State, after: State) -> None:
    kept = {file: entry for file, entry in before.items() if entry[0] not in (1, 2, 3)}
    assert has_all(kept, after)


def whole_or_absent(name: str) -> Callable[[Places, State, State], None]:
    """A check of what a command writes besides the collection: under its name it is whole."""

    def check(places: Places, before: State, after: State) -> None:
        assert after == before
        out = places.folder / name
        if not out.exists():
            return
        if name == "backup.tar":
            restore_backup(out, places.folder / "restored")
            assert state(places.folder / "restored") == before
            shutil.rmtree(places.folder / "restored")
        elif name == "exported":
            assert len(np.load(next(out.glob("*.npy")))) == len(before)

    return check


def keys_are_read(places: Places, before: State, after: State) -> None:
    assert after == before
    assert {"one"} <= {key.name for key in read_keys(places.collection)}


@dataclass(frozen=True)
class Command:
    """Its arguments, with names of Places in braces; what holds after a kill; exit statuses of the same again."""

    arguments: str
    check: Callable[[Places, State, State], None] = lost_none
    again: tuple[int, ...] = (0,)


COMMANDS = [
    Command("index {pictures} {collection}"),
    Command("index {pictures} {collection} --descriptors JCD,Tamura"),
    Command("add {collection} {pictures}/polyps/0.jpg {pictures}/new.png --class discs"),
    Command("remove {collection} 1 2 3", lost_three, again=(0, 1, 2)),
    Command("verify --repair {collection}"),
    Command("learn {collection} learned --method wccn", again=(0, 2)),  # 2: the space is there already
    Command("calibrate {collection}"),
    Command("evaluate {collection} --keep --samples 0"),
    Command("evaluate {collection} --samples 0 --report {folder}/report", whole_or_absent("report")),
    Command("export {collection} {folder}/exported", whole_or_absent("exported")),
    Command("backup {collection} {folder}/backup.tar", whole_or_absent("backup.tar")),
    Command("restore {backup} {collection} --replace"),
    Command("search --batch {pictures} --out {folder}/run.csv {collection} -k 3", whole_or_absent("run.csv")),
    Command("features {pictures}/polyps {folder}/features", whole_or_absent("features")),
    Command("key create {collection} --name two", keys_are_read),
]


@pytest.fixture(scope="module")
def pictures(gallery_folder: Path, tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., Any]) -> Path:
    """The drawn gallery with 12 pictures more."""
    folder = Path(shutil.copytree(gallery_folder, tmp_path_factory.mktemp("more") / "pictures"))
    for number in range(11):
        draw(5000 + number).save(folder / "polyps" / f"more {number}.png")
    draw(6000).save(folder / "new.png")
    return folder


@pytest.fixture(scope="module")
def sound(
    gallery_folder: Path,
    pictures: Path,
    tiny_spec: str,
    index_folder: Callable[..., Path],
    forks: Forks,
    tmp_path_factory: pytest.TempPathFactory,
) -> Places:
    """A collection of the gallery in one small space, with a key, and a backup of it."""
    folder = tmp_path_factory.mktemp("sound")
    gallery = Path(shutil.copytree(gallery_folder, folder / "gallery"))
    shutil.copytree(pictures, gallery, dirs_exist_ok=True)
    for extra in [*gallery.glob("polyps/more *"), gallery / "new.png"]:
        extra.unlink()
    index_folder(gallery, folder / "c", tiny_spec)
    shutil.copytree(pictures, gallery, dirs_exist_ok=True)
    assert forks.run("key", "create", str(folder / "c"), "--name", "one") == 0
    assert forks.run("backup", str(folder / "c"), str(folder / "sound.tar")) == 0
    return Places(folder, gallery, folder / "sound.tar")


def test_killed_at_a_random_moment(
    sound: Places, forks: Forks, tmp_path: Path, rounds: Callable[[int], int], tally: Callable[..., None]
) -> None:
    seed, count = int.from_bytes(os.urandom(4)), rounds(2)
    tally(seed=seed)
    random = np.random.default_rng(seed)
    before, ends = state(sound.collection), Counter[str]()
    order = np.resize(random.permutation(len(COMMANDS)), count)
    for turn, command in enumerate(COMMANDS[at] for at in order.tolist()):
        places = Places(tmp_path / str(turn), sound.pictures, sound.backup)
        places.folder.mkdir()
        arguments = [
            word.format(
                folder=places.folder, collection=places.collection, pictures=places.pictures, backup=places.backup
            )
            for word in command.arguments.split()
        ]
        if command.arguments not in forks.seconds:  # how long it takes undisturbed
            shutil.copytree(sound.collection, places.collection)
            assert forks.run(*arguments) == 0, forks.log.read_text()
            forks.seconds[command.arguments] = forks.seconds[arguments[0]]
            shutil.rmtree(places.folder)
            places.folder.mkdir()
        shutil.copytree(sound.collection, places.collection)
        moment = float(random.uniform(0, 1.1 * forks.seconds[command.arguments]))
        status = forks.run(*arguments, kill_after=moment)
        ends["killed" if status == -signal.SIGKILL else "ended_before"] += 1
        what = (command.arguments, moment, status)
        if arguments[0] == "restore" and not places.collection.exists():
            raise AssertionError(what)
        command.check(places, before, state(places.collection))
        assert forks.run(*arguments) in command.again, (*what, forks.log.read_text())
        command.check(places, before, state(places.collection))
        repaired = forks.run("verify", "--repair", str(places.collection))
        assert repaired == 0, (*what, forks.log.read_text())
        assert forks.run("verify", str(places.collection)) == 0, (*what, forks.log.read_text())
        shutil.rmtree(places.folder)
    tally(lost=0, commands=len(COMMANDS), **ends)
