"""Folders at addresses that fsspec reads, here those of its file system in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image

from indexer.datasets import open_dataset
from indexer.run import run_dataset
from retrieval.collection import Collection, CollectionWriter, PictureGoneError
from retrieval.collection.pictures import read_picture
from retrieval.errors import RetrievalError
from retrieval.sources import FileMissingError, open_source, remote
from retrieval.sources.address import location_url, stored_place, without_credentials
from retrieval.sources.remote import open_location
from retrieval.sources.source import FileUnreadableError, NotASourceError, SourceNotFoundError, SourceUnreadableError


@pytest.fixture
def bucket(draw: Callable[..., Image.Image], encode_file: Callable[..., bytes]) -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    for number in range(4):
        files.pipe_file(f"/bucket/class{number % 2}/{number}.jpg", encode_file(draw(number)))
    files.pipe_file("/bucket/.hidden", b"x")
    yield files
    files.rm("/bucket", recursive=True)


def test_a_remote_folder_is_listed_and_read(bucket: Any) -> None:
    source = open_source(Path("memory://bucket"))
    assert [entry.file for entry in source.entries] == [f"class{n % 2}/{n}.jpg" for n in (0, 2, 1, 3)]
    assert source.ignored["hidden files"] == 1
    assert source.read("class0/0.jpg") == bucket.cat_file("/bucket/class0/0.jpg")
    assert source.head("class0/0.jpg", 2) == b"\xff\xd8"
    assert source.entry("class0/0.jpg") == source.entries[0]
    with pytest.raises(FileMissingError):
        source.read("class0/9.jpg")


def test_what_is_no_remote_folder_is_told(bucket: Any) -> None:
    with pytest.raises(SourceNotFoundError, match="memory://nothing: no such folder"):
        open_source(Path("memory://nothing"))
    with pytest.raises(NotASourceError, match="download it first"):
        open_source(Path("https://example.org/pictures"))
    with pytest.raises(NotASourceError, match="download it first"):  # as a catalog of somebody else could name it
        open_source(stored_place(Path("c"), "hdfs:/host/pictures"))
    if find_spec("paramiko") is None:
        with pytest.raises(SourceUnreadableError, match="pip install paramiko"):
            open_source(Path("sftp://host/pictures"))


def test_a_file_may_have_the_most_bytes_that_are_read(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(Path("memory://bucket"))
    content = bucket.cat_file("/bucket/class0/0.jpg")
    monkeypatch.setattr(remote, "MAX_BYTES", len(content))
    assert source.read("class0/0.jpg") == content
    monkeypatch.setattr(remote, "MAX_BYTES", len(content) - 1)
    with pytest.raises(FileUnreadableError, match="more than"):
        source.read("class0/0.jpg")


@pytest.mark.parametrize("address", ["sftp://u:secret@h", "sftp:/u:se/secret@h/a", "s3://k:secret@bucket/a"])
def test_an_address_with_a_password_is_refused_and_never_shown(address: str, tmp_path: Path) -> None:
    for call in (
        lambda: open_source(Path(address)),
        lambda: open_location(f"dir::{address}"),
        lambda: read_picture(stored_place(tmp_path, address), "remote", "a.jpg"),
    ):
        with pytest.raises(RetrievalError, match="password in it is refused") as raised:
            call()
        assert "secret" not in str(raised.value)
    assert without_credentials(address).startswith((address[:6], address[:5]))
    assert location_url("sftp://h:22/a@b") == "sftp://h:22/a@b" == without_credentials("sftp://h:22/a@b")
    assert location_url("s3://a::file:///b") is None


def test_addresses_and_paths_are_told_apart(tmp_path: Path) -> None:
    assert location_url("s3://bucket/a") == location_url(Path("s3://bucket/a")) == "s3://bucket/a"
    assert (
        location_url("a/b") is location_url("C:/b") is location_url("https://a/b") is location_url("what://a") is None
    )
    assert stored_place(tmp_path, "uploads") == tmp_path / "uploads"
    assert stored_place(tmp_path, "s3:/bucket/a") == Path("s3:/bucket/a")


def test_a_collection_of_remote_pictures_reads_them_where_they_lie(bucket: Any, tmp_path: Path, tiny_spec: str) -> None:
    def index() -> Any:
        with open_dataset(Path("memory://bucket")) as dataset, CollectionWriter(tmp_path / "c", create=True) as writer:
            return run_dataset(dataset, writer, encoders=(tiny_spec,)).outcome

    assert index().added == 4
    assert index().unchanged == 4
    collection = Collection.open(tmp_path / "c")
    assert collection.read(0) == bucket.cat_file("/bucket/class0/0.jpg")
    assert collection.path_of(0) is None
    bucket.rm("/bucket/class0/0.jpg")
    with pytest.raises(PictureGoneError, match=r"no longer in memory://bucket \(FileNotFoundError\)"):
        collection.read(0)
