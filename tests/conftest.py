"""What many tests share: drawn pictures, a small collection made by the default encoder, small checkpoints.

Nothing here is a stand-in: the pictures are real files, the encoders real towers, some of them small and untrained.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, ImageDraw

# Rounds and counts of the tests in tests/faults/


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, help="rounds of each test in tests/faults/, not the few that CI makes")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """No bytes in a test's name: some hold the time, and all workers of pytest-xdist must collect the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def rounds(pytestconfig: pytest.Config) -> Callable[[int], int]:
    """(few) -> how many rounds to make: those of `--rounds`, or few."""
    given: int | None = pytestconfig.getoption("rounds")
    return lambda few: few if given is None else given


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """(kills=300, lost=0) -> nothing; the counts are printed when all tests have ended."""

    def add(**counts: object) -> None:
        for name, count in counts.items():
            record_property("tally", f"{name.replace('_', ' ')}: {count}")

    return add


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for status in ("passed", "failed") for report in terminalreporter.getreports(status)]
    lines = {
        report.nodeid: ", ".join(text for name, text in report.user_properties if name == "tally")
        for report in reports
        if report.when == "call" and any(name == "tally" for name, _ in report.user_properties)
    }
    if lines:
        terminalreporter.section("counts")
        for nodeid, counts in lines.items():
            terminalreporter.line(f"{nodeid}: {counts}")


HUES = {"cecum": (200, 120, 90), "polyps": (90, 160, 60), "pylorus": (70, 80, 190)}


def drawn(seed: int, colour: tuple[int, int, int] = (150, 90, 80), size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A picture with structure: blobs of one hue on a dark ground, the same for the same seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(value // 4 for value in colour))
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.uniform(0, size[0]), random.uniform(0, size[1])
        r = random.uniform(4, size[0] / 5)
        shade = tuple(int(np.clip(value + random.integers(-40, 40), 0, 255)) for value in colour)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=shade)
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The bytes of a picture file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    return drawn


@pytest.fixture(scope="session")
def encode_file() -> Callable[..., bytes]:
    return encoded


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """(name, make) -> the path that `make` filled, once for all workers of pytest-xdist. Read only."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder = root / "shared" / name
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / "made").exists():
                make(folder / name)
                (folder / "made").touch()
        return folder / name

    return made


MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session", autouse=True)
def converted_once(make_once: MakeOnce) -> Iterator[None]:
    """The files of an encoder that this session has converted before are copied: tracing it again takes seconds."""
    from retrieval.encoders.runtime import converted_digest
    from retrieval.spaces import encoder

    convert = encoder.convert

    def copied(tower: Any, directory: Path) -> str:
        recipe = hashlib.sha256(json.dumps(tower.recipe.to_dict(), sort_keys=True).encode()).hexdigest()
        made = make_once(f"converted {recipe[:16]}", partial(convert, tower))
        shutil.copytree(made, directory, dirs_exist_ok=True)
        return converted_digest(directory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "convert", copied)
        yield


@pytest.fixture(scope="session")
def gallery_folder(make_once: MakeOnce) -> Path:
    """Three classes of eight pictures; the ninth of polyps is a copy of its first; one picture has no class."""
    return make_once("drawn", _draw_gallery)


def _draw_gallery(folder: Path) -> None:
    for number, (name, colour) in enumerate(HUES.items()):
        (folder / name).mkdir(parents=True)
        for index in range(8):
            (folder / name / f"{index}.jpg").write_bytes(encoded(drawn(100 * number + index, colour), quality=92))
    (folder / "polyps" / "copy of 0.jpg").write_bytes((folder / "polyps" / "0.jpg").read_bytes())
    (folder / "without class.png").write_bytes(encoded(drawn(999), "PNG"))


@dataclass(frozen=True)
class Indexed:
    """A collection and the pictures that it was made from."""

    path: Path
    data: Path


@pytest.fixture(scope="session")
def write_collection() -> Callable[..., Path]:
    """(path, vectors, classes, options) -> a collection of given vectors: see `_write_collection`."""
    return _write_collection


def _write_collection(
    path: Path,
    vectors: Mapping[str, NDArray[Any]],
    classes: Sequence[str | None] | None = None,
    *,
    contents: Sequence[object] | None = None,
    source: Path | None = None,
    size: tuple[int, int] = (10, 10),
    first: int = 0,
) -> Path:
    """Write images that have vectors and no pictures; makes the collection, or adds to it.

    vectors: space -> (n, d), with rows of NaN where an image has none. A space called as a LIRE descriptor is that
    descriptor, any other an encoder's. Images of equal contents are exact copies; without contents all differ. The
    n-th file is CLASS/N.jpg below the source, counted from `first`, which keeps the files of a second call apart.
    """
    from retrieval.collection import CollectionWriter, NewImage
    from retrieval.descriptors import DESCRIPTORS

    count = len(next(iter(vectors.values())))
    classes = classes or [None] * count
    contents = contents or [f"content {first + n}" for n in range(count)]
    with CollectionWriter(path, create=True) as writer:
        known = {space.name for space in writer.manifest.spaces}
        for name in [name for name in vectors if name not in known]:
            dimension, dtype = vectors[name].shape[1], vectors[name].dtype.name
            if name in DESCRIPTORS:
                writer.add_space(name, "descriptor", dimension, DESCRIPTORS[name].metric_name, {}, dtype)
            else:
                writer.add_space(name, "encoder", dimension, "cosine", {"spec": "none"}, dtype)
        source_id = writer.source(source or path, "folder")
        images = []
        for n in range(count):
            rows = {name: rows[n] for name, rows in vectors.items() if not np.isnan(rows[n]).any()}
            digest = hashlib.sha256(repr(contents[n]).encode()).digest()
            file = f"{classes[n] or '.'}/{first + n}.jpg".removeprefix("./")
            images.append(NewImage(source_id, file, classes[n], *size, 1, 0, digest, rows))
        writer.append(images)
    return path


@pytest.fixture(scope="session")
def index_folder() -> Callable[..., Path]:
    """(folder of pictures, collection, *encoders, options) -> the collection, made or added to as `kvasir index` does.

    No encoder means the default one, or the spaces that the collection has; options are those of `run_dataset`.
    """
    return _index_folder


def _index_folder(data: Path, path: Path, *encoders: str, **options: Any) -> Path:
    from indexer.datasets import open_dataset
    from indexer.run import run_dataset
    from retrieval.collection import CollectionWriter

    name = path.name.removesuffix(".collection")
    with open_dataset(data) as dataset, CollectionWriter(path, name=name, create=True) as writer:
        assert run_dataset(dataset, writer, encoders=encoders, **options).exit_status == 0
    return path


@pytest.fixture(scope="session")
def indexed(make_once: MakeOnce, gallery_folder: Path) -> Indexed:
    """The drawn gallery, indexed with the default encoder. Read only: copy it before writing."""
    return Indexed(make_once("drawn.collection", partial(_index_folder, gallery_folder)), gallery_folder)


def store_vectors(
    path: Path, spaces: Mapping[str, NDArray[Any]], classes: Sequence[str | None] | None = None, first: int = 0
) -> Path:
    """A collection of vectors (n, d) by space, without pictures, or further images of one: 20,000 a second.

    A space that is not there yet is of imported vectors; the files are called 0, 1, ... from `first` on.
    """
    from indexer.vector_import import import_vectors, named_space
    from indexer.vector_table import VectorTable
    from retrieval.collection import CollectionWriter

    with CollectionWriter(path, create=True) as writer:
        for name, vectors in spaces.items():
            files = [str(first + number) for number in range(len(vectors))]
            import_vectors(writer, vectors, VectorTable.of(files, classes), named_space(name))
    return path


def random_vectors(count: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """Vectors (count, dimension) of unit length in random directions."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@pytest.fixture(scope="session")
def vector_collection() -> Callable[..., Path]:
    """(path, {space: vectors}, classes) -> a collection without pictures, however large; see `store_vectors`."""
    return store_vectors


# Small checkpoints: architectures of the libraries' own, untrained, from fixed seeds.


def _save_timm_weights(architecture: str, path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(7)
    state = timm.create_model(architecture).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)


@pytest.fixture(scope="session")
def timm_weights(make_once: MakeOnce) -> Callable[..., Path]:
    """(architecture, suffix) -> a file of its untrained weights."""

    def weights(architecture: str, suffix: str = ".safetensors") -> Path:
        return make_once(f"{architecture}{suffix}", partial(_save_timm_weights, architecture))

    return weights


@pytest.fixture(scope="session")
def tiny_spec(timm_weights: Callable[..., Path]) -> str:
    """The spec of an encoder that loads and runs in no time: timm's vision transformer for tests, 160x160."""
    return f"timm:test_vit/{timm_weights('test_vit')}"


TINY_CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class ClipFiles:
    """One small CLIP as the three forms that open_clip reads: `pt`, `safetensors`, and a folder with a config."""

    architecture: str
    pt: Path
    safetensors: Path
    folder: Path


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> ClipFiles:
    """A CLIP of two layers whose architecture open_clip knows by name while the tests run."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    configs = tmp_path_factory.mktemp("clip configs")
    (configs / "tiny-clip.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(configs)
    torch.manual_seed(11)
    state = open_clip.create_model("tiny-clip").state_dict()
    weights = tmp_path_factory.mktemp("clip weights")
    files = ClipFiles("tiny-clip", weights / "w.pt", weights / "w.safetensors", weights / "tiny-folder")
    torch.save(state, files.pt)
    save_file(state, files.safetensors)
    files.folder.mkdir()
    preprocess = {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": preprocess}
    (files.folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(state, files.folder / "open_clip_model.safetensors")
    return files


@pytest.fixture(scope="module")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a file of milvus-lite, which this process alone can open; for the tests of one module."""
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    from retrieval.index.engines import connect

    address = f"milvus://{tmp_path_factory.mktemp('milvus') / 'lite.db'}"
    yield address
    connect(address).close()


# Programs, each in a process of its own. Importing NumPy, FAISS, OpenVINO and Flask takes seconds, so they are forked.

ROOT = Path(__file__).resolve().parents[1]
BEGIN = """
import os, sys
for descriptor, path in outputs:
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
os.chdir(root)
os.environ.clear()
os.environ.update(environment)
sys.argv = ["kvasir", *arguments]
"""


class Forked:
    """A program that runs in a forked process, with what `subprocess.Popen` offers of it."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid: int = process.pid

    def poll(self) -> int | None:
        """The exit status, -9 where it was killed; None while it runs."""
        status: int | None = self._process.exitcode
        return status

    def wait(self, seconds: float) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        self._process.join(seconds)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired("a forked program", seconds)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@pytest.fixture(scope="session")
def fork() -> Callable[..., Forked]:
    """(program, *arguments, stdout, stderr, environment) -> a running Python program, forked after the imports.

    stdout and stderr are files, or those of the tests. `subprocess` instead where starting itself is tested.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["imported"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(Path(__file__).parent))))
        forkserver.ensure_running()

    def run(
        program: str,
        *arguments: object,
        stdout: Path | None = None,
        stderr: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Forked:
        names = {
            "__name__": "__main__",
            "root": str(ROOT),
            "arguments": [str(argument) for argument in arguments],
            "outputs": [(number, str(path)) for number, path in ((1, stdout), (2, stderr)) if path is not None],
            "environment": os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
        }
        process = context.Process(target=exec, args=(f"{BEGIN}\n{textwrap.dedent(program)}", names), daemon=True)
        process.start()
        return Forked(process)

    return run


# A server, as `kvasir serve` runs it.


@dataclass
class Served:
    """A running `kvasir serve`: where it is, its process and its log."""

    url: str
    process: Forked
    log: Path
    collection: Path


@pytest.fixture(scope="session")
def drawn_in_two_spaces(make_once: MakeOnce, indexed: Indexed, tiny_spec: str) -> Path:
    """The drawn gallery with two spaces: the default encoder's and a tiny one's. Read only: `two_spaces` is a copy."""

    def make(path: Path) -> None:
        shutil.copytree(indexed.path, path)
        _index_folder(indexed.data, path, tiny_spec)

    return make_once("two spaces.collection", make)


@pytest.fixture(scope="module")
def two_spaces(drawn_in_two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn gallery with two spaces, for the tests of one module: what they store, no other module sees."""
    return Path(shutil.copytree(drawn_in_two_spaces, tmp_path_factory.mktemp("two") / "drawn.collection"))


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """() -> a port that nobody listens on and that no other call gives.

    Below the ports that the system gives to clients, and each worker of pytest-xdist has its own hundred.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = cycle(range(20_000 + 100 * worker, 20_100 + 100 * worker))

    def free() -> int:
        for port in ports:
            with socket.socket() as trial, contextlib.suppress(OSError):
                trial.bind(("127.0.0.1", port))
                return port
        raise AssertionError

    return free


Start = Callable[..., Served]


@contextlib.contextmanager
def _servers(logs: Path, free_port: Callable[[], int], fork: Callable[..., Forked]) -> Iterator[Start]:
    running: list[Forked] = []

    def start(collection: Path, *flags: str, environment: dict[str, str] | None = None, first: str = "") -> Served:
        port = free_port()
        log = logs / f"{port}.log"
        program = f"{first}\nfrom retrieval.command_line import main; main()"
        process = fork(program, "serve", collection, "--port", port, *flags, stderr=log, environment=environment)
        running.append(process)
        url = f"http://127.0.0.1:{port}"
        for _ in range(2400):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz") as answer:
                if answer.status == 200:
                    return Served(url, process, log, collection)
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(40)


@pytest.fixture(scope="module")
def serve(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], fork: Callable[..., Forked]
) -> Iterator[Start]:
    """(collection, *flags) -> a ready server on a free port of this machine; it ends with the module's tests.

    first: what its process runs before it serves.
    """
    with _servers(tmp_path_factory.mktemp("logs"), free_port, fork) as start:
        yield start


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
    fork: Callable[..., Forked],
    drawn_in_two_spaces: Path,
) -> Iterator[Served]:
    """A server that many tests read from; nobody writes to its collection."""
    path = shutil.copytree(drawn_in_two_spaces, tmp_path_factory.mktemp("served") / "drawn.collection")
    with _servers(tmp_path_factory.mktemp("logs"), free_port, fork) as start:
        yield start(path, "--rate", "off")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


# A reverse proxy, as it stands before servers of several applications.


class _Proxied(BaseHTTPRequestHandler):
    """Passes what lies under its server's prefix on, without the prefix; nothing else exists."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        if not self.path.startswith(f"{server.prefix}/"):
            server.strayed.append(self.path)
            self.send_error(404)
            return
        length = int(self.headers.get("Content-Length", 0))
        passed = {name: value for name, value in self.headers.items() if name != "Connection"}
        passed |= {
            "X-Forwarded-For": self.client_address[0],
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": self.headers["Host"],
            "X-Forwarded-Prefix": server.prefix,
        }
        with contextlib.closing(http.client.HTTPConnection(server.behind, timeout=60)) as connection:
            connection.request(self.command, self.path[len(server.prefix) :], self.rfile.read(length), passed)
            answer = connection.getresponse()
            body = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Connection", "Transfer-Encoding", "Content-Length"):
                self.send_header(name, value)
        if answer.status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # http.server looks for this name

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@dataclass
class Proxy:
    """A running proxy: the address of what it passes on, and paths outside the prefix that were asked of it."""

    url: str
    strayed: list[str]


@pytest.fixture
def proxy() -> Iterator[Callable[..., Proxy]]:
    """(server, prefix) -> a reverse proxy before a server, on a port of its own."""
    running: list[ThreadingHTTPServer] = []

    def start(server: Served, prefix: str) -> Proxy:
        made: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Proxied)
        made.prefix, made.behind, made.strayed = prefix, server.url.removeprefix("http://"), []
        threading.Thread(target=made.serve_forever, daemon=True).start()
        running.append(made)
        return Proxy(f"http://127.0.0.1:{made.server_port}{prefix}", made.strayed)

    yield start
    for one in running:
        one.shutdown()
        one.server_close()
