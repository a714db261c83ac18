from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.sources import open_source
from retrieval.sources.address import expanded, remote_reason
from retrieval.sources.source import NotASourceError


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("http://x/y.jpg", "http://x/y.jpg is a web address; only local files are read: download it first"),
        (Path("https://x/y.jpg"), "https://x/y.jpg is a web address"),  # Path makes one slash of two
        ("S3://bucket/y.jpg", "S3://bucket/y.jpg is a web address"),
        ("http://x/" + "y" * 5000, "http://x/yyy"),
        ("file:///data/y.jpg", "file:///data/y.jpg is an address, not a path; give /data/y.jpg"),
        ("data:image/png;base64," + "A" * 5000, "data:image/png;base64,AA… is a data URL, not a path"),
    ],
)
def test_an_address_is_told_as_what_it_is(path: str | Path, start: str) -> None:
    reason = remote_reason(path)
    assert reason is not None
    assert reason.startswith(start)


@pytest.mark.parametrize("path", ["y.jpg", "/data/y.jpg", "C:/y.jpg", "C:\\y.jpg", "a:b.jpg", "data:", ""])
def test_a_path_is_no_address(path: str) -> None:
    assert remote_reason(path) is None


def test_a_file_that_has_the_name_of_an_address_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:" / "x").mkdir(parents=True)
    assert remote_reason("http://x") is None


def test_a_source_at_an_address_is_refused_with_the_remedy() -> None:
    with pytest.raises(NotASourceError, match=r"https://x/kvasir\.zip is a web address; .* download it first"):
        open_source(Path("https://x/kvasir.zip"))


def test_the_home_of_a_user_that_does_not_exist_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/set") == Path("/home/me/set")
    assert expanded("~nobody-at-all/set") == Path("~nobody-at-all/set")
