"""What many tests share: drawn pictures, a small collection made by the default encoder, small checkpoints.

Nothing here is a stand-in: the pictures are real files, the encoders real towers, some of them small and untrained.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

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
def gallery_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of eight pictures; the ninth of polyps is a copy of its first; one picture has no class."""
    folder = tmp_path_factory.mktemp("data") / "drawn"
    for number, (name, colour) in enumerate(HUES.items()):
        (folder / name).mkdir(parents=True)
        for index in range(8):
            (folder / name / f"{index}.jpg").write_bytes(encoded(drawn(100 * number + index, colour), quality=92))
    (folder / "polyps" / "copy of 0.jpg").write_bytes((folder / "polyps" / "0.jpg").read_bytes())
    (folder / "without class.png").write_bytes(encoded(drawn(999), "PNG"))
    return folder


@dataclass(frozen=True)
class Indexed:
    """A collection and the pictures that it was made from."""

    path: Path
    data: Path


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory, gallery_folder: Path) -> Indexed:
    """The drawn gallery, indexed with the default encoder. Read only: copy it before writing."""
    from indexer.datasets import open_dataset
    from indexer.run import run_dataset
    from retrieval.collection import CollectionWriter

    path = tmp_path_factory.mktemp("collections") / "drawn.collection"
    with open_dataset(gallery_folder) as dataset, CollectionWriter(path, name="drawn", create=True) as writer:
        assert run_dataset(dataset, writer).exit_status == 0
    return Indexed(path, gallery_folder)


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


def _timm_weights(folder: Path, architecture: str, suffix: str) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(7)
    state = timm.create_model(architecture).state_dict()
    path = folder / f"{architecture}{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    return path


@pytest.fixture(scope="session")
def timm_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(architecture, suffix) -> a file of its untrained weights."""
    folder = tmp_path_factory.mktemp("timm")
    return lambda architecture, suffix=".safetensors": _timm_weights(folder, architecture, suffix)


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


# A server, as `kvasir serve` runs it.


@dataclass
class Served:
    """A running `kvasir serve`: where it is, its process and its log."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    collection: Path


@pytest.fixture(scope="session")
def two_spaces(tmp_path_factory: pytest.TempPathFactory, indexed: Indexed, tiny_spec: str) -> Path:
    """The drawn gallery with two spaces: the default encoder's and a tiny one's."""
    from indexer.datasets import open_dataset
    from indexer.run import run_dataset
    from retrieval.collection import CollectionWriter

    path = tmp_path_factory.mktemp("served") / "drawn.collection"
    shutil.copytree(indexed.path, path)
    with open_dataset(indexed.data) as dataset, CollectionWriter(path) as writer:
        assert run_dataset(dataset, writer, encoders=(tiny_spec,)).exit_status == 0
    return path


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """(collection, *flags) -> a ready server on a free port of this machine; it ends with the tests.

    first: what its process runs before it serves.
    """
    running: list[subprocess.Popen[bytes]] = []

    def start(collection: Path, *flags: str, environment: dict[str, str] | None = None, first: str = "") -> Served:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            port = trial.getsockname()[1]
        log = tmp_path_factory.mktemp("logs") / "serve.log"
        program = f"{first}\nfrom retrieval.command_line import main; main()"
        command = [sys.executable, "-c", program, "serve", str(collection), "--port", str(port), *flags]
        root = Path(__file__).parents[1]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command, stderr=stderr, cwd=root, env=os.environ | {"PYTHONPATH": str(root)} | (environment or {})
            )
        running.append(process)
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz") as answer:
                if answer.status == 200:
                    return Served(url, process, log, collection)
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        raise AssertionError(log.read_text())

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(40)


@pytest.fixture(scope="session")
def served(serve: Callable[..., Served], two_spaces: Path) -> Served:
    """A server that many tests read from; nobody writes to its collection."""
    return serve(two_spaces, "--rate", "off")


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
