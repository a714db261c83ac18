from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors import SafetensorError

from retrieval.command_line import kvasir
from retrieval.disk import DiskFullError, full_disk, locked, new_file, new_path, require_writable, write_atomically
from retrieval.errors import OutputError, RetrievalError


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"first")
    with new_file(path) as stream:
        stream.write(b"sec")
        assert path.read_bytes() == b"first"
        stream.write(b"ond")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"first")
    with pytest.raises(ZeroDivisionError), new_file(path) as stream:  # noqa: PT012
        stream.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_that_is_full_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.new").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=f"{tmp_path}/a: no space left on the disk; make room and try again"):
        write_atomically(tmp_path / "a", b"text")
    assert list(tmp_path.iterdir()) == []


def test_so_is_that_of_a_library_which_has_an_error_of_its_own(tmp_path: Path) -> None:
    full = f"{tmp_path}/a: no space left on the disk; make room and try again"
    with pytest.raises(DiskFullError, match=full), new_path(tmp_path / "a"):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError), new_path(tmp_path / "a"):
        raise SafetensorError("invalid header")


def test_only_errors_that_mean_a_full_disk_are_told_as_such() -> None:
    place = Path("catalog.sqlite")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "greys.rows")
    assert str(full_disk(full, place, "go on")) == "greys.rows: no space left on the disk; go on"
    quota = RuntimeError()
    quota.__cause__ = OSError(errno.EDQUOT, "quota")
    assert str(full_disk(quota, place, "go on")) == "catalog.sqlite: no space left on the disk; go on"
    sqlite = sqlite3.OperationalError("database or disk is full")
    sqlite.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert str(full_disk(sqlite, place, "go on")) == "catalog.sqlite: no space left on the disk; go on"
    assert full_disk(OSError(errno.EACCES, "denied"), place) is None
    assert full_disk(ValueError(), place) is None


def test_a_lock_is_of_one_process_and_leaves_no_file(tmp_path: Path) -> None:
    busy = RetrievalError("another process")
    with locked(tmp_path / "a", busy):
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.lock"]
        with pytest.raises(RetrievalError, match="another process"), locked(tmp_path / "a", busy):
            pass
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a", busy):
        pass


def test_work_whose_outcome_cannot_be_stored_is_refused_before_it_begins(two_spaces: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # not among folders that only this user may enter
    path = shutil.copytree(two_spaces, folder / "c")
    require_writable(path)
    folder.chmod(0o755)
    path.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        for command in (["calibrate"], ["map", "--again"], ["reasons"], ["evaluate", "--keep"]):
            ended = CliRunner().invoke(kvasir, [*command, str(path)])
            assert isinstance(ended.exception, OutputError), ended.output
            assert str(ended.exception).startswith(f"{path} cannot be written to")
    finally:
        os.seteuid(user)
        path.chmod(0o755)
        shutil.rmtree(folder)
