"""Compilation of numerical kernels by numba, with an on-disk cache.

Cached kernels are read wherever they can be, and stored in the first folder that can be written: one that is named
(KVASIR_KERNELS), beside the program, in the user's cache, or in a private one among the temporary files. Not in a
collection: cached kernels are programs, and a collection that came from somebody else must not run any.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import njit
from numba.core import event
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, NullCache, _CacheLocator

log = logging.getLogger(__name__)

VARIABLE = "KVASIR_KERNELS"
"""The environment variable that names a folder for compiled kernels."""

unstored: list[OSError] = []
"""Why kernels that were compiled in this process could not be stored, each with its folder."""

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(kernel: Kernel) -> Kernel:
    """Compile a kernel at its first call, cache the machine code on disk, and release the GIL while it runs.

    Never with `fastmath`: kernels must round as Java and Pillow do. numba notices a change of the kernel's own file
    only, so a kernel calls no compiled function of another file except the pieces that descriptors share, and takes
    tables as arguments instead of as globals.
    """
    dispatcher = njit(nogil=True)(kernel)
    if Path(inspect.getfile(kernel)).is_file():
        dispatcher._cache = _KernelCache(kernel)
    return cast(Kernel, dispatcher)


def folder_to_write() -> Path | None:
    """Where kernels that are compiled now are stored; None where no folder can be written.

    Of those beside the program this is the main one; each package has its own.
    """
    return next((folder for folder in _folders(Path(__file__), __name__) if _is_writable(folder)), None)


def _folders(source: Path, module: str) -> Iterator[Path]:
    """Folders of the compiled kernels of one module, in the order in which they are tried."""
    if named := os.environ.get(VARIABLE):
        yield Path(named).absolute() / module
    yield source.parent / "__pycache__"
    if (user := _user_cache()) is not None:
        yield user / "kvasir" / "kernels" / module
    if (private := _private_folder()) is not None:
        yield private / module


def _user_cache() -> Path | None:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
    except RuntimeError:  # nobody knows a home folder
        return None


@cache
def _private_folder() -> Path | None:
    """A folder among the temporary files that nobody but this user can have written to, or None."""
    folder = Path(tempfile.gettempdir()) / f"kvasir-kernels-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    return folder if own else None


@cache
def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


@cache
def _digest(source: str) -> str:
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()


class _Locator(_CacheLocator):  # type: ignore[misc]  # numba has no types
    """What numba needs to know of a kernel's source; where its cache lies is _KernelCache's business."""

    def __init__(self, kernel: Any, source: str) -> None:
        self._py_file = source
        self._line = kernel.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return ""

    def get_source_stamp(self) -> str:
        return _digest(self._py_file)

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(py_func, py_file)


class _Implementation(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _FolderCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one kernel in one folder."""

    _impl_class = _Implementation

    def __init__(self, kernel: Any, folder: Path) -> None:
        super().__init__(kernel)
        stamp = self._impl.locator.get_source_stamp()
        # numba's index names a file before that is written, so under the same names another process might read what
        # another version of numba or of the source has left there.
        name = f"{self._impl.filename_base}-{numba.__version__}-{stamp[:16]}"
        self._cache_file = IndexDataCacheFile(str(folder), name, stamp)

    def save_overload(self, sig: Any, data: Any) -> None:
        if self._impl.check_cachable(data):
            self._cache_file.save(self._index_key(sig, data.codegen), self._impl.reduce(data))


class _KernelCache(NullCache):  # type: ignore[misc]
    """The cache of one kernel over all folders."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def _folders(self) -> Iterator[Path]:
        return _folders(Path(inspect.getfile(self._kernel)), self._kernel.__module__)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        for folder in self._folders():
            try:
                kernel = _FolderCache(self._kernel, folder).load_overload(sig, target_context)
            except OSError:  # it may not be read
                continue
            if kernel is not None:
                return kernel
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        for folder in self._folders():
            if _is_writable(folder):
                try:
                    _FolderCache(self._kernel, folder).save_overload(sig, data)
                except OSError as error:
                    log.warning("a compiled kernel cannot be stored in %s (%s)", folder, error.strerror)
                    unstored.append(OSError(error.errno, error.strerror, str(folder)))
                    continue
                return


class _Announcement(event.Listener):  # type: ignore[misc]
    """Logs once that kernels of this project are being compiled; cached kernels cause no event."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event: Any) -> None:
        ours = str(event.data["dispatcher"].py_func.__module__).startswith("retrieval.")
        if ours and not self._said:
            self._said = True
            folder = folder_to_write()
            if folder is None:
                log.warning(
                    "compiling, at each start, for up to half a minute, because no folder for the result can be "
                    "written: name one by %s",
                    VARIABLE,
                )
            else:
                log.warning("compiling, once, for up to half a minute; the result is stored in %s …", folder)

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Announcement())
