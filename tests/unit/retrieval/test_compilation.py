from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from retrieval import compilation
from retrieval.commands.compile import NoFolderError, command
from retrieval.compilation import compiled
from retrieval.disk import DiskFullError


def test_a_kernel_that_cannot_be_kept_on_disk_runs_all_the_same() -> None:
    made: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", made)  # of no file, so numba has no place to keep it
    assert compiled(made["twice"])(21) == 42


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [(errno.ENOSPC, DiskFullError, "no space left on the disk; make room"), (errno.EIO, NoFolderError, "name another")],
)
def test_compiling_ahead_ends_in_an_error_where_a_kernel_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], message: str
) -> None:
    monkeypatch.setenv(compilation.VARIABLE, str(tmp_path))
    monkeypatch.setattr(compilation, "unstored", unstored := list[OSError]())
    monkeypatch.setattr("retrieval.commands.compile.unstored", unstored)

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(compilation._FolderCache, "save_overload", fail)
    monkeypatch.setattr(
        "retrieval.commands.compile.compile_all", lambda: compilation._KernelCache(twice).save_overload(1, 2)
    )
    with pytest.raises(error, match=message):
        CliRunner().invoke(command, [str(tmp_path)], catch_exceptions=False)


def twice(value: int) -> int:
    return 2 * value


def test_kernels_of_another_version_or_of_an_earlier_source_have_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files() -> set[str]:
        cache = compilation._FolderCache(twice, tmp_path)._cache_file
        return {cache._index_name, cache._data_name(1)}

    own = files()
    assert files() == own
    with monkeypatch.context() as changed:
        changed.setattr("numba.__version__", "0.58.0")
        assert not own & files()
    monkeypatch.setattr(compilation, "_digest", lambda source: "0" * 64)
    assert not own & files()
