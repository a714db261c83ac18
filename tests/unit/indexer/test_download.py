from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from indexer.commands.download import command
from indexer.download import BadAddressError, CannotStoreError, SiteUnreachableError, download
from indexer.transfer import AlreadyRunningError, BrokenOffError, NotAZipError, RefusedError
from retrieval.disk import DiskFullError

pytestmark = pytest.mark.usefixtures("no_proxy")


def zipped(seed: int, size: int = 300_000) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("polyps/a.jpg", random.Random(seed).randbytes(size))
    return out.getvalue()


@dataclass
class Site:
    """A real server whose manners a test sets; `ranges` lists the Range header of each GET."""

    content: bytes
    etag: str | None = '"one"'
    modified: str | None = None
    break_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    knows_ranges: bool = True
    checks_if_range: bool = True
    says_length: bool = True
    head_status: int = 200
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.start(self.site.head_status, len(self.site.content))

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.ranges.append(wanted)
        if site.statuses:
            self.start(site.statuses.pop(0), 0)
            return
        body, status, extra = site.content, 200, {}
        current = self.headers.get("If-Range") in (None, site.etag, site.modified) or not site.checks_if_range
        if wanted and site.knows_ranges and current:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(body):
                self.start(416, 0, {"Content-Range": f"bytes */{len(body)}"})
                return
            extra = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
            body, status = body[first:], 206
        self.start(status, len(body), extra)
        if site.break_after:
            body = body[: site.break_after.pop(0)]
        self.wfile.write(body)

    def start(self, status: int, length: int, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"ETag": self.site.etag, "Last-Modified": self.site.modified, **(extra or {})}
        if self.site.says_length:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost,invalid")


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(zipped(1))
    handler = type("Bound", (Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_port}/kvasir-dataset-v2.zip"
        yield site
        server.shutdown()
        thread.join()


def fetch(site: Site, directory: Path, retries: int = 3) -> Path:
    (done,) = download([site.url], directory, retries=retries, backoff=0)
    assert done.path.read_bytes() == site.content
    assert done.sha256 == hashlib.sha256(site.content).hexdigest()
    assert [path.name for path in directory.iterdir()] == ["kvasir-dataset-v2.zip"]
    return done.path


def stop_early(site: Site, directory: Path, after: int = 100_000) -> None:
    """A first run that gets some of the file."""
    site.break_after = [after]
    with pytest.raises(BrokenOffError, match="100,000 bytes are stored"):
        list(download([site.url], directory, retries=0, backoff=0))
    site.ranges.clear()


def test_file_arrives_whole_with_its_sum_and_progress(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    (done,) = download([site.url], tmp_path / "new/folder", on_progress=lambda *progress: seen.append(progress))
    assert done.path == tmp_path / "new/folder/kvasir-dataset-v2.zip"
    assert (done.bytes, done.existed) == (len(site.content), False)
    assert seen[-1] == ("kvasir-dataset-v2.zip", len(site.content), len(site.content))


def test_transfer_that_breaks_off_goes_on_within_one_run(site: Site, tmp_path: Path) -> None:
    site.break_after = [100_000, 50_000]
    fetch(site, tmp_path)
    assert site.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_next_run_goes_on_where_the_first_stopped(site: Site, tmp_path: Path) -> None:
    stop_early(site, tmp_path)
    fetch(site, tmp_path)
    assert site.ranges == ["bytes=100000-"]


def test_date_serves_where_there_is_no_strong_etag(site: Site, tmp_path: Path) -> None:
    site.etag, site.modified = 'W/"weak"', "Wed, 21 Oct 2015 07:28:00 GMT"
    stop_early(site, tmp_path)
    fetch(site, tmp_path)
    assert site.ranges == ["bytes=100000-"]


def test_part_that_nothing_identifies_starts_anew(site: Site, tmp_path: Path) -> None:
    site.etag = None
    stop_early(site, tmp_path)
    fetch(site, tmp_path)
    assert site.ranges == [None]


def test_server_without_ranges_starts_anew(site: Site, tmp_path: Path) -> None:
    site.knows_ranges = False
    stop_early(site, tmp_path)
    fetch(site, tmp_path)
    assert site.ranges == ["bytes=100000-"]


@pytest.mark.parametrize("checks_if_range", [True, False])
def test_file_that_changed_is_never_joined_to_the_old_part(site: Site, tmp_path: Path, checks_if_range: bool) -> None:
    stop_early(site, tmp_path)
    site.content, site.etag, site.checks_if_range = zipped(2), '"two"', checks_if_range
    fetch(site, tmp_path)


def test_file_that_shrank_starts_anew(site: Site, tmp_path: Path) -> None:
    stop_early(site, tmp_path)
    site.content, site.checks_if_range = zipped(3, 50_000), False
    fetch(site, tmp_path)


def test_complete_part_is_only_renamed(site: Site, tmp_path: Path) -> None:
    stop_early(site, tmp_path)
    (tmp_path / "kvasir-dataset-v2.zip.part").write_bytes(site.content)
    fetch(site, tmp_path)


def test_file_without_a_length_arrives(site: Site, tmp_path: Path) -> None:
    site.says_length = False
    fetch(site, tmp_path)


def test_zip_without_a_length_that_breaks_off_is_noticed(site: Site, tmp_path: Path) -> None:
    site.says_length = False
    site.break_after = [100_000]
    fetch(site, tmp_path)
    assert site.ranges == [None, "bytes=100000-"]


def test_file_that_is_there_is_not_asked_for(site: Site, tmp_path: Path) -> None:
    fetch(site, tmp_path)
    site.ranges.clear()
    (done,) = download([site.url], tmp_path)
    assert done.existed
    assert site.ranges == []


def test_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    fetch(site, tmp_path)
    assert len(site.ranges) == 3


def test_server_that_stays_busy_is_given_up(site: Site, tmp_path: Path) -> None:
    site.statuses = [503] * 9
    with pytest.raises(BrokenOffError, match="503 Service Unavailable; 0 bytes are stored"):
        list(download([site.url], tmp_path, retries=2, backoff=0))
    assert len(site.ranges) == 3


def test_server_without_head_is_asked_by_get(site: Site, tmp_path: Path) -> None:
    site.head_status = 405
    fetch(site, tmp_path)


def test_missing_file_is_refused_before_any_other_is_fetched(site: Site, tmp_path: Path) -> None:
    site.head_status = 404
    with pytest.raises(RefusedError, match=r"kvasir-dataset-v2\.zip: 404 Not Found"):
        list(download([site.url], tmp_path))
    assert site.ranges == []


def test_folders_that_a_failed_download_made_do_not_stay_empty(site: Site, tmp_path: Path) -> None:
    site.head_status = 404
    with pytest.raises(RefusedError):
        list(download([site.url], tmp_path / "there" / "data"))
    assert list(tmp_path.iterdir()) == []
    site.head_status, site.break_after = 200, [1000] * 9
    with pytest.raises(BrokenOffError):
        list(download([site.url], tmp_path / "there" / "data", retries=0, backoff=0))
    assert list((tmp_path / "there" / "data").iterdir())  # what was fetched stays


def test_page_in_place_of_the_zip_is_an_error(site: Site, tmp_path: Path) -> None:
    site.content = b"<html>Please log in</html>"
    with pytest.raises(NotAZipError, match="not a zip"):
        list(download([site.url], tmp_path))
    assert not (tmp_path / "kvasir-dataset-v2.zip").exists()


def test_disk_that_is_too_full_is_found_first(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = len(site.content) - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free))  # type: ignore[attr-defined]
    with pytest.raises(DiskFullError, match=f"{len(site.content):,} bytes are needed and {free:,} are free"):
        list(download([site.url], tmp_path))
    assert site.ranges == []


def test_directory_that_is_a_file_is_an_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(CannotStoreError, match="data: File exists"):
        list(download([site.url], tmp_path / "data"))


def test_second_process_is_refused(site: Site, tmp_path: Path) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from retrieval.disk import locked
        with locked(Path(sys.argv[1]), Exception()):
            print("locked", flush=True)
            input()
    """
    part = str(tmp_path / "kvasir-dataset-v2.zip.part")
    with subprocess.Popen([sys.executable, "-c", code, part], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(AlreadyRunningError, match="another process"):
            list(download([site.url], tmp_path))
        other.communicate(b"\n")
    (fetched,) = download([site.url], tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [fetched.path.name]


def test_port_that_is_closed_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SiteUnreachableError, match=rf"127\.0\.0\.1:{port} cannot be reached"):
        list(download([f"http://127.0.0.1:{port}/a.zip"], tmp_path))


def test_site_that_accepts_and_stays_silent_is_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.zip"
        with pytest.raises(SiteUnreachableError, match=r"no answer within 0\.2 s"):
            list(download([url], tmp_path, first_response=0.2))


@pytest.mark.parametrize("url", ["ftp://example.org/a.zip", "https://example.org/", "a.zip"])
def test_address_without_a_file_is_an_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadAddressError):
        list(download([url], tmp_path))


def test_command_shows_terms_citation_and_sums(site: Site, tmp_path: Path) -> None:
    base = site.url.rpartition("/")[0]
    run = CliRunner().invoke(command, [str(tmp_path), "--features", "--base-url", base])
    assert run.exit_code == 0, run.output
    assert "research and education only" in run.stderr
    assert "KVASIR: A Multi-Class Image Dataset" in run.stderr
    digest = hashlib.sha256(site.content).hexdigest()
    assert run.stdout.count(digest) == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        "kvasir-dataset-v2.zip",
        "kvasir-dataset-v2-features.zip",
    }


def test_command_prints_json_for_programs(site: Site, tmp_path: Path) -> None:
    run = CliRunner().invoke(command, ["v1", str(tmp_path), "--json", "--base-url", site.url.rpartition("/")[0]])
    assert [file["path"] for file in json.loads(run.stdout)] == [str(tmp_path / "kvasir-dataset.zip")]


def test_command_says_that_a_site_is_unreachable_in_one_line_and_exits_2(tmp_path: Path) -> None:
    code = "from retrieval.command_line import main; main()"
    arguments = ["download", "v2", str(tmp_path), "--base-url", "http://127.0.0.1:9/"]
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stdout == ""
    assert [line for line in run.stderr.splitlines() if line.startswith("kvasir: 127.0.0.1:9 cannot be reached")]
    assert "Traceback" not in run.stderr


def test_command_refuses_a_version_that_does_not_exist(tmp_path: Path) -> None:
    run = CliRunner().invoke(command, ["v3", str(tmp_path)])
    assert run.exit_code == 2
    assert "expected [v1|v2] DIR" in run.stderr


@pytest.mark.parametrize("arguments", [["v1"], ["v2", "--features"], ["v1", "v2"]])
def test_command_does_not_take_a_version_for_the_folder(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(command, [*arguments, "--base-url", "http://127.0.0.1:9/"])
    assert run.exit_code == 2
    assert f"DIR is missing (./{arguments[-1] if arguments[-1] in ('v1', 'v2') else 'v2'} for a folder" in run.stderr
    assert list(tmp_path.iterdir()) == []
