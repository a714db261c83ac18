"""Large pictures are decoded in another process, within a time and a memory that end it; results are equal."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from indexer.uploads import add_picture
from retrieval.batch import BatchQuery, search_in_batches
from retrieval.collection import CollectionWriter
from retrieval.command_line import kvasir
from retrieval.headers import Claim, CostlyPictureError
from retrieval.images import UnknownFormatError, decode
from retrieval.large_pictures import RUN_PIXELS, LargePictures, is_large
from retrieval.search import open_collection

pytestmark = pytest.mark.slow


def saved(kind: str, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(out, kind, **options)
    return out.getvalue()


def corner(data: bytes, side: int) -> NDArray[np.uint8]:
    return decode(data).pixels()[:side, :side].copy()


def all_memory(data: bytes) -> int:
    return len(bytearray(len(data) << 40))


def for_ever(data: bytes) -> None:
    time.sleep(60)


def ended(data: bytes) -> None:
    raise SystemExit


@pytest.fixture
def large() -> Iterator[LargePictures]:
    pictures = LargePictures(seconds=30)
    yield pictures
    pictures.stop()


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("JPEG", (1920, 1080), False),
        ("PNG", (1920, 1080), False),
        ("WEBP", (1920, 1072), False),
        ("TIFF", (1920, 1080), False),
        ("PNG", (2400, 2000), True),
        ("WEBP", (2000, 1500), True),
        ("BMP", (4000, 3000), False),
    ],
)
def test_a_frame_of_a_video_is_not_large(kind: str, size: tuple[int, int], expected: bool) -> None:
    assert LargePictures().takes(saved(kind, size), 64_000_000) is expected


def test_what_only_pillow_can_measure_is_large() -> None:
    assert is_large(Claim(blocking=True))
    assert not is_large(Claim())


def test_the_result_and_the_error_are_those_of_this_process(large: LargePictures) -> None:
    data = saved("PNG", (300, 200))
    assert np.array_equal(large.run(corner, data, 50), corner(data, 50))
    with pytest.raises(UnknownFormatError, match="not a picture of a known format"):
        large.run(corner, b"text", 50)


def test_the_process_imports_nothing_of_the_folder_where_the_program_was_started(
    large: LargePictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may be that of a data set of somebody else."""
    for name in ("pickle.py", "retrieval.py", "numpy.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert large.run(corner, saved("PNG", (30, 20)), 2).shape == (2, 2, 3)
    assert not (tmp_path / "run").exists()


def test_a_server_with_thousands_of_connections_decodes_them_too(large: LargePictures) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1300:
        pytest.skip("so many files cannot be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1300), hard))
    with contextlib.ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            opened.enter_context(open(os.devnull, "rb"))  # noqa: PTH123
        assert large.run(corner, saved("PNG", (30, 20)), 2).shape == (2, 2, 3)


def test_a_picture_beyond_the_time_ends_the_process_and_the_next_one_has_another(large: LargePictures) -> None:
    large.seconds = 3
    with pytest.raises(CostlyPictureError, match="takes more than 3 seconds"):
        large.run(for_ever, b"x")
    large.seconds = 30
    assert large.run(corner, saved("PNG", (30, 20)), 2).shape == (2, 2, 3)


def test_a_picture_beyond_the_memory_is_an_error_of_its_own(large: LargePictures) -> None:
    with pytest.raises(CostlyPictureError, match="more memory than it is given"):
        large.run(all_memory, b"x")
    with pytest.raises(CostlyPictureError, match="more memory than it is given"):
        large.run(ended, b"x")


def test_the_memory_of_a_decoding_is_limited() -> None:
    pictures = LargePictures(seconds=30, memory=150 * 2**20)
    with pytest.raises(CostlyPictureError, match="more memory than it is given"):
        pictures.run(corner, saved("PNG", (8000, 8000), "L"), 2)
    pictures.stop()


def flat(side: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (side, side), (90, 60, 40, 255)).save(out, "WEBP", lossless=True, method=0)
    return out.getvalue()


def test_in_a_run_only_what_takes_much_memory_is_large() -> None:
    run = LargePictures(least_pixels=RUN_PIXELS)
    assert not run.takes(saved("PNG", (6000, 4000), "L"), 64_000_000)
    assert run.takes(flat(5200), 64_000_000)


def test_a_picture_beyond_the_memory_ends_no_run(
    drawn_in_two_spaces: Path, tmp_path: Path, draw: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new" / "polyps"
    folder.mkdir(parents=True)
    for number in range(3):
        draw(700 + number).save(folder / f"{number}.png")
    (folder / "large.png").write_bytes(saved("PNG", (5200, 5200), "RGBA"))
    monkeypatch.setattr("retrieval.large_pictures.LargePictures.__init__.__defaults__", (60.0, 200 * 2**20, 0))
    path = Path(shutil.copytree(drawn_in_two_spaces, tmp_path / "c"))
    indexing = CliRunner().invoke(kvasir, ["index", str(folder.parent), str(path), "--json"])
    assert indexing.exit_code == 1, indexing.output
    assert "large.png: decoding the picture takes more memory than it is given" in indexing.stderr
    assert len(open_collection(path).collection) == len(open_collection(drawn_in_two_spaces).collection) + 3
    out = tmp_path / "run.jsonl"
    searching = CliRunner().invoke(kvasir, ["search", "--batch", str(folder), "--out", str(out), str(path)])
    assert searching.exit_code == 1, searching.output
    assert "large.png" in searching.stderr
    assert len(out.read_text().splitlines()) >= 3


def test_a_large_query_of_a_batch_finds_what_it_finds_here(drawn_in_two_spaces: Path) -> None:
    data = saved("PNG", (2600, 1900))
    large = LargePictures(seconds=60)
    names = [space.name for space in open_collection(drawn_in_two_spaces).collection.spaces]
    query = BatchQuery("a", None, lambda: data)
    found = [
        next(search_in_batches(open_collection(drawn_in_two_spaces, "throughput", large=one), [query], 5, names, None))[
            0
        ][1]
        for one in (large, None)
    ]
    large.stop()
    assert found[0] == found[1]


def test_a_large_picture_is_stored_and_found_as_by_an_ordinary_run(
    drawn_in_two_spaces: Path, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    out = io.BytesIO()
    draw(77).resize((2600, 1900)).save(out, "PNG")
    added: list[Any] = []
    for name, large in (("apart", LargePictures(seconds=60)), ("here", None)):
        path = Path(shutil.copytree(drawn_in_two_spaces, tmp_path / name))
        searcher = open_collection(path, "throughput", large=large)
        with CollectionWriter(path) as writer:
            image_id, new = add_picture(writer, searcher, out.getvalue(), "polyps")
        assert new
        opened = searcher.refreshed()
        stored = {space.name: opened.collection.vector(space.name, image_id) for space in opened.collection.spaces}
        row = opened.collection.images.position(image_id)
        found = opened.search(out.getvalue(), 3)
        added.append((stored, opened.collection.images.sizes[row].tolist(), found.ids))
        assert found.ids[0] == image_id
        if large is not None:
            assert large.takes(out.getvalue(), 64_000_000)
            large.stop()
    (one, *rest), (other, *others) = added
    assert rest == others
    for name, vector in one.items():
        assert np.array_equal(vector, other[name])
