"""Kill -9 of every command that writes, at random moments: nothing that was there is lost, a second run completes it.

By hand `pytest tests/faults/test_killed_commands.py --rounds 300` kills so often, each command in turn. The moments
of one command are spread over the time that it takes undisturbed, beginning after the imports.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from retrieval.backup import restore_backup
from retrieval.collection import Collection
from retrieval.command_line import COMMANDS as ALL_COMMANDS
from web.keys import create_key, read_keys

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
import numpy, openvino, retrieval.index, timm, torch
for line in sys.stdin:
    arguments, builds_indexes = json.loads(line)
    child = os.fork()
    if not child:
        output = os.open(os.devnull, os.O_RDWR)
        log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 0), os.dup2(output, 1), os.dup2(log, 2)
        os.environ["KMP_WARNINGS"] = "0"
        if builds_indexes:  # as for more than 50,000 images
            retrieval.index.BACKENDS = retrieval.index.BACKENDS[1:]
        sys.argv = ["kvasir", *arguments]
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

    def begin(self, *arguments: str, builds_indexes: bool = False) -> int:
        """Start a command; returns its process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps((arguments, builds_indexes)), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def status(self) -> int:
        """Wait for the command; returns its exit status, -9 where it was killed."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

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


State = dict[str, tuple[int, str | None, list[bytes]]]


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


@dataclass
class Round:
    """One kill: its folder, with a copy `c` of a collection in it, what that held, and how often the command ran."""

    folder: Path
    before: State
    completed: bool = False

    @property
    def collection(self) -> Path:
        return self.folder / "c"

    @property
    def after(self) -> State:
        return state(self.collection)


Check = Callable[[Round], None]


def lost_none(turn: Round) -> None:
    assert has_all(turn.before, turn.after)


def unchanged(turn: Round) -> None:
    assert turn.after == turn.before


def lost_three(turn: Round) -> None:
    kept = {file: entry for file, entry in turn.before.items() if entry[0] not in (1, 2, 3)}
    assert has_all(kept, turn.after)


def repaired(turn: Round) -> None:
    """Only the end counts: until then some vectors are damaged, as they were."""
    if turn.completed:
        unchanged(turn)


def whole_or_absent(name: str, is_whole: Callable[[Path], bool], always: bool = True) -> Check:
    """What a command writes besides the collection: under its name it is whole. always: once the command has ended."""

    def check(turn: Round) -> None:
        unchanged(turn)
        out = turn.folder / name
        assert out.exists() or not (always and turn.completed)
        assert not out.exists() or is_whole(out)

    return check


def keys_are_read(*names: str) -> Check:
    def check(turn: Round) -> None:
        unchanged(turn)
        found = {key.name for key in read_keys(turn.collection)}
        assert {"one"} <= found <= {"one", "two"}
        assert not turn.completed or found == set(names)

    return check


def holds(count: int) -> Callable[[Path], bool]:
    """Whether a collection that the command makes has all images, once it is one."""

    def is_whole(path: Path) -> bool:
        return not (path / "manifest.json").exists() or len(state(path)) <= count

    return is_whole


def is_backup(path: Path) -> bool:
    place = path.with_name("restored")
    restore_backup(path, place)
    state(place)
    shutil.rmtree(place)
    return True


def pictures_open(folder: Path) -> bool:
    for file in folder.rglob("*.jpg"):
        with Image.open(file) as image:
            image.load()
    return True


def arrays_load(folder: Path) -> bool:
    return all(len(np.load(file)) > 0 for file in folder.glob("*.npy"))


def tensors_load(file: Path) -> bool:
    from safetensors.numpy import load_file

    return len(load_file(file)) > 0


def is_zip(file: Path) -> bool:
    with zipfile.ZipFile(file) as opened:
        return opened.testzip() is None


def is_there(path: Path) -> bool:
    return True


@dataclass(frozen=True)
class Command:
    """Its arguments, with names of places in braces; what holds after a kill; exit statuses of the same again.

    start: which collection it begins with; made: another collection that it writes.
    """

    arguments: str
    check: Check = lost_none
    again: tuple[int, ...] = (0,)
    start: str = "plain"
    made: str = ""


COMMANDS = [
    Command("index {pictures} {collection}"),
    Command("index {pictures} {collection} --descriptors JCD,Tamura", start="full"),
    Command(
        "index {pictures} {folder}/made --encoder {encoder}", whole_or_absent("made", holds(38)), made="{folder}/made"
    ),
    Command(
        "index --vectors {places}/many.npy --table {places}/many.csv {folder}/made",
        whole_or_absent("made", holds(3000)),
        made="{folder}/made",
    ),
    Command("add {collection} {pictures}/polyps/0.jpg {pictures}/new.png --class discs"),
    Command("add {collection} {pictures}/new.png --class discs", start="full"),
    Command("remove {collection} 1 2 3", lost_three, again=(0, 1, 2), start="full"),
    Command("verify --repair {collection}", repaired, start="damaged"),
    Command("scenes {collection} --again", unchanged, start="full"),
    Command("learn {collection} another --method wccn", again=(0, 2)),  # 2: the space is there already
    Command("learn {collection} another --method head --seeds 1", again=(0, 2)),
    Command("refit {collection} learned", start="full"),
    Command("calibrate {collection}", unchanged),
    Command("calibrate {collection}", unchanged, start="full"),
    Command(
        "finetune {collection} {folder}/tuned.safetensors --space {space} --epochs 3 --views 1 --blocks 1",
        whole_or_absent("tuned.safetensors", tensors_load, always=False),  # only where an epoch was better
        again=(0, 2),  # 2: the file is there already
    ),
    Command("map {collection}", unchanged),
    Command("reasons {collection} --pairs 20", unchanged),
    Command("tune {collection} --target-recall 0.99", unchanged, start="many"),
    Command("evaluate {collection} --keep --samples 0", unchanged),
    Command("evaluate {collection} --samples 0 --report {folder}/report", whole_or_absent("report", is_there)),
    Command("export {collection} {folder}/exported", whole_or_absent("exported", arrays_load)),
    Command("backup {collection} {folder}/backup.tar", whole_or_absent("backup.tar", is_backup), start="full"),
    Command("restore {places}/plain.tar {collection} --replace"),
    Command("search --batch {pictures} --out {folder}/run.csv {collection} -k 3", whole_or_absent("run.csv", is_there)),
    Command("features {pictures}/polyps {folder}/features", whole_or_absent("features", is_there)),
    Command("sample {folder}/sample --per-class 4", whole_or_absent("sample", pictures_open)),
    Command(
        "download v1 {folder}/archives --base-url {site}",
        whole_or_absent("archives/kvasir-dataset.zip", is_zip),
    ),
    Command("key create {collection} --name two", keys_are_read("one", "two")),
    Command("key revoke {collection} {key}", keys_are_read("one"), again=(0, 2), start="full"),
]
KILLED_BELOW = {"serve", "compile"}
KILLED_ELSEWHERE = {"push"}  # test_killed_push.py
READ_ONLY = {"info", "duplicates", "size", "compare"}


def test_every_command_that_writes_is_killed() -> None:
    here = {command.arguments.split()[0] for command in COMMANDS}
    assert here | KILLED_BELOW | KILLED_ELSEWHERE | READ_ONLY == set(ALL_COMMANDS)


class _Site(BaseHTTPRequestHandler):
    """Serves one file, in pieces, so that a download takes a while."""

    def do_GET(self) -> None:
        data: bytes = self.server.data  # type: ignore[attr-defined]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        with contextlib.suppress(OSError):  # who downloads was killed
            for at in range(start, len(data), 20_000):
                self.wfile.write(data[at : at + 20_000])
                time.sleep(0.01)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.data)))  # type: ignore[attr-defined]
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a folder with the archive of Kvasir v1, which has half a megabyte here."""
    file = tmp_path_factory.mktemp("site") / "kvasir-dataset.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("kvasir-dataset/polyps/1.jpg", np.random.default_rng(0).bytes(500_000))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.data = file.read_bytes()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


class Starts:
    """Collections that a round begins with, each made when it is first wanted.

    pictures: what plain was indexed from, and 12 pictures more.
    plain: the gallery in one small space, with a key. full: also with a learned space, scenes, chances, a stored
    evaluation and another key. damaged: plain without an encoder's files and with vectors cut short. many: 3,000
    vectors without pictures.
    """

    def __init__(
        self, folder: Path, forks: Forks, plain: Path, pictures: Path, vector_collection: Callable[..., Path]
    ) -> None:
        self.folder = folder
        self.pictures = pictures
        self._forks = forks
        self._vectors = vector_collection
        self._states: dict[str, State] = {}
        shutil.copytree(plain, folder / "plain")
        _, self.key = create_key(folder / "plain", "one", "write")
        self._run("backup", str(folder / "plain"), str(folder / "plain.tar"))
        self.values = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
        np.save(folder / "many.npy", self.values)
        (folder / "many.csv").write_text("file\n" + "".join(f"{number}.jpg\n" for number in range(3000)))

    def _run(self, *arguments: str) -> None:
        self._forks.begin(*arguments)
        assert self._forks.status() == 0, (arguments, self._forks.log.read_text())

    def copy(self, name: str, folder: Path) -> Round:
        """A new round in a folder."""
        if name not in self._states:
            self._make(name)
            self._states[name] = state(self.folder / ("plain" if name == "damaged" else name))
        shutil.copytree(self.folder / name, folder / "c")
        return Round(folder, self._states[name])

    def _make(self, name: str) -> None:
        path = self.folder / name
        if name == "many":
            self._vectors(path, {"s": self.values / np.linalg.norm(self.values, axis=1, keepdims=True)})
        elif name != "plain":
            shutil.copytree(self.folder / "plain", path)
        if name == "full":
            for words in ("learn {} learned --method pca", "scenes {}", "calibrate {}", "evaluate {} --keep"):
                self._run(*words.format(path).split())
            create_key(path, "two", "read")
        if name == "damaged":
            shutil.rmtree(next((path / "encoders").iterdir()))
            (path / "greys.rows").unlink()
            vectors = next((path / "vectors").iterdir())
            vectors.write_bytes(vectors.read_bytes()[:1000])


@pytest.fixture(scope="module")
def starts(
    gallery_folder: Path,
    tiny_spec: str,
    draw: Callable[..., Any],
    index_folder: Callable[..., Path],
    vector_collection: Callable[..., Path],
    forks: Forks,
    tmp_path_factory: pytest.TempPathFactory,
) -> Starts:
    folder = tmp_path_factory.mktemp("indexed")
    pictures = Path(shutil.copytree(gallery_folder, folder / "pictures"))
    index_folder(pictures, folder / "c", tiny_spec)
    for number in range(11):
        draw(5000 + number).save(pictures / "polyps" / f"more {number}.png")
    draw(6000).save(pictures / "new.png")
    return Starts(tmp_path_factory.mktemp("sound"), forks, folder / "c", pictures, vector_collection)


def words_of(command: Command, starts: Starts, turn: Round, site: str, encoder: str) -> list[str]:
    places = {
        "folder": turn.folder,
        "collection": turn.collection,
        "pictures": starts.pictures,
        "places": starts.folder,
        "site": site,
        "encoder": encoder,
        "space": Collection.open(turn.collection).spaces[0].name,
        "key": next((key.id for key in read_keys(turn.collection) if key.name == "two"), ""),
    }
    return [word.format_map(places) for word in command.arguments.split()]


def test_killed_at_a_random_moment(
    starts: Starts,
    forks: Forks,
    site: str,
    tiny_spec: str,
    tmp_path: Path,
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    seed, count = int.from_bytes(os.urandom(4)), rounds(2)
    tally(seed=seed)
    random = np.random.default_rng(seed)
    seconds: dict[Command, float] = {}
    ends, kills, numbers = Counter[str](), Counter[str](), iter(range(100 * count))
    each = -(-count // len(COMMANDS))
    queue = [
        (COMMANDS[at], part)
        for part in random.permutation(each).tolist()
        for at in random.permutation(len(COMMANDS)).tolist()
    ]

    def run(command: Command, turn: Round, kill_after: float | None = None) -> int:
        """The exit status; also measures how long the command takes."""
        words = words_of(command, starts, turn, site, tiny_spec)
        process = forks.begin(*words, builds_indexes=command.start == "many")
        began = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.kill(process, signal.SIGKILL)
        status = forks.status()
        if not turn.completed and status == 0:
            seconds[command] = min(seconds.get(command, np.inf), kill_after or time.monotonic() - began)
        turn.completed = status == 0
        return status

    for command, part in queue:
        while kills.total() < count:
            turn = starts.copy(command.start, tmp_path / str(next(numbers)))
            if command not in seconds:  # how long it takes undisturbed
                assert run(command, turn) == 0, (command, forks.log.read_text())
                command.check(turn)
                continue
            moment = float(seconds[command] * (part + random.uniform()) / each)
            status = run(command, turn, kill_after=moment)
            what = (command.arguments, moment, status)
            command.check(turn)
            assert run(command, turn) in command.again, (*what, forks.log.read_text())
            turn.completed = True
            command.check(turn)
            for path in filter(Path.exists, (turn.collection, turn.folder / "made")):
                for words in (("verify", "--repair", str(path)), ("verify", str(path))):
                    forks.begin(*words, builds_indexes=command.start == "many")
                    assert forks.status() == 0, (*what, *words, forks.log.read_text())
            shutil.rmtree(turn.folder)
            ends["killed" if status == -signal.SIGKILL else "ended_before"] += 1
            if status == -signal.SIGKILL:
                kills[command.arguments.split()[0]] += 1
                break
    tally(lost=0, commands=len(COMMANDS), **ends, **kills)


_JPEG = {"Content-Type": "image/jpeg"}


def processes_below(process: int) -> list[int]:
    """A process and all that it has started."""
    found = [process]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def kill_all(process: int) -> None:
    for one in processes_below(process):
        os.kill(one, signal.SIGKILL)


def test_a_killed_server_loses_no_upload(
    starts: Starts,
    forks: Forks,
    free_port: Callable[[], int],
    draw: Callable[..., Any],
    encode_file: Callable[..., bytes],
    tmp_path: Path,
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    """A client adds and removes pictures one after the other until the server is killed."""
    random = np.random.default_rng(int.from_bytes(os.urandom(4)))
    files = [encode_file(draw(9000 + number)) for number in range(100)]
    count, added, removed = -(-rounds(1) // 20), 0, 0
    for number in range(count):
        turn = starts.copy("full", tmp_path / str(number))
        port = free_port()
        process = forks.begin("serve", str(turn.collection), "--port", str(port), "--rate", "off")
        there, gone = {entry[0] for entry in turn.before.values()}, set[int]()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as api:
            api.headers["Authorization"] = f"Bearer {starts.key}"
            for _ in range(600):
                with contextlib.suppress(httpx.TransportError):
                    if api.get("/readyz").status_code == 200:
                        break
                time.sleep(0.05)
            api.post("/api/v1/images", content=files[0], headers=_JPEG)  # the first takes longer
            moment = float(random.uniform(0, 4))
            killer = threading.Timer(moment, kill_all, (process,))
            killer.start()
            with contextlib.suppress(httpx.TransportError):
                for at, file in enumerate(files[1:]):
                    response = api.post("/api/v1/images", params={"class": "discs"}, content=file, headers=_JPEG)
                    assert response.status_code == 201, response.text
                    there.add(response.json()["id"])
                    added += 1
                    if at < 4:
                        there.remove(at + 1)
                        assert api.delete(f"/api/v1/images/{at + 1}").status_code == 204
                        gone.add(at + 1)
            killer.join()
        assert forks.status() == -signal.SIGKILL, forks.log.read_text()
        for words in (("verify", "--repair"), ("verify",)):
            ids = {entry[0] for entry in turn.after.values()}
            assert there <= ids, moment
            assert not gone & ids, moment
            forks.begin(*words, str(turn.collection))
            assert forks.status() == 0, (moment, words, forks.log.read_text())
        removed += len(gone)
        shutil.rmtree(turn.folder)
    tally(kills=count, added=added, removed=removed, lost=0)


def test_killed_while_it_compiles(tmp_path: Path, rounds: Callable[[int], int], tally: Callable[..., None]) -> None:
    """From packages that have no compiled kernels; each run goes on from the kernels that the last one has stored."""
    count = min(rounds(0), 10)
    if not count:
        pytest.skip("compiling takes half a minute")
    for package in ("retrieval", "indexer", "web"):
        source = Path(__file__).parents[2] / package
        shutil.copytree(source, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    kernels = tmp_path / "kernels"
    program = "from retrieval.command_line import main; main()"
    command = [sys.executable, "-B", "-c", program, "compile", str(kernels)]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    random = np.random.default_rng(int.from_bytes(os.urandom(4)))
    for _ in range(count):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(1.5, 12))
        process.kill()
        process.wait()
    stored = len(list(kernels.rglob("*.nbi")))
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    times = {file: file.stat().st_mtime_ns for file in kernels.rglob("*.nb?")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert times == {file: file.stat().st_mtime_ns for file in kernels.rglob("*.nb?")}  # all of them were whole
    tally(kills=count, stored_by_killed_runs=stored, stored=len(times))
